import Engine

extension WeightFormat {
  /// A row of the file: the values rounded, or, where nothing here rounds to this format, random
  /// weights of about -0.2 ..< 0.2 that depend on the values.
  func row(like values: [Float]) -> [UInt8] {
    guard !isQuantizable else { return quantize(values) }
    var random = Random(state: UInt64(values[0].bitPattern) << 32 | UInt64(values.count))
    var row = (0..<rowBytes(values.count)).map { _ in
      UInt8(truncatingIfNeeded: Int(random.next() * Float(1 << 23)))
    }
    let blockBytes = rowBytes(blockLength)
    for block in stride(from: 0, to: row.count, by: blockBytes) {
      for (offset, value) in halves {
        row.replaceSubrange(block + offset..<block + offset + 2, with: Self.f16.quantize([value]))
      }
    }
    return row
  }

  /// Where a block keeps its scale and minimum, and values of them that give weights up to 0.2 when
  /// all other bits of the block are random.
  private var halves: [(offset: Int, value: Float)] {
    switch self {
    case .q5_0: [(0, 0.2 / 16)]
    case .q5_1: [(0, 0.4 / 31), (2, -0.2)]
    case .iq4_nl: [(0, 0.2 / 127)]
    case .q2_K: [(80, 0.4 / 45), (82, 0.2 / 15)]
    case .q3_K: [(108, 0.2 / 128)]
    case .q4_K: [(0, 0.4 / 945), (2, 0.2 / 63)]
    case .q5_K: [(0, 0.4 / 1953), (2, 0.2 / 63)]
    case .q6_K: [(208, 0.2 / 4096)]
    case .f32, .f16, .bf16, .q8_0, .q4_0, .q4_1: []
    }
  }
}

internal import CKernels

/// Cosines and sines of the rotary embedding for positions 0 ..< positionCount.
struct RotaryTable: Sendable {
  /// `[position, cosine or sine, pair]`.
  private let values: MemoryView<Float>
  private let pairCount: Int

  /// `frequencies`: radians per position of each pair; `magnitude`: factor on all entries.
  init(
    positionCount: Int, frequencies: [Double], magnitude: Double, memory: inout OwnedMemory
  ) throws(EngineError) {
    pairCount = frequencies.count
    values = try memory.room(Float.self, positionCount * 2 * pairCount, for: "rotary tables")
    unsafe frequencies.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      for position in 0..<positionCount {
        unsafe ck_rope_row(
          cosines(position).base, sines(position).base, position, base, pairCount, magnitude)
      }
    }
  }

  func cosines(_ position: Int) -> MemoryView<Float> {
    values.range(position * 2 * pairCount, pairCount)
  }

  func sines(_ position: Int) -> MemoryView<Float> {
    values.range((position * 2 + 1) * pairCount, pairCount)
  }

  /// Radians per position of each pair, before any scaling: base^(-2 pair / dimensionCount).
  static func frequencies(dimensionCount: Int, base: Double) -> [Double] {
    precondition(base > 1 && base.isFinite, "base \(base)")
    return unsafe [Double](unsafeUninitializedCapacity: dimensionCount / 2) { values, filled in
      if let first = values.baseAddress { unsafe ck_rope_frequencies(first, dimensionCount, base) }
      filled = dimensionCount / 2
    }
  }

  /// Natural logarithm, the same on every machine.
  static func logarithm(_ x: Double) -> Double {
    precondition(x.isNormal && x > 0, "logarithm of \(x)")
    return ck_log(x)
  }
}

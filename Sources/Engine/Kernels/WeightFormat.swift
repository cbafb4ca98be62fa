internal import CKernels

/// How weights are stored in the model file.
package enum WeightFormat: String, Sendable, CaseIterable {
  case f32 = "F32"
  case f16 = "F16"
  case bf16 = "BF16"
  // The names of the formats, as everywhere else.
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q8_0 = "Q8_0"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q4_0 = "Q4_0"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q4_1 = "Q4_1"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q5_0 = "Q5_0"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q5_1 = "Q5_1"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q2_K = "Q2_K"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q3_K = "Q3_K"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q4_K = "Q4_K"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q5_K = "Q5_K"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case q6_K = "Q6_K"
  // swift-format-ignore: AlwaysUseLowerCamelCase
  case iq4_nl = "IQ4_NL"

  var raw: ck_format {
    switch self {
    case .f32: ck_format_f32
    case .f16: ck_format_f16
    case .bf16: ck_format_bf16
    case .q8_0: ck_format_q8_0
    case .q4_0: ck_format_q4_0
    case .q4_1: ck_format_q4_1
    case .q5_0: ck_format_q5_0
    case .q5_1: ck_format_q5_1
    case .q2_K: ck_format_q2_k
    case .q3_K: ck_format_q3_k
    case .q4_K: ck_format_q4_k
    case .q5_K: ck_format_q5_k
    case .q6_K: ck_format_q6_k
    case .iq4_nl: ck_format_iq4_nl
    }
  }

  /// Weights of one block: rows have a multiple of it. 1 where there are no blocks, else 32 or 256.
  package var blockLength: Int { ck_block_weights(raw) }

  /// Whether ``quantize(_:)`` knows this format.
  package var isQuantizable: Bool {
    switch self {
    case .f32, .f16, .bf16, .q8_0, .q4_0, .q4_1, .q4_K, .q6_K: true
    case .q5_0, .q5_1, .q2_K, .q3_K, .q5_K, .iq4_nl: false
    }
  }

  /// Bytes of one row; 0 where `cols` is not a whole number of blocks.
  package func rowBytes(_ cols: Int) -> Int { ck_row_bytes(raw, cols) }

  /// What stands for this format in files of panels.
  var number: UInt32 { raw.rawValue }

  /// Bytes of all panels of a matrix; nil where there is no such matrix or the number is too large.
  func packedBytes(rows: Int, cols: Int) -> Int? {
    guard (1...Int(Int32.max)).contains(rows), (1...Int(Int32.max)).contains(cols),
      rowBytes(cols) > 0
    else { return nil }
    let (size, isTooLarge) = ck_panel_bytes(raw, cols)
      .multipliedReportingOverflow(by: (rows + 15) / 16)
    return isTooLarge ? nil : size
  }

  /// One file row as floats.
  func dequantize(_ row: UnsafeRawBufferPointer, into out: MemoryView<Float>) {
    precondition(row.count == rowBytes(out.count))
    guard let base = row.baseAddress else { return }
    unsafe ck_dequantize_row(
      raw, out.base, base.assumingMemoryBound(to: UInt8.self), out.count)
  }

  /// One file row as floats.
  /// - Precondition: `row` has `rowBytes(count)` bytes.
  package func dequantize(_ row: [UInt8], count: Int) -> [Float] {
    precondition(row.count == rowBytes(count), "\(row.count) bytes for \(count) weights")
    return unsafe [Float](unsafeUninitializedCapacity: count) { values, filled in
      if let base = values.baseAddress {
        unsafe row.withUnsafeBufferPointer { source in
          if let first = source.baseAddress { unsafe ck_dequantize_row(raw, base, first, count) }
        }
      }
      filled = count
    }
  }

  /// Rounds floats to this format.
  /// - Precondition: ``isQuantizable``.
  /// - Returns: `rowBytes(values.count)` bytes.
  package func quantize(_ values: [Float]) -> [UInt8] {
    precondition(isQuantizable, "no rounding to \(rawValue)")
    let size = rowBytes(values.count)
    return unsafe [UInt8](unsafeUninitializedCapacity: size) { bytes, count in
      if let base = bytes.baseAddress {
        unsafe values.withUnsafeBufferPointer { source in
          if let first = source.baseAddress {
            unsafe ck_quantize_row(raw, base, first, values.count)
          }
        }
      }
      count = size
    }
  }
}

extension WeightFormat {
  /// Rounds a row of floats to this format.
  func quantize(_ row: MemoryView<Float>, into bytes: MemoryView<UInt8>) {
    precondition(bytes.count == rowBytes(row.count), "\(bytes.count) bytes for \(row.count)")
    unsafe ck_quantize_row(raw, bytes.base, row.base, row.count)
  }
}

internal import CKernels

/// The arithmetic of one instruction set: the only door to the C kernels.
///
/// Every method checks the sizes of its views before it hands out pointers.
// unchecked: the table is a constant of the C library.
@safe package struct Kernels: @unchecked Sendable {
  let table: UnsafePointer<ck_kernels>

  /// The instruction set of the table: "scalar", "avx2", "avx512" or "neon".
  package let name: String
  /// Most columns one tile may hold.
  let tileColumnsMax: Int

  private init(_ table: UnsafePointer<ck_kernels>) {
    unsafe self.table = table
    name = unsafe String(cString: table.pointee.name)
    tileColumnsMax = unsafe table.pointee.tile_columns_max
  }

  /// The fastest table of this processor.
  package static var best: Kernels { unsafe Kernels(ck_kernels_best()) }

  /// All tables of this processor, slowest first.
  package static var available: [Kernels] {
    var found: [Kernels] = []
    while let table = unsafe ck_kernels_at(found.count) { unsafe found.append(Kernels(table)) }
    return found
  }

  /// The table of that name.
  /// - Throws: ``EngineError/unknownInstructionSet(_:available:)``.
  package static func named(_ name: String) throws(EngineError) -> Kernels {
    guard let table = available.first(where: { $0.name == name }) else {
      throw .unknownInstructionSet(name, available: available.map(\.name))
    }
    return table
  }

  /// Writes some blocks of 32 of an activation vector as column `column` of a tile.
  func quantize(
    _ x: MemoryView<Float>, blocks: Range<Int>, into tile: ActivationTile, column: Int
  ) {
    precondition(x.count == tile.cols && column < tile.count)
    precondition(blocks.lowerBound >= 0 && blocks.upperBound * 32 <= x.count, "blocks \(blocks)")
    unsafe withUnsafePointer(to: tile.raw) {
      unsafe table.pointee.quantize(x.base, blocks.lowerBound, blocks.upperBound, $0, column)
    }
  }

  /// out[column * outStride + row] for the rows of the given panels.
  func matmul(
    _ matrix: PackedMatrix, panels: Range<Int>, tile: ActivationTile, out: MemoryView<Float>,
    outStride: Int
  ) {
    precondition(tile.cols == matrix.cols && panels.upperBound <= matrix.panelCount)
    precondition(tile.count >= 1 && tile.count <= tileColumnsMax && outStride >= matrix.rows)
    precondition(out.count >= (tile.count - 1) * outStride + matrix.rows)
    unsafe withUnsafePointer(to: tile.raw) {
      unsafe ck_matmul(table, matrix.format)(
        out.base, outStride, matrix.panels.base, panels.lowerBound, panels.upperBound,
        matrix.rows, matrix.cols, $0)
    }
  }

  func rmsNorm(
    _ x: MemoryView<Float>, weight: MemoryView<Float>, epsilon: Float, out: MemoryView<Float>
  ) {
    precondition(x.count == weight.count && x.count == out.count)
    unsafe table.pointee.rms_norm(out.base, x.base, weight.base, x.count, epsilon)
  }

  func ropeAdjacent(
    _ x: MemoryView<Float>, headLength: Int, cosines: MemoryView<Float>, sines: MemoryView<Float>
  ) {
    precondition(cosines.count == sines.count && cosines.count * 2 <= headLength)
    unsafe table.pointee.rope_adjacent(
      x.base, x.count / headLength, headLength, cosines.base, sines.base, cosines.count)
  }

  func ropeHalves(
    _ x: MemoryView<Float>, headLength: Int, cosines: MemoryView<Float>, sines: MemoryView<Float>
  ) {
    precondition(cosines.count == sines.count && cosines.count * 2 <= headLength)
    unsafe table.pointee.rope_halves(
      x.base, x.count / headLength, headLength, cosines.base, sines.base, cosines.count)
  }

  func siluMultiply(
    gate: MemoryView<Float>, up: MemoryView<Float>, out: MemoryView<Float>
  ) {
    precondition(gate.count == up.count && gate.count == out.count)
    unsafe table.pointee.silu_multiply(out.base, gate.base, up.base, gate.count)
  }

  func geluMultiply(
    gate: MemoryView<Float>, up: MemoryView<Float>, out: MemoryView<Float>
  ) {
    precondition(gate.count == up.count && gate.count == out.count)
    unsafe table.pointee.gelu_multiply(out.base, gate.base, up.base, gate.count)
  }

  func add(_ y: MemoryView<Float>, to x: MemoryView<Float>) {
    precondition(x.count == y.count)
    unsafe table.pointee.add(x.base, y.base, x.count)
  }

  func scale(_ x: MemoryView<Float>, by factor: Float) {
    unsafe table.pointee.scale(x.base, factor, x.count)
  }

  func softCap(_ x: MemoryView<Float>, at cap: Float) {
    precondition(cap > 0, "cap \(cap)")
    unsafe table.pointee.soft_cap(x.base, cap, x.count)
  }

  /// The largest of a row, largest first, ties by index; returns how many were written.
  func topK(_ row: MemoryView<Float>, indices: MemoryView<UInt32>, values: MemoryView<Float>)
    -> Int
  {
    precondition(indices.count == values.count)
    return unsafe table.pointee.top_k(
      row.base, row.count, indices.count, indices.base, values.base)
  }
}

/// Columns of activations interleaved for one kernel call; see `ck_tile`.
// unchecked: views of ActivationTiles' buffers, written by one worker per column.
@safe struct ActivationTile: @unchecked Sendable {
  fileprivate let raw: ck_tile
  let cols: Int
  var count: Int { unsafe raw.count }

  /// Writes some elements of `x` as plain floats, for matrices that are not quantised.
  func store(_ x: MemoryView<Float>, range: Range<Int>, column: Int) {
    precondition(x.count == cols && column < count)
    precondition(range.lowerBound >= 0 && range.upperBound <= cols, "elements \(range)")
    for row in range { unsafe raw.f[row * raw.count + column] = x.base[row] }
  }
}

/// Room for the inputs of one matrix product: up to `columnLimit` activation vectors.
final class ActivationTiles: Sendable {
  private let quants: AlignedBuffer
  private let scales: AlignedBuffer
  private let scaledSums: AlignedBuffer
  private let sums: AlignedBuffer
  private let floats: AlignedBuffer
  private let columnLimit: Int
  private let colsMax: Int

  init(columnLimit: Int, colsMax: Int) throws(EngineError) {
    self.columnLimit = columnLimit
    self.colsMax = colsMax
    let elements = columnLimit * colsMax
    let blocks = columnLimit * ((colsMax + 31) / 32)
    let sumBytes = blocks * ck_sum_kind_count * 4
    quants = try AlignedBuffer(sizeBytes: elements, for: "activations")
    scales = try AlignedBuffer(sizeBytes: blocks * 4, for: "activations")
    scaledSums = try AlignedBuffer(sizeBytes: blocks * 4, for: "activations")
    sums = try AlignedBuffer(sizeBytes: sumBytes, for: "activations")
    floats = try AlignedBuffer(sizeBytes: elements * 4, for: "activations")
  }

  /// The tile of `count` columns of length `cols` whose first is column `first` of the batch.
  func tile(first: Int, count: Int, cols: Int) -> ActivationTile {
    precondition(first + count <= columnLimit && cols <= colsMax)
    let blocks = cols / 32
    return unsafe ActivationTile(
      raw: ck_tile(
        q: quants.view(as: Int8.self).base + first * cols,
        d: scales.view(as: Float.self).base + first * blocks,
        s: scaledSums.view(as: Float.self).base + first * blocks,
        sums: sums.view(as: Int32.self).base
          + first * blocks * ck_sum_kind_count,
        f: floats.view(as: Float.self).base + first * cols, count: count),
      cols: cols)
  }
}

/// A weight matrix rewritten for the kernels: panels of 16 rows.
final class PackedMatrix: Sendable {
  /// Number of the layout of panels in files.
  static let layoutVersion = UInt32(ck_panel_layout_version)

  let weightFormat: WeightFormat
  /// Panel after panel: a multiple of 64 bytes, of which the kernels only read.
  let panels: MemoryView<UInt8>
  private let owner: any Sendable
  let rows: Int
  let cols: Int
  var panelCount: Int { (rows + 15) / 16 }
  var sizeBytes: Int { panels.count }
  fileprivate var format: ck_format { weightFormat.raw }
  private var panelBytes: Int { ck_panel_bytes(format, cols) }
  /// Bytes of consecutive panels that stay in the second-level cache while tiles go by.
  var panelsPerChunk: Int { max(1, (192 << 10) / max(panelBytes, 1)) }
  /// Whether the kernels want the activations as int8 blocks.
  var takesQuantizedActivations: Bool { format.rawValue >= ck_format_q8_0.rawValue }

  /// Takes row-major matrices of the model file, stacked, all of one format; `threads` share the
  /// work.
  init(
    parts: [UnsafeRawBufferPointer], format: WeightFormat, cols: Int, threads: WorkerThreads
  ) throws(EngineError) {
    let source = unsafe FileRows(parts: parts, rowBytes: format.rowBytes(cols))
    weightFormat = format
    self.cols = cols
    rows = source.count
    let rows = self.rows
    let panelBytes = ck_panel_bytes(format.raw, cols)
    let panelCount = (rows + 15) / 16
    let storage = try AlignedBuffer(sizeBytes: panelBytes * panelCount, for: "weights")
    storage.adviseHugePages()
    owner = storage
    let panels = storage.view(as: UInt8.self).range(0, panelBytes * panelCount)
    self.panels = panels
    // A panel may straddle two parts, so rows are gathered first.
    let gathered = try AlignedBuffer(
      sizeBytes: source.rowBytes * 16 * threads.count, for: "weights")
    threads.run { worker in
      let size = source.rowBytes
      let some = gathered.view(as: UInt8.self).range(worker.index * size * 16, size * 16)
      for panel in worker.share(of: panelCount) {
        let count = min(16, rows - panel * 16)
        for lane in 0..<count { source.copy(panel * 16 + lane, to: some.range(lane * size, size)) }
        unsafe ck_repack_panel(
          format.raw, panels.range(panel * panelBytes, panelBytes).base, some.base, count, cols)
      }
    }
  }

  /// Takes panels that are there already and may be read-only; `owner` keeps their memory.
  init(
    panels: MemoryView<UInt8>, format: WeightFormat, rows: Int, cols: Int, owner: any Sendable
  ) {
    precondition(
      panels.count == format.packedBytes(rows: rows, cols: cols),
      "\(panels.count) bytes for \(rows) x \(cols) in \(format)")
    weightFormat = format
    self.panels = panels
    self.owner = owner
    self.rows = rows
    self.cols = cols
  }

  /// A number that tells whether the bytes of a whole number of panels are still the same.
  static func checksum(of panels: MemoryView<UInt8>) -> UInt64 {
    precondition(panels.count.isMultiple(of: 64), "\(panels.count) bytes")
    return unsafe ck_checksum(panels.base, panels.count)
  }
}

/// Rows of several matrices of the model file, one after the other.
// unchecked: the file is mapped read-only and outlives this value.
@safe private struct FileRows: @unchecked Sendable {
  private let parts: [UnsafeRawBufferPointer]
  /// Index of each part's first row.
  private var starts: [Int] = []
  let rowBytes: Int
  private(set) var count = 0

  init(parts: [UnsafeRawBufferPointer], rowBytes: Int) {
    precondition(rowBytes > 0, "rows without bytes")
    unsafe self.parts = parts
    self.rowBytes = rowBytes
    for index in unsafe parts.indices {
      starts.append(count)
      unsafe count += parts[index].count / rowBytes
    }
  }

  func copy(_ row: Int, to target: MemoryView<UInt8>) {
    precondition(row >= 0 && row < count && target.count == rowBytes, "row \(row) of \(count)")
    guard let part = starts.lastIndex(where: { $0 <= row }) else { return }
    let offset = (row - starts[part]) * rowBytes
    unsafe UnsafeMutableRawBufferPointer(start: target.base, count: rowBytes).copyMemory(
      from: UnsafeRawBufferPointer(rebasing: parts[part][offset..<offset + rowBytes]))
  }
}

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

  fileprivate var raw: ck_format {
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

/// Cosines and sines of the rotary embedding for positions 0 ..< positionCount.
final class RotaryTable: Sendable {
  private let storage: AlignedBuffer
  private let pairCount: Int

  /// `frequencies`: radians per position of each pair; `magnitude`: factor on all entries.
  init(positionCount: Int, frequencies: [Double], magnitude: Double) throws(EngineError) {
    pairCount = frequencies.count
    storage = try AlignedBuffer(
      sizeBytes: positionCount * 2 * pairCount * MemoryLayout<Float>.stride, for: "rotary tables")
    unsafe frequencies.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      for position in 0..<positionCount {
        unsafe ck_rope_row(
          cosines(position).base, sines(position).base, position, base, pairCount, magnitude)
      }
    }
  }

  func cosines(_ position: Int) -> MemoryView<Float> {
    storage.view(as: Float.self).range(position * 2 * pairCount, pairCount)
  }

  func sines(_ position: Int) -> MemoryView<Float> {
    storage.view(as: Float.self).range((position * 2 + 1) * pairCount, pairCount)
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

internal import CKernels

/// The arithmetic of one instruction set: the only door to the C kernels.
///
/// Every method checks the sizes of its views before it hands out pointers.
// unchecked: the table is a constant of the C library.
@safe package struct Kernels: @unchecked Sendable {
  let table: UnsafePointer<ck_kernels>

  /// The instruction set of the table: "scalar", "avx2", "avx512", "avx512bf16", "amx" or
  /// "neon".
  package var name: String { unsafe String(cString: table.pointee.name) }
  /// Most columns one tile may hold.
  let tileColumnsMax: Int

  private init(_ table: UnsafePointer<ck_kernels>) {
    unsafe self.table = table
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

  /// Writes some blocks of 32 of each column of a tile, the last of which may be shorter, in the form
  /// that some matrices take; `x`: [tile.count][tile.cols].
  func fill(
    _ tile: ActivationTile, with x: MemoryView<Float>, blocks: Range<Int>, as form: ActivationForm
  ) {
    precondition(x.count == tile.count * tile.cols)
    precondition(
      blocks.lowerBound >= 0 && blocks.upperBound <= (tile.cols + 31) / 32, "blocks \(blocks)")
    let begin = blocks.lowerBound * 32
    let end = min(blocks.upperBound * 32, tile.cols)
    unsafe withUnsafePointer(to: tile.raw) {
      switch form {
      case .quantized:
        precondition(end % 32 == 0, "\(tile.cols) columns")
        unsafe table.pointee.quantize(
          x.base, tile.cols, blocks.lowerBound, blocks.upperBound, $0)
      case .floats: unsafe table.pointee.interleave(x.base, tile.cols, begin, end, $0)
      case .pairs: unsafe table.pointee.interleave_pairs(x.base, tile.cols, begin, end, $0)
      }
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

/// What a matrix wants of the activations that it is multiplied with.
enum ActivationForm: UInt8, Sendable {
  /// Blocks of int8 with a scale: matrices that are quantised.
  case quantized = 1
  /// F32 and F16.
  case floats = 2
  /// Rounded to BF16, in pairs: BF16.
  case pairs = 4
}

/// Columns of activations interleaved for one kernel call; see `ck_tile`.
// unchecked: views of ActivationTiles' memory, every block written by one worker.
@safe struct ActivationTile: @unchecked Sendable {
  fileprivate let raw: ck_tile
  let cols: Int
  var count: Int { unsafe raw.count }
}

/// Room for the inputs of one matrix product: up to `columnLimit` activation vectors.
struct ActivationTiles: Sendable {
  private let quants: MemoryView<Int8>
  private let scales: MemoryView<Float>
  private let scaledSums: MemoryView<Float>
  private let sums: MemoryView<Int32>
  private let floats: MemoryView<Float>
  private let pairs: MemoryView<UInt32>
  private let columnLimit: Int
  private let colsMax: Int

  init(columnLimit: Int, colsMax: Int, memory: inout OwnedMemory) throws(EngineError) {
    self.columnLimit = columnLimit
    self.colsMax = colsMax
    let elements = columnLimit * colsMax
    let blocks = columnLimit * ((colsMax + 31) / 32)
    quants = try memory.room(Int8.self, elements, for: "activations")
    scales = try memory.room(Float.self, blocks, for: "activations")
    scaledSums = try memory.room(Float.self, blocks, for: "activations")
    sums = try memory.room(Int32.self, blocks * ck_sum_kind_count, for: "activations")
    floats = try memory.room(Float.self, elements, for: "activations")
    pairs = try memory.room(
      UInt32.self, columnLimit * ((colsMax + 1) / 2), for: "activations")
  }

  /// The tile of `count` columns of length `cols` whose first is column `first` of the batch.
  func tile(first: Int, count: Int, cols: Int) -> ActivationTile {
    precondition(first + count <= columnLimit && cols <= colsMax)
    let blocks = cols / 32
    return unsafe ActivationTile(
      raw: ck_tile(
        q: quants.base + first * cols, d: scales.base + first * blocks,
        s: scaledSums.base + first * blocks, sums: sums.base + first * blocks * ck_sum_kind_count,
        f: floats.base + first * cols, pairs: pairs.base + first * ((cols + 1) / 2), count: count,
        blocks: blocks),
      cols: cols)
  }
}

/// A weight matrix rewritten for the kernels: panels of 16 rows.
struct PackedMatrix: Sendable {
  /// Number of the layout of panels in files.
  static let layoutVersion = UInt32(ck_panel_layout_version)

  let weightFormat: WeightFormat
  /// Panel after panel: a multiple of 64 bytes, of which the kernels only read.
  let panels: MemoryView<UInt8>
  let rows: Int
  let cols: Int
  var panelCount: Int { (rows + 15) / 16 }
  var sizeBytes: Int { panels.count }
  fileprivate var format: ck_format { weightFormat.raw }
  private var panelBytes: Int { ck_panel_bytes(format, cols) }
  /// Bytes of consecutive panels that stay in the second-level cache while tiles go by.
  var panelsPerChunk: Int { max(1, (192 << 10) / max(panelBytes, 1)) }
  /// Number of panels that one worker takes at least: 16 KiB, and as many as the products of floats
  /// take together.
  var panelGrain: Int {
    activations == .quantized ? max(1, (16 << 10) / max(panelBytes, 1)) : 2
  }
  /// What the kernels want to have of the activations.
  var activations: ActivationForm {
    switch weightFormat {
    case .f32, .f16: .floats
    case .bf16: .pairs
    case .q8_0, .q4_0, .q4_1, .q5_0, .q5_1, .q2_K, .q3_K, .q4_K, .q5_K, .q6_K, .iq4_nl: .quantized
    }
  }

  /// Takes row-major matrices of the model file, stacked, all of one format; `threads` share the
  /// work.
  init(
    parts: [UnsafeRawBufferPointer], format: WeightFormat, cols: Int, threads: WorkerThreads,
    memory: inout OwnedMemory
  ) throws(EngineError) {
    let source = unsafe FileRows(parts: parts, rowBytes: format.rowBytes(cols))
    weightFormat = format
    self.cols = cols
    rows = source.count
    let rows = self.rows
    let panelBytes = ck_panel_bytes(format.raw, cols)
    let panelCount = (rows + 15) / 16
    let panels = try memory.weightRoom(panelBytes * panelCount)
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

  /// Takes panels that are there already and may be read-only.
  init(panels: MemoryView<UInt8>, format: WeightFormat, rows: Int, cols: Int) {
    precondition(
      panels.count == format.packedBytes(rows: rows, cols: cols),
      "\(panels.count) bytes for \(rows) x \(cols) in \(format)")
    weightFormat = format
    self.panels = panels
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

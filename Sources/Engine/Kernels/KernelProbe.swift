/// Matrix products alone, without a model: what benchmarks hold against the limits of the machine.
package final class KernelProbe: Sendable {
  /// Rows of each matrix: as many as a layer of a small model has.
  private static let rows = 1024

  /// Bytes of the weights as the kernels keep them.
  package let sizeBytes: Int
  /// Number of weights.
  package let weightCount: Int
  private let matrices: [PackedMatrix]
  private let kernels: Kernels
  private let threads: WorkerThreads
  private let tiles: ActivationTiles
  private let output: MemoryView<Float>
  private let input: MemoryView<Float>
  private let memory: OwnedMemory

  /// Matrices of `cols` columns that together take about `sizeBytes`, at least one.
  /// - Throws: ``EngineError/outOfMemory(what:sizeBytes:)``, and what a pool of one thread throws.
  package init(
    format: WeightFormat, cols: Int, sizeBytes: Int, kernels: Kernels
  ) throws(EngineError) {
    precondition(cols > 0 && cols % 256 == 0, "\(cols) columns")
    self.kernels = kernels
    threads = try WorkerThreads(count: 1)
    let rowBytes = format.rowBytes(cols)
    let file = try AlignedBuffer(sizeBytes: rowBytes * Self.rows, for: "weights")
    let bytes = file.view(as: UInt8.self)
    var state: UInt32 = 1
    for index in 0..<rowBytes * Self.rows {
      state = state &* 1_664_525 &+ 1_013_904_223
      // In every format an ordinary number: neither subnormal nor infinite.
      bytes[index] = UInt8(0x2c + (state >> 28))
    }
    var memory = OwnedMemory()
    var matrices: [PackedMatrix] = []
    repeat {
      // safe: the rows are read only until the matrix is made.
      let rows = unsafe UnsafeRawBufferPointer(start: bytes.base, count: rowBytes * Self.rows)
      matrices.append(
        try unsafe PackedMatrix(
          parts: [rows], format: format, cols: cols, threads: threads, memory: &memory))
    } while matrices.count * matrices[0].sizeBytes < sizeBytes
    self.matrices = matrices
    self.sizeBytes = matrices.count * matrices[0].sizeBytes
    weightCount = matrices.count * Self.rows * cols
    let columns = kernels.tileColumnsMax
    tiles = try ActivationTiles(columnLimit: columns, colsMax: cols, memory: &memory)
    output = try memory.room(Float.self, columns * Self.rows, for: "activations")
    input = try memory.room(Float.self, columns * cols, for: "activations")
    self.memory = memory
    for index in 0..<columns * cols { input[index] = Float(index * 7919 % 201 - 100) / 50 }
  }

  /// Most columns of a single tile.
  package var columnLimit: Int { kernels.tileColumnsMax }

  /// Multiplies all matrices with `columnCount` columns, at most ``columnLimit``.
  /// - Returns: a function that does so each time it is called.
  package func product(columnCount: Int) -> () -> Void {
    let cols = matrices[0].cols
    let tile = tiles.tile(first: 0, count: columnCount, cols: cols)
    let x = input.range(0, columnCount * cols)
    kernels.fill(tile, with: x, blocks: 0..<cols / 32, as: matrices[0].activations)
    return { [self] in
      for matrix in matrices {
        kernels.matmul(
          matrix, panels: 0..<matrix.panelCount, tile: tile, out: output, outStride: matrix.rows)
      }
    }
  }
}

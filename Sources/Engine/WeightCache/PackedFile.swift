internal import Synchronization

/// Where a model's rewritten matrices come from, or go to.
enum PanelSource {
  /// Each is rewritten into memory of its own.
  case repacked
  /// As above, and written to a file.
  case written(PackedFileWriter)
  /// Each is in a mapped file already.
  case mapped(PackedFileReader)
}

/// A mapped file of rewritten matrices, all of it checked.
final class PackedFile: Sendable {
  let header: PackedFileHeader
  private let file: MappedFile
  var path: String { file.path }

  /// Opens the file and checks everything in it; `threads` share the work.
  init(path: String, modelHash: [UInt8], threads: WorkerThreads) throws(WeightCacheError) {
    file = try MappedFile(path: path)
    header = try PackedFileHeader(of: file, modelHash: modelHash)
    let matrices = header.matrices
    let next = Atomic(0)
    let damaged = Atomic(-1)
    threads.run { [self] _ in
      while true {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        guard index < matrices.count else { return }
        if PackedMatrix.checksum(of: panels(matrices[index])) != matrices[index].checksum {
          damaged.store(index, ordering: .relaxed)
        }
      }
    }
    let index = damaged.load(ordering: .relaxed)
    guard index < 0 else { throw .damagedMatrix(path: path, index: index) }
  }

  func panels(_ matrix: PackedFileHeader.Matrix) -> MemoryView<UInt8> {
    guard let size = matrix.format.packedBytes(rows: matrix.rows, cols: matrix.cols) else {
      preconditionFailure("a checked matrix of \(matrix.words)")
    }
    return file.view(matrix.offset..<matrix.offset + size)
  }
}

/// Hands out the matrices of a file in order, views of the file. Belongs to the thread that loads.
final class PackedFileReader {
  let file: PackedFile
  private var next = 0
  /// Why the file is not that of the model.
  private(set) var mismatch: WeightCacheError?

  init(_ file: PackedFile) { self.file = file }

  /// The next matrix.
  /// - Throws: an error that stands for ``mismatch``.
  func matrix(format: WeightFormat, rows: Int, cols: Int) throws(EngineError) -> PackedMatrix {
    let matrices = file.header.matrices
    let found = next < matrices.count ? matrices[next] : nil
    guard let found, found.format == format, found.rows == rows, found.cols == cols else {
      throw refuse(
        found: found?.words ?? "missing", expected: "\(rows) x \(cols) in \(format.rawValue)")
    }
    next += 1
    return PackedMatrix(panels: file.panels(found), format: format, rows: rows, cols: cols)
  }

  /// Refuses a file with matrices that nobody asked for.
  func finish() throws(EngineError) {
    guard next < file.header.matrices.count else { return }
    throw refuse(found: file.header.matrices[next].words, expected: "not there")
  }

  private func refuse(found: String, expected: String) -> EngineError {
    let error = WeightCacheError.wrongMatrix(
      path: file.path, index: next, found: found, expected: expected)
    mismatch = error
    return .file("\(error)")
  }
}

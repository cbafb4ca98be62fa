internal import GGUF

/// Writes rewritten matrices to a file that gets its name when it is complete. Belongs to the thread
/// that loads.
final class PackedFileWriter {
  private let path: String
  private var file: AtomicFile
  private var header: PackedFileHeader
  private let matrixLimit: Int
  /// Why the file cannot be written.
  private(set) var failure: WeightCacheError?

  /// A file of at most `matrixLimit` matrices.
  init(path: String, modelHash: [UInt8], matrixLimit: Int) throws(WeightCacheError) {
    self.path = path
    self.matrixLimit = matrixLimit
    header = PackedFileHeader(modelHash: modelHash, sizeBytes: 0)
    do {
      file = try AtomicFile(path: path, replacing: true, isPrivate: true)
    } catch {
      throw .cannotWrite(path: path, problem: "\(error)")
    }
  }

  /// - Throws: an error that stands for ``failure``.
  func append(_ matrix: PackedMatrix) throws(EngineError) {
    precondition(header.matrices.count < matrixLimit, "more than \(matrixLimit) matrices")
    do {
      if header.matrices.isEmpty {
        // Room for the header.
        try fill(up: PackedFileHeader.byteCount(matrixCount: matrixLimit))
      }
      try fill(up: header.sizeBytes)
      let offset = header.sizeBytes
      // At most so much at a time: the system writes no more than 2 GiB in one call.
      for start in stride(from: 0, to: matrix.sizeBytes, by: 64 << 20) {
        let part = matrix.panels.range(start, min(64 << 20, matrix.sizeBytes - start))
        try file.append(part)
      }
      header.sizeBytes += matrix.sizeBytes
      header.matrices.append(
        .init(
          format: matrix.weightFormat, rows: matrix.rows, cols: matrix.cols, offset: offset,
          checksum: PackedMatrix.checksum(of: matrix.panels)))
    } catch {
      throw refuse(error)
    }
  }

  /// Writes the header and gives the file its name.
  /// - Throws: an error that stands for ``failure``.
  func finish() throws(EngineError) {
    do {
      try file.overwriteStart(header.encoded.span)
      // Readers check every byte, and what is lost is made again.
      try file.commit(isDurable: false)
    } catch {
      throw refuse(error)
    }
  }

  /// Appends zeros from the present end, `header.sizeBytes`, to an aligned place.
  private func fill(up size: Int) throws(GGUFError) {
    let alignment = PackedFileHeader.alignment
    let end = (size + alignment - 1) / alignment * alignment
    let zeros = [UInt8](repeating: 0, count: end - header.sizeBytes)
    try file.append(zeros.span)
    header.sizeBytes = end
  }

  private func refuse(_ error: GGUFError) -> EngineError {
    failure = .cannotWrite(path: path, problem: "\(error)")
    return .file("\(error)")
  }
}

extension AtomicFile {
  fileprivate func append(_ view: MemoryView<UInt8>) throws(GGUFError) {
    let result: Result<Void, GGUFError> = view.withSpan { span in
      do throws(GGUFError) {
        return .success(try append(span))
      } catch {
        return .failure(error)
      }
    }
    try result.get()
  }
}

package import GGUF

/// What became of one tensor.
package struct QuantizedTensor: Sendable, Equatable {
  package let entry: QuantizationPlan.Entry
  /// Sum over the weights of (new - old)^2; 0 where the bytes were copied.
  package let squaredError: Double
  /// Sum over the weights of old^2; 0 where the bytes were copied.
  package let squares: Double
  /// Weights that were NaN or infinite. In quantised types they became 0; they are in neither sum.
  package let nonFiniteCount: Int
}

/// How far a quantisation has come. Indices are those of the plan's entries.
package enum QuantizationEvent: Sendable {
  /// The share of the tensor's rows that is done, 0...1.
  case working(index: Int, share: Double)
  case finished(index: Int, QuantizedTensor)
}

/// Rewrites a model file with other types; memory does not grow with the model.
///
/// Every row is a matter of its own, so that the file does not depend on the number of threads.
package struct Quantizer {
  /// The version of the quantised formats that `general.quantization_version` names.
  private static let formatVersion: UInt32 = 2

  private let file: GGUFFile
  private let plan: QuantizationPlan
  private let threads: WorkerThreads
  private let chunkBytes: Int

  /// - Parameters:
  ///   - file: what is read.
  ///   - plan: made for `file`.
  ///   - threadCount: 1...256, the caller included.
  ///   - chunkBytes: rows that are worked on together take about as much in the new file.
  /// - Throws: ``EngineError/invalidThreadCount(_:limit:)``.
  package init(
    file: GGUFFile, plan: QuantizationPlan, threadCount: Int, chunkBytes: Int = 8 << 20
  ) throws(EngineError) {
    precondition(chunkBytes > 0, "chunks of \(chunkBytes) bytes")
    self.file = file
    self.plan = plan
    self.chunkBytes = chunkBytes
    threads = try WorkerThreads(count: threadCount)
  }

  /// Writes the new file; it appears when it is complete.
  ///
  /// - Parameters:
  ///   - path: of the new file.
  ///   - replacing: whether a file that is there already may go.
  ///   - progress: called on this thread.
  /// - Returns: what became of each tensor, in file order.
  /// - Throws: ``EngineError/file(_:)`` where the new file cannot be written,
  ///   ``EngineError/outOfMemory(what:sizeBytes:)``.
  package func write(
    to path: String, replacing: Bool, progress: (QuantizationEvent) -> Void = { _ in }
  ) throws(EngineError) -> [QuantizedTensor] {
    let outline = try outline()
    do {
      var writer = try GGUFFileWriter(outline, to: path, replacing: replacing)
      var finished: [QuantizedTensor] = []
      for (index, entry) in plan.entries.enumerated() {
        let report = { (share: Double) in progress(.working(index: index, share: share)) }
        let tensor =
          try entry.isCopied
          ? copy(entry, to: &writer, report) : convert(entry, to: &writer, report)
        finished.append(tensor)
        progress(.finished(index: index, tensor))
      }
      try writer.finish()
      return finished
    } catch let error as EngineError {
      throw error
    } catch {
      throw .file("\(error)")
    }
  }

  /// The metadata of the old file, except for what says how it is stored.
  private func outline() throws(EngineError) -> GGUFOutline {
    guard file.alignment <= 1 << 30 else {
      throw .invalidSetting(
        key: "general.alignment", value: file.alignment, expected: "at most \(1 << 30)")
    }
    var outline = GGUFOutline(alignment: file.alignment)
    let changed: [(key: String, value: GGUFValue)] = [
      ("general.file_type", .uint32(plan.type.fileType)),
      ("general.quantization_version", .uint32(Self.formatVersion)),
    ]
    for key in file.keys where key != "general.alignment" {
      let value = changed.first { $0.key == key }?.value ?? file[key]
      if let value { outline.add(key, value) }
    }
    for (key, value) in changed where file[key] == nil { outline.add(key, value) }
    for entry in plan.entries {
      outline.add(
        tensor: entry.tensor.name, dimensions: entry.tensor.dimensions, type: entry.type)
    }
    return outline
  }

  private func copy(
    _ entry: QuantizationPlan.Entry, to writer: inout GGUFFileWriter, _ report: (Double) -> Void
  ) throws(GGUFError) -> QuantizedTensor {
    // safe: the mapping lives as long as `file`.
    let bytes = unsafe file.withTensorBytes(entry.tensor) { unsafe $0 }
    for start in stride(from: 0, to: bytes.count, by: chunkBytes) {
      report(Double(start) / Double(bytes.count))
      let end = min(start + chunkBytes, bytes.count)
      let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end])
      try unsafe writer.append(part.assumingMemoryBound(to: UInt8.self).span)
    }
    return QuantizedTensor(entry: entry, squaredError: 0, squares: 0, nonFiniteCount: 0)
  }

  private func convert(
    _ entry: QuantizationPlan.Entry, to writer: inout GGUFFileWriter, _ report: (Double) -> Void
  ) throws -> QuantizedTensor {
    let rowCount = entry.tensor.rowCount
    let rowBytes = entry.byteCount / rowCount
    let chunk = min(rowCount, max(chunkBytes / rowBytes, threads.count))
    let rows = try RowConverter(file: file, entry: entry, rowLimit: chunk, workers: threads.count)
    var squaredError = 0.0
    var squares = 0.0
    var nonFiniteCount = 0
    for start in stride(from: 0, to: rowCount, by: chunk) {
      report(Double(start) / Double(rowCount))
      let count = min(chunk, rowCount - start)
      threads.run { worker in
        for row in worker.share(of: count) {
          rows.convert(start + row, to: row, worker: worker.index)
        }
      }
      try rows.withBytes(rows: count) { (bytes) throws(GGUFError) in try writer.append(bytes) }
      // In the order of rows, whoever computed them.
      for row in 0..<count {
        squaredError += rows.squaredErrors[row]
        squares += rows.squares[row]
        nonFiniteCount += rows.nonFiniteCounts[row]
      }
    }
    return QuantizedTensor(
      entry: entry, squaredError: squaredError, squares: squares, nonFiniteCount: nonFiniteCount)
  }
}

/// Room for some rows of one tensor in its new type, and for what is told about them.
private final class RowConverter: Sendable {
  private let file: GGUFFile
  private let tensor: GGUFTensor
  private let source: WeightFormat
  private let target: WeightFormat
  private let rowBytes: Int
  private let storage: [AlignedBuffer]
  private let output: MemoryView<UInt8>
  /// Two rows for each worker: as they were, as they come back.
  private let floats: MemoryView<Float>
  /// Each by place in `output`.
  let squaredErrors: MemoryView<Double>
  let squares: MemoryView<Double>
  let nonFiniteCounts: MemoryView<Int>

  init(
    file: GGUFFile, entry: QuantizationPlan.Entry, rowLimit: Int, workers: Int
  ) throws(EngineError) {
    let tensor = entry.tensor
    // The plan has checked the source; the targets are our own choice.
    guard let source = WeightFormat(rawValue: tensor.type.name),
      let target = WeightFormat(rawValue: entry.type.name)
    else { preconditionFailure("\(tensor.type.name) to \(entry.type.name)") }
    let cols = tensor.dimensions[0]
    self.file = file
    self.tensor = tensor
    self.source = source
    self.target = target
    rowBytes = target.rowBytes(cols)
    let bytes = try AlignedBuffer(sizeBytes: rowLimit * rowBytes, for: "quantised rows")
    let rows = try AlignedBuffer(sizeBytes: workers * cols * 8, for: "rows of floats")
    let sums = try AlignedBuffer(sizeBytes: rowLimit * 24, for: "errors of rows")
    storage = [bytes, rows, sums]
    output = bytes.view(as: UInt8.self)
    floats = rows.view(as: Float.self)
    squaredErrors = sums.view(as: Double.self).range(0, rowLimit)
    squares = sums.view(as: Double.self).range(rowLimit, rowLimit)
    nonFiniteCounts = sums.view(as: Int.self).range(2 * rowLimit, rowLimit)
  }

  /// Row `row` of the tensor becomes row `place` of the output.
  func convert(_ row: Int, to place: Int, worker: Int) {
    let cols = tensor.dimensions[0]
    let old = floats.range(2 * worker * cols, cols)
    let new = floats.range((2 * worker + 1) * cols, cols)
    let bytes = output.range(place * rowBytes, rowBytes)
    unsafe file.withTensorBytes(tensor) { all in
      unsafe source.dequantize(
        UnsafeRawBufferPointer(
          rebasing: all[row * tensor.rowBytes..<(row + 1) * tensor.rowBytes]), into: old)
    }
    target.quantize(old, into: bytes)
    unsafe target.dequantize(
      UnsafeRawBufferPointer(start: bytes.base, count: bytes.count), into: new)
    var error = 0.0
    var square = 0.0
    var nonFiniteCount = 0
    for index in 0..<cols {
      guard old[index].isFinite else {
        nonFiniteCount += 1
        continue
      }
      let weight = Double(old[index])
      let difference = Double(new[index]) - weight
      error += difference * difference
      square += weight * weight
    }
    squaredErrors[place] = error
    squares[place] = square
    nonFiniteCounts[place] = nonFiniteCount
  }

  /// Lends the first `rows` rows of the output.
  func withBytes<Failure: Error>(
    rows: Int, _ body: (Span<UInt8>) throws(Failure) -> Void
  ) throws(Failure) {
    let bytes = output.range(0, rows * rowBytes)
    try unsafe body(UnsafeBufferPointer(start: bytes.base, count: bytes.count).span)
  }
}

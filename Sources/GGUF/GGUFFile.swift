/// A model file: its metadata, and its tensors without copying them.
///
/// Opening reads the header only, and checks all of it. A mapped file must not be truncated by
/// anyone while it is open: the system ends a process that reads mapped pages that are gone.
package final class GGUFFile: Sendable {
  private static let sampleBytes = 4096
  private static let samplesPerTensor = 16
  /// What is hashed at a time.
  private static let hashedBytes = 32 << 20

  private let contents: FileBytes
  private let header: GGUFHeader

  /// Version of the format: 2 or 3.
  package var version: UInt32 { header.version }
  /// Metadata keys in file order.
  package var keys: [String] { header.keys }
  /// Tensors in file order.
  package var tensors: [GGUFTensor] { header.tensors }
  /// The power of two of which all tensors' offsets are multiples, in bytes.
  package var alignment: Int { header.alignment }
  /// Size of the whole file in bytes.
  package var sizeBytes: Int { contents.count }
  /// Which file this is and in which state it was opened; nil for bytes in memory.
  package var identity: FileIdentity? { contents.identity }

  /// Maps the file at `path` read-only.
  ///
  /// - Throws: ``GGUFError``, which says what is wrong and where.
  package convenience init(path: String) throws(GGUFError) {
    try self.init(contents: FileBytes(path: path))
  }

  /// Reads a file that is already in memory; the bytes are copied.
  ///
  /// - Throws: ``GGUFError``, which says what is wrong and where.
  package convenience init(bytes: [UInt8]) throws(GGUFError) {
    try self.init(contents: FileBytes(copying: bytes))
  }

  private init(contents: FileBytes) throws(GGUFError) {
    self.contents = contents
    header = try GGUFParser.parse(contents)
  }

  /// The metadata value of `key`, if there is one.
  package subscript(key: String) -> GGUFValue? { header.values[key] }

  /// The tensor called `name`, if there is one.
  package func tensor(named name: String) -> GGUFTensor? {
    header.tensorIndices[name].map { header.tensors[$0] }
  }

  /// Lends the bytes of a tensor of this file: `byteCount` bytes, in place.
  ///
  /// The memory stays valid and unchanged as long as this object lives, also after `body`: whoever
  /// keeps the pointer keeps the file.
  package func withTensorBytes<Result, Failure: Error>(
    _ tensor: GGUFTensor, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try unsafe contents.withBytes(
      in: tensor.byteOffset..<tensor.byteOffset + tensor.byteCount, body)
  }

  /// Lets the system take back the memory of a tensor that was read; reading it again is possible.
  package func releaseMemory(of tensor: GGUFTensor) {
    contents.adviseUnneeded(tensor.byteOffset..<tensor.byteOffset + tensor.byteCount)
  }

  /// Asks the system to start reading the whole file into memory; returns at once.
  package func adviseWillNeed() { contents.adviseWillNeed() }

  /// 32 bytes that tell model files apart: BLAKE2b over everything before the tensor data and, of
  /// each tensor, 16 samples of 4 KiB at even distances (all of a tensor that is not larger).
  ///
  /// It is a sampled hash: files of many gigabytes answer at once, and two different models or
  /// quantisations differ in every tensor. It finds mix-ups, not a forger who changes bytes between
  /// the samples. Computed anew on each call.
  package var fingerprint: [UInt8] {
    var hash = ContentHash()
    unsafe contents.withBytes(in: 0..<header.dataOffset) { unsafe hash.update($0) }
    for tensor in tensors {
      for range in Self.sampledRanges(of: tensor) {
        unsafe contents.withBytes(in: range) { unsafe hash.update($0) }
      }
      // The system maps what is around a sample as well: most of the file, if nobody stops it.
      releaseMemory(of: tensor)
    }
    return hash.finish()
  }

  /// 32 bytes: BLAKE2b over the whole file. Unlike ``fingerprint`` it reads every byte, about a
  /// gigabyte per second. Calls `progress` with the share done, 0...1.
  package func contentHash(progress: (Double) -> Void = { _ in }) -> [UInt8] {
    var hash = ContentHash()
    var start = 0
    while start < sizeBytes {
      let range = start..<min(start + Self.hashedBytes, sizeBytes)
      unsafe contents.withBytes(in: range) { unsafe hash.update($0) }
      contents.adviseUnneeded(range)
      start = range.upperBound
      progress(Double(start) / Double(sizeBytes))
    }
    return hash.finish()
  }

  private static func sampledRanges(of tensor: GGUFTensor) -> [Range<Int>] {
    let whole = tensor.byteOffset..<tensor.byteOffset + tensor.byteCount
    guard whole.count > samplesPerTensor * sampleBytes else { return [whole] }
    let span = whole.count - sampleBytes
    return (0..<samplesPerTensor).map { sample in
      // Dividing first keeps the product small; the rounding only shifts the samples.
      let start = whole.lowerBound + span / (samplesPerTensor - 1) * sample
      return start..<start + sampleBytes
    }
  }
}

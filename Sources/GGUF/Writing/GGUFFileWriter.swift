/// Writes a model file from front to back; memory does not grow with the file.
///
/// The file appears under its name when ``finish()`` succeeds, whole and on the disk, and not
/// before: readers see the old file or the new one, and a failure leaves nothing behind.
package struct GGUFFileWriter: ~Copyable {
  private let outline: GGUFOutline
  private var file: AtomicFile
  private var tensorIndex = 0
  /// Bytes of tensor `tensorIndex` that are still to come.
  private var missingBytes: Int

  /// Opens the file and writes what stands in front of the tensor data.
  ///
  /// - Parameters:
  ///   - outline: metadata and tensors of the file.
  ///   - path: where the file shall be. A symbolic link is replaced, not followed.
  ///   - replacing: whether a file that is there already may go.
  /// - Throws: ``GGUFError/alreadyExists(path:)``, ``GGUFError/noSpace(path:needed:available:)``,
  ///   ``GGUFError/notARegularFile(path:)``, ``GGUFError/cannotWrite(path:errno:)``.
  package init(_ outline: GGUFOutline, to path: String, replacing: Bool) throws(GGUFError) {
    let header = outline.header
    let file = try AtomicFile(path: path, replacing: replacing)
    try file.checkSpace(for: outline.sizeBytes)
    try file.append(header.span)
    self.outline = outline
    self.file = file
    missingBytes = outline.tensorSizes.first ?? 0
  }

  /// Appends data of the tensor that is not complete yet, in the order of the outline. Padding is
  /// added here.
  ///
  /// - Throws: ``GGUFError/noSpace(path:needed:available:)``, ``GGUFError/cannotWrite(path:errno:)``.
  package mutating func append(_ bytes: Span<UInt8>) throws(GGUFError) {
    precondition(
      tensorIndex < outline.tensorSizes.count && bytes.count <= missingBytes,
      "\(bytes.count) bytes for \(missingBytes) of tensor \(tensorIndex)")
    try file.append(bytes)
    missingBytes -= bytes.count
    guard missingBytes == 0 else { return }
    let size = outline.tensorSizes[tensorIndex]
    let padding = [UInt8](repeating: 0, count: outline.padded(size) - size)
    try file.append(padding.span)
    tensorIndex += 1
    missingBytes = tensorIndex < outline.tensorSizes.count ? outline.tensorSizes[tensorIndex] : 0
  }

  /// Puts the complete file in its place, on the disk.
  ///
  /// - Throws: as the initialiser; the file may have appeared meanwhile.
  package mutating func finish() throws(GGUFError) {
    precondition(
      tensorIndex == outline.tensorSizes.count,
      "\(tensorIndex) of \(outline.tensorSizes.count) tensors are written")
    try file.commit()
  }
}

/// Builds a small model file in memory. Large ones go to ``GGUFFileWriter`` piece by piece.
package struct GGUFWriter: Sendable {
  private var outline: GGUFOutline
  private var tensors: [[UInt8]] = []

  /// A file without metadata and tensors; see ``GGUFOutline/init(version:alignment:)``.
  package init(version: UInt32 = 3, alignment: Int = 32) {
    outline = GGUFOutline(version: version, alignment: alignment)
  }

  /// Adds a metadata entry; a key is added once.
  package mutating func add(_ key: String, _ value: GGUFValue) { outline.add(key, value) }

  /// Adds a tensor whose data are `bytes`, row after row.
  ///
  /// - Parameters:
  ///   - name: unique in the file.
  ///   - dimensions: one to four, the length of a row first.
  ///   - type: how `bytes` store the elements.
  ///   - bytes: exactly as many as type and dimensions ask for.
  package mutating func add(
    tensor name: String, dimensions: [Int], type: GGMLType, bytes: [UInt8]
  ) {
    outline.add(tensor: name, dimensions: dimensions, type: type)
    precondition(
      bytes.count == outline.tensorSizes.last,
      "\(bytes.count) bytes for \(dimensions) of \(type.name)")
    tensors.append(bytes)
  }

  /// The whole file.
  package func serialized() -> [UInt8] {
    var output = outline.header
    for bytes in tensors {
      output += bytes
      output += repeatElement(0, count: outline.padded(bytes.count) - bytes.count)
    }
    return output
  }

  /// Creates or replaces the file at `path`.
  ///
  /// - Throws: as ``GGUFFileWriter``.
  package func write(to path: String) throws(GGUFError) {
    var writer = try GGUFFileWriter(outline, to: path, replacing: true)
    for bytes in tensors { try writer.append(bytes.span) }
    try writer.finish()
  }
}

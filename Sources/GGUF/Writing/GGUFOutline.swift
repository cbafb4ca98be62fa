/// Everything of a model file but the tensor data: metadata, and the tensors' names and places.
///
/// Tensors lie in the order in which they were added, each padded to the alignment, the last one
/// too, as GGML's own reader expects.
package struct GGUFOutline: Sendable {
  private static let alignmentDefault = 32

  private let version: UInt32
  private let alignment: Int
  private var keys: Set<String> = []
  private var entries: [UInt8] = []
  private var names: Set<String> = []
  private var tensors: [UInt8] = []
  private(set) var tensorSizes: [Int] = []
  private var dataBytes = 0

  /// A file without metadata and tensors.
  ///
  /// - Parameters:
  ///   - version: 2 or 3.
  ///   - alignment: of each tensor's data in bytes, a power of two; one other than 32, which is what
  ///     readers assume, is recorded in the metadata.
  package init(version: UInt32 = 3, alignment: Int = 32) {
    precondition(version == 2 || version == 3, "GGUF version \(version)")
    precondition(
      (1...1 << 30).contains(alignment) && alignment & (alignment - 1) == 0,
      "alignment \(alignment)")
    self.version = version
    self.alignment = alignment
    if alignment != Self.alignmentDefault {
      add("general.alignment", .uint32(UInt32(alignment)))
    }
  }

  /// Adds a metadata entry; a key is added once.
  package mutating func add(_ key: String, _ value: GGUFValue) {
    precondition(keys.insert(key).inserted, "key \(key) is added twice")
    entries.append(text: key)
    entries.append(integer: value.elementType.rawValue)
    entries.append(value: value)
  }

  /// Adds a tensor.
  ///
  /// - Parameters:
  ///   - name: unique in the file.
  ///   - dimensions: one to four, the length of a row first.
  ///   - type: how the elements are stored; rows are whole blocks.
  package mutating func add(tensor name: String, dimensions: [Int], type: GGMLType) {
    precondition(names.insert(name).inserted, "tensor \(name) is added twice")
    precondition(
      (1...4).contains(dimensions.count) && dimensions.allSatisfy { $0 > 0 }
        && dimensions[0].isMultiple(of: type.blockSize),
      "tensor \(name): \(dimensions) of \(type.name)")
    let byteCount = dimensions.reduce(1, *) / type.blockSize * type.blockBytes
    tensors.append(text: name)
    tensors.append(integer: UInt32(dimensions.count))
    for size in dimensions { tensors.append(integer: UInt64(size)) }
    tensors.append(integer: type.rawValue)
    tensors.append(integer: UInt64(dataBytes))
    tensorSizes.append(byteCount)
    dataBytes += padded(byteCount)
  }

  /// The size of the whole file in bytes.
  package var sizeBytes: Int { header.count + dataBytes }

  /// What stands in front of the tensor data, padding included.
  var header: [UInt8] {
    var output = Array("GGUF".utf8)
    output.append(integer: version)
    output.append(integer: UInt64(tensorSizes.count))
    output.append(integer: UInt64(keys.count))
    output += entries
    output += tensors
    output += repeatElement(0, count: padded(output.count) - output.count)
    return output
  }

  /// `count` rounded up to the alignment.
  func padded(_ count: Int) -> Int { (count + alignment - 1) & ~(alignment - 1) }
}

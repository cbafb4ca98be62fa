/// Builds a model file in memory.
package struct GGUFWriter: Sendable {
  private let version: UInt32
  private let alignment: Int
  private var entryCount: UInt64 = 0
  private var entries: [UInt8] = []
  private var tensorCount: UInt64 = 0
  private var tensors: [UInt8] = []
  private var data: [UInt8] = []

  /// A file without metadata and tensors.
  ///
  /// - Parameters:
  ///   - version: 2 or 3.
  ///   - alignment: of each tensor's data, a power of two; one other than 32, which is what readers
  ///     assume, is recorded in the metadata.
  package init(version: UInt32 = 3, alignment: Int = 32) {
    precondition(version == 2 || version == 3, "GGUF version \(version)")
    precondition(
      (1...1 << 30).contains(alignment) && alignment & (alignment - 1) == 0,
      "alignment \(alignment)")
    self.version = version
    self.alignment = alignment
    if alignment != 32 { add("general.alignment", .uint32(UInt32(alignment))) }
  }

  /// Adds a metadata entry. The reader rejects a key that is added twice.
  package mutating func add(_ key: String, _ value: GGUFValue) {
    entryCount += 1
    entries.append(text: key)
    entries.append(integer: value.elementType.rawValue)
    entries.append(value: value)
  }

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
    precondition(
      (1...4).contains(dimensions.count) && dimensions.allSatisfy { $0 > 0 },
      "dimensions \(dimensions)")
    let elementCount = dimensions.reduce(1, *)
    precondition(
      dimensions[0].isMultiple(of: type.blockSize)
        && bytes.count == elementCount / type.blockSize * type.blockBytes,
      "\(bytes.count) bytes for \(dimensions) of \(type.name)")
    tensorCount += 1
    data.pad(to: alignment)
    tensors.append(text: name)
    tensors.append(integer: UInt32(dimensions.count))
    for size in dimensions { tensors.append(integer: UInt64(size)) }
    tensors.append(integer: type.rawValue)
    tensors.append(integer: UInt64(data.count))
    data += bytes
  }

  /// The whole file.
  package func serialized() -> [UInt8] {
    var output = Array("GGUF".utf8)
    output.append(integer: version)
    output.append(integer: tensorCount)
    output.append(integer: entryCount)
    output += entries
    output += tensors
    output.pad(to: alignment)
    output += data
    return output
  }

  /// Creates or replaces the file at `path`.
  ///
  /// - Throws: ``GGUFError/cannotWrite(path:errno:)``.
  package func write(to path: String) throws(GGUFError) {
    try writeFile(serialized(), to: path)
  }
}

extension [UInt8] {
  fileprivate mutating func append<Number: FixedWidthInteger>(integer: Number) {
    for shift in stride(from: 0, to: Number.bitWidth, by: 8) {
      append(UInt8(truncatingIfNeeded: integer >> Number(shift)))
    }
  }

  fileprivate mutating func append(text: String) {
    append(integer: UInt64(text.utf8.count))
    append(contentsOf: text.utf8)
  }

  fileprivate mutating func append(value: GGUFValue) {
    switch value {
    case .uint8(let number): append(integer: number)
    case .int8(let number): append(integer: number)
    case .uint16(let number): append(integer: number)
    case .int16(let number): append(integer: number)
    case .uint32(let number): append(integer: number)
    case .int32(let number): append(integer: number)
    case .float32(let number): append(integer: number.bitPattern)
    case .bool(let flag): append(flag ? 1 : 0)
    case .string(let text): append(text: text)
    case .array(let elements): append(array: elements)
    case .uint64(let number): append(integer: number)
    case .int64(let number): append(integer: number)
    case .float64(let number): append(integer: number.bitPattern)
    }
  }

  fileprivate mutating func append(array: GGUFArray) {
    append(integer: array.elementType.rawValue)
    append(integer: UInt64(array.count))
    switch array {
    case .uint8(let numbers): append(contentsOf: numbers)
    case .int8(let numbers): for number in numbers { append(integer: number) }
    case .uint16(let numbers): for number in numbers { append(integer: number) }
    case .int16(let numbers): for number in numbers { append(integer: number) }
    case .uint32(let numbers): for number in numbers { append(integer: number) }
    case .int32(let numbers): for number in numbers { append(integer: number) }
    case .float32(let numbers): for number in numbers { append(integer: number.bitPattern) }
    case .bool(let flags): for flag in flags { append(flag ? 1 : 0) }
    case .string(let texts): for text in texts { append(text: text) }
    case .array(let arrays): for array in arrays { append(array: array) }
    case .uint64(let numbers): for number in numbers { append(integer: number) }
    case .int64(let numbers): for number in numbers { append(integer: number) }
    case .float64(let numbers): for number in numbers { append(integer: number.bitPattern) }
    }
  }

  fileprivate mutating func pad(to alignment: Int) {
    let excess = count & (alignment - 1)
    if excess != 0 { append(contentsOf: repeatElement(0, count: alignment - excess)) }
  }
}

/// Everything in front of the tensor data, checked.
struct GGUFHeader {
  var version: UInt32 = 0
  var keys: [String] = []
  var values: [String: GGUFValue] = [:]
  var alignment = 32
  var tensors: [GGUFTensor] = []
  var tensorIndices: [String: Int] = [:]
  /// First byte of the tensor data, or the size of a file without any.
  var dataOffset = 0
}

/// Reads a header from front to back. No number of the file is used before it is checked against
/// what the file has room for.
struct GGUFParser {
  private static let nestingMax = 4
  private static let dimensionCountMax: UInt32 = 4
  /// Name length, one dimension, type and offset: the least a tensor takes in the header.
  private static let tensorBytesMin = 8 + 4 + 8 + 4 + 8
  /// Key length, type and one byte of value.
  private static let entryBytesMin = 8 + 4 + 1

  private let bytes: FileBytes
  private var offset = 0
  private var header = GGUFHeader()

  private var remaining: Int { bytes.count - offset }

  static func parse(_ bytes: FileBytes) throws(GGUFError) -> GGUFHeader {
    var parser = GGUFParser(bytes: bytes)
    try parser.readHeader()
    return parser.header
  }

  private init(bytes: FileBytes) { self.bytes = bytes }

  private mutating func readHeader() throws(GGUFError) {
    try readMagicAndVersion()
    let tensorCount = try readCount("the number of tensors", bytesEach: Self.tensorBytesMin)
    let entryCount = try readCount("the number of metadata entries", bytesEach: Self.entryBytesMin)
    header.keys.reserveCapacity(entryCount)
    for _ in 0..<entryCount { try readEntry() }
    try readAlignment()
    var declared: [DeclaredTensor] = []
    declared.reserveCapacity(tensorCount)
    for index in 0..<tensorCount { declared.append(try readTensor(index)) }
    try place(declared)
  }

  private mutating func readMagicAndVersion() throws(GGUFError) {
    let start = try take(4, "the magic number")
    let magic = bytes.values(at: start, count: 4, as: UInt8.self)
    if magic == Array("FUGG".utf8) { throw .bigEndian }
    guard magic == Array("GGUF".utf8) else { throw .wrongMagic(found: magic) }
    let version = try read(UInt32.self, "the version")
    if version != 0 && version & 0xFFFF == 0 { throw .bigEndian }
    guard version == 2 || version == 3 else { throw .unsupportedVersion(version) }
    header.version = version
  }

  private mutating func readEntry() throws(GGUFError) {
    let start = offset
    let key = try readText("a metadata key")
    guard header.values[key] == nil else { throw .duplicateKey(key, offset: start) }
    let type = try readType(key)
    header.values[key] = try readValue(type, key)
    header.keys.append(key)
  }

  private mutating func readAlignment() throws(GGUFError) {
    guard let value = header.values["general.alignment"] else { return }
    guard let alignment = value.integer else {
      throw .wrongType(key: "general.alignment", expected: "uint32", found: value.typeName)
    }
    guard alignment > 0 && alignment & (alignment - 1) == 0 else {
      throw .invalidAlignment(alignment)
    }
    header.alignment = alignment
  }

  // MARK: Tensors

  /// A tensor as the header declares it, before its place is known to be sound.
  private struct DeclaredTensor {
    var name: String
    var dimensions: [Int]
    var type: GGMLType
    var byteCount: Int
    var relativeOffset: UInt64
  }

  private mutating func readTensor(_ index: Int) throws(GGUFError) -> DeclaredTensor {
    let start = offset
    let name = try readText("a tensor name")
    guard header.tensorIndices.updateValue(index, forKey: name) == nil else {
      throw .duplicateTensor(name, offset: start)
    }
    let dimensionCount = try read(UInt32.self, "the number of dimensions of \(name)")
    guard (1...Self.dimensionCountMax).contains(dimensionCount) else {
      throw .absurdShape(tensor: name, problem: .dimensionCount(dimensionCount), offset: start)
    }
    var sizes: [UInt64] = []
    for _ in 0..<dimensionCount { sizes.append(try read(UInt64.self, "a dimension of \(name)")) }
    let typeOffset = offset
    let number = try read(UInt32.self, "the type of \(name)")
    guard let type = GGMLType(rawValue: number) else {
      throw .unknownTensorType(tensor: name, type: number, offset: typeOffset)
    }
    let relativeOffset = try read(UInt64.self, "the data offset of \(name)")
    switch byteCount(of: sizes, type) {
    case .success(let byteCount):
      return DeclaredTensor(
        name: name, dimensions: sizes.map(Int.init), type: type, byteCount: byteCount,
        relativeOffset: relativeOffset)
    case .failure(let problem):
      throw .absurdShape(tensor: name, problem: problem.problem, offset: start)
    }
  }

  private struct ShapeFailure: Error {
    var problem: ShapeProblem
  }

  private func byteCount(of sizes: [UInt64], _ type: GGMLType) -> Result<Int, ShapeFailure> {
    var elementCount = 1
    for (index, size) in sizes.enumerated() {
      if size == 0 { return .failure(ShapeFailure(problem: .emptyDimension(index))) }
      guard let size = Int(exactly: size) else {
        return .failure(ShapeFailure(problem: .overflow))
      }
      let product = elementCount.multipliedReportingOverflow(by: size)
      if product.overflow { return .failure(ShapeFailure(problem: .overflow)) }
      elementCount = product.partialValue
    }
    let rowLength = Int(sizes[0])
    guard rowLength.isMultiple(of: type.blockSize) else {
      return .failure(
        ShapeFailure(problem: .partialBlock(rowLength: rowLength, blockSize: type.blockSize)))
    }
    let product = (elementCount / type.blockSize).multipliedReportingOverflow(by: type.blockBytes)
    return product.overflow
      ? .failure(ShapeFailure(problem: .overflow)) : .success(product.partialValue)
  }

  private mutating func place(_ declared: [DeclaredTensor]) throws(GGUFError) {
    let excess = offset & (header.alignment - 1)
    let padding = excess == 0 ? 0 : header.alignment - excess
    let isDataBeyondEnd = padding > remaining
    header.dataOffset = isDataBeyondEnd ? bytes.count : offset + padding
    let room = isDataBeyondEnd ? 0 : remaining - padding
    header.tensors.reserveCapacity(declared.count)
    for tensor in declared {
      guard tensor.relativeOffset & UInt64(header.alignment - 1) == 0 else {
        throw .misalignedTensor(
          tensor: tensor.name, relativeOffset: tensor.relativeOffset, alignment: header.alignment)
      }
      guard tensor.relativeOffset <= UInt64(room),
        tensor.byteCount <= room - Int(tensor.relativeOffset)
      else {
        throw .tensorPastEnd(
          tensor: tensor.name, relativeOffset: tensor.relativeOffset, byteCount: tensor.byteCount,
          sizeBytes: bytes.count)
      }
      header.tensors.append(
        GGUFTensor(
          name: tensor.name, dimensions: tensor.dimensions, type: tensor.type,
          byteOffset: header.dataOffset + Int(tensor.relativeOffset), byteCount: tensor.byteCount))
    }
    let sorted = header.tensors.sorted { $0.byteOffset < $1.byteOffset }
    for (first, second) in zip(sorted, sorted.dropFirst())
    where first.byteOffset + first.byteCount > second.byteOffset {
      throw .overlappingTensors(first: first.name, second: second.name)
    }
  }

  // MARK: Values

  private mutating func readType(_ key: String) throws(GGUFError) -> GGUFValueType {
    let start = offset
    let number = try read(UInt32.self, "the type of \(key)")
    guard let type = GGUFValueType(rawValue: number) else {
      throw .unknownValueType(key: key, type: number, offset: start)
    }
    return type
  }

  private mutating func readValue(
    _ type: GGUFValueType, _ key: String
  ) throws(GGUFError) -> GGUFValue {
    let what = "the value of \(key)"
    switch type {
    case .uint8: return .uint8(try read(UInt8.self, what))
    case .int8: return .int8(try read(Int8.self, what))
    case .uint16: return .uint16(try read(UInt16.self, what))
    case .int16: return .int16(try read(Int16.self, what))
    case .uint32: return .uint32(try read(UInt32.self, what))
    case .int32: return .int32(try read(Int32.self, what))
    case .float32: return .float32(try read(Float.self, what))
    case .bool: return .bool(try readBools(count: 1, key)[0])
    case .string: return .string(try readText(what))
    case .array: return .array(try readArray(key, depth: 1))
    case .uint64: return .uint64(try read(UInt64.self, what))
    case .int64: return .int64(try read(Int64.self, what))
    case .float64: return .float64(try read(Double.self, what))
    }
  }

  private mutating func readArray(_ key: String, depth: Int) throws(GGUFError) -> GGUFArray {
    guard depth <= Self.nestingMax else {
      throw .nestingTooDeep(key: key, limit: Self.nestingMax, offset: offset)
    }
    let type = try readType(key)
    let count = try readCount("the number of elements of \(key)", bytesEach: type.bytesMin)
    switch type {
    case .uint8: return .uint8(try readArray(count, key))
    case .int8: return .int8(try readArray(count, key))
    case .uint16: return .uint16(try readArray(count, key))
    case .int16: return .int16(try readArray(count, key))
    case .uint32: return .uint32(try readArray(count, key))
    case .int32: return .int32(try readArray(count, key))
    case .float32: return .float32(try readArray(count, key))
    case .bool: return .bool(try readBools(count: count, key))
    case .string:
      var texts: [String] = []
      texts.reserveCapacity(count)
      for _ in 0..<count { texts.append(try readText("an element of \(key)")) }
      return .string(texts)
    case .array:
      var arrays: [GGUFArray] = []
      arrays.reserveCapacity(count)
      for _ in 0..<count { arrays.append(try readArray(key, depth: depth + 1)) }
      return .array(arrays)
    case .uint64: return .uint64(try readArray(count, key))
    case .int64: return .int64(try readArray(count, key))
    case .float64: return .float64(try readArray(count, key))
    }
  }

  private mutating func readArray<Value: BitwiseCopyable>(
    _ count: Int, _ key: String
  ) throws(GGUFError) -> [Value] {
    let start = try take(count * MemoryLayout<Value>.stride, "the elements of \(key)")
    return bytes.values(at: start, count: count, as: Value.self)
  }

  private mutating func readBools(count: Int, _ key: String) throws(GGUFError) -> [Bool] {
    let start = offset
    let numbers: [UInt8] = try readArray(count, key)
    if let index = numbers.firstIndex(where: { $0 > 1 }) {
      throw .invalidBool(key: key, value: numbers[index], offset: start + index)
    }
    return numbers.map { $0 == 1 }
  }

  private mutating func readText(_ what: String) throws(GGUFError) -> String {
    let length = try readCount("the length of \(what)", bytesEach: 1)
    let start = try take(length, what)
    guard let text = bytes.text(in: start..<start + length) else {
      throw .invalidText(reading: what, offset: start)
    }
    return text
  }

  // MARK: Numbers

  /// A number of things of at least `bytesEach` bytes, for all of which the file has room.
  private mutating func readCount(_ what: String, bytesEach: Int) throws(GGUFError) -> Int {
    let start = offset
    let value = try read(UInt64.self, what)
    let limit = remaining / bytesEach
    guard value <= UInt64(limit) else {
      throw .oversized(reading: what, value: value, limit: limit, offset: start)
    }
    return Int(value)
  }

  private mutating func read<Value: BitwiseCopyable>(
    _ type: Value.Type, _ what: @autoclosure () -> String
  ) throws(GGUFError) -> Value {
    let start = try take(MemoryLayout<Value>.size, what())
    return bytes.value(at: start, as: type)
  }

  /// Steps over `byteCount` bytes and returns where they start.
  private mutating func take(
    _ byteCount: Int, _ what: @autoclosure () -> String
  ) throws(GGUFError) -> Int {
    guard byteCount <= remaining else {
      throw .truncated(
        reading: what(), offset: offset, needed: byteCount, available: remaining)
    }
    defer { offset += byteCount }
    return offset
  }
}

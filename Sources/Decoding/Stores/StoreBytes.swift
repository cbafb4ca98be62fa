/// Numbers to bytes, little-endian.
struct StoreWriter {
  private(set) var bytes: [UInt8] = []

  mutating func append(_ byte: UInt8) { bytes.append(byte) }

  mutating func append(_ word: UInt32) {
    bytes.append(UInt8(truncatingIfNeeded: word))
    bytes.append(UInt8(truncatingIfNeeded: word >> 8))
    bytes.append(UInt8(truncatingIfNeeded: word >> 16))
    bytes.append(UInt8(truncatingIfNeeded: word >> 24))
  }

  mutating func append(_ word: UInt64) {
    append(UInt32(truncatingIfNeeded: word))
    append(UInt32(truncatingIfNeeded: word >> 32))
  }

  mutating func append(_ number: Float) { append(number.bitPattern) }

  mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }

  /// Leaves room for a count that is known later.
  ///
  /// - Returns: where it goes, for ``setCount(_:at:)``.
  mutating func reserveCount() -> Int {
    append(UInt32(0))
    return bytes.count - 4
  }

  mutating func setCount(_ count: Int, at offset: Int) {
    let word = UInt32(count)
    for index in 0..<4 {
      bytes[offset + index] = UInt8(truncatingIfNeeded: word >> UInt32(index * 8))
    }
  }
}

/// Bytes to numbers; every read checks what is left.
struct StoreReader {
  private let bytes: [UInt8]
  private var offset: Int
  private let end: Int
  /// What error messages call these bytes.
  let part: String

  init(_ bytes: [UInt8], part: String, from offset: Int = 0) {
    self.bytes = bytes
    self.part = part
    self.offset = offset
    end = bytes.count
  }

  var position: Int { offset }

  private mutating func skip(_ count: Int) throws(StoreError) -> Int {
    guard count <= end - offset else {
      throw .truncated(part: part, needed: count, available: end - offset)
    }
    offset += count
    return offset - count
  }

  mutating func byte() throws(StoreError) -> UInt8 { bytes[try skip(1)] }

  mutating func word() throws(StoreError) -> UInt32 {
    let start = try skip(4)
    return UInt32(bytes[start]) | UInt32(bytes[start + 1]) << 8 | UInt32(bytes[start + 2]) << 16
      | UInt32(bytes[start + 3]) << 24
  }

  mutating func longWord() throws(StoreError) -> UInt64 {
    let low = UInt64(try word())
    return low | UInt64(try word()) << 32
  }

  mutating func float() throws(StoreError) -> Float { Float(bitPattern: try word()) }

  mutating func bytes(_ count: Int) throws(StoreError) -> [UInt8] {
    let start = try skip(count)
    return Array(bytes[start..<start + count])
  }

  /// A number between 0 and `limit`.
  mutating func count(upTo limit: Int, _ field: String) throws(StoreError) -> Int {
    try checked(UInt64(try word()), 0...limit, field)
  }

  /// A token of the vocabulary.
  mutating func token(_ vocabularyCount: Int, _ field: String) throws(StoreError) -> UInt32 {
    UInt32(try checked(UInt64(try word()), 0...vocabularyCount - 1, field))
  }

  /// A finite number in `allowed`.
  mutating func float(
    in allowed: ClosedRange<Float>, _ field: String
  ) throws(StoreError) -> Float {
    let value = try float()
    guard allowed.contains(value) else { throw .invalidNumber(field: field, value: value) }
    return value
  }

  /// `value` where it is allowed.
  func checked(
    _ value: UInt64, _ allowed: ClosedRange<Int>, _ field: String
  ) throws(StoreError) -> Int {
    guard let number = Int(exactly: value), allowed.contains(number) else {
      throw .outOfRange(field: field, value: value, allowed: allowed)
    }
    return number
  }

  /// Throws unless everything was read.
  func finish() throws(StoreError) {
    guard offset == end else { throw .trailingBytes(part: part, count: end - offset) }
  }
}

/// Why bytes are not JSON.
enum JSONError: Error, Equatable, Sendable {
  /// `offset` counts bytes from 0.
  case unexpectedByte(offset: Int)
  case unexpectedEnd
  case tooDeep(limit: Int)
  case invalidUTF8
}

/// A strict reader of one JSON text (RFC 8259) that bounds the depth, so that no body can exhaust
/// the stack.
struct JSONParser {
  /// Deepest nesting of arrays and objects.
  static let depthLimit = 64

  private let bytes: [UInt8]
  private var offset = 0

  private init(bytes: [UInt8]) { self.bytes = bytes }

  /// Reads a whole text.
  ///
  /// - Parameter bytes: UTF-8, with white space allowed at both ends.
  /// - Returns: the value.
  /// - Throws: ``JSONError`` that names the first offending byte.
  static func parse(_ bytes: [UInt8]) throws(JSONError) -> JSONValue {
    // Checked once for the whole text: the strings inside are then valid as well.
    guard String(validating: bytes, as: UTF8.self) != nil else { throw .invalidUTF8 }
    var parser = JSONParser(bytes: bytes)
    let value = try parser.value(depth: 0)
    parser.skipSpace()
    guard parser.offset == bytes.count else { throw .unexpectedByte(offset: parser.offset) }
    return value
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
    skipSpace()
    switch try peek() {
    case UInt8(ascii: "{"): return try object(depth: depth + 1)
    case UInt8(ascii: "["): return try array(depth: depth + 1)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .boolean(true))
    case UInt8(ascii: "f"): return try word("false", .boolean(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    default: return try number()
    }
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
    guard depth <= Self.depthLimit else { throw .tooDeep(limit: Self.depthLimit) }
    offset += 1
    skipSpace()
    var members: [JSONMember] = []
    if try skip(UInt8(ascii: "}")) { return .object(members) }
    while true {
      skipSpace()
      guard try peek() == UInt8(ascii: "\"") else { throw .unexpectedByte(offset: offset) }
      let name = try string()
      skipSpace()
      guard try skip(UInt8(ascii: ":")) else { throw .unexpectedByte(offset: offset) }
      members.append(JSONMember(name: name, value: try value(depth: depth)))
      skipSpace()
      if try skip(UInt8(ascii: "}")) { return .object(members) }
      guard try skip(UInt8(ascii: ",")) else { throw .unexpectedByte(offset: offset) }
    }
  }

  private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
    guard depth <= Self.depthLimit else { throw .tooDeep(limit: Self.depthLimit) }
    offset += 1
    skipSpace()
    var values: [JSONValue] = []
    if try skip(UInt8(ascii: "]")) { return .array(values) }
    while true {
      values.append(try value(depth: depth))
      skipSpace()
      if try skip(UInt8(ascii: "]")) { return .array(values) }
      guard try skip(UInt8(ascii: ",")) else { throw .unexpectedByte(offset: offset) }
    }
  }

  private mutating func string() throws(JSONError) -> String {
    offset += 1
    var text: [UInt8] = []
    while true {
      let start = offset
      while offset < bytes.count, !Self.endsRun(bytes[offset]) { offset += 1 }
      text.append(contentsOf: bytes[start..<offset])
      switch try peek() {
      case UInt8(ascii: "\""):
        offset += 1
        return String(decoding: text, as: UTF8.self)
      case UInt8(ascii: "\\"):
        offset += 1
        try appendEscape(to: &text)
      default: throw .unexpectedByte(offset: offset)
      }
    }
  }

  private static func endsRun(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte < 0x20
  }

  private mutating func appendEscape(to text: inout [UInt8]) throws(JSONError) {
    let escape = try peek()
    offset += 1
    switch escape {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(escape)
    case UInt8(ascii: "b"): text.append(8)
    case UInt8(ascii: "f"): text.append(12)
    case UInt8(ascii: "n"): text.append(10)
    case UInt8(ascii: "r"): text.append(13)
    case UInt8(ascii: "t"): text.append(9)
    case UInt8(ascii: "u"):
      let scalar = try escapedScalar()
      text.append(contentsOf: Character(scalar).utf8)
    default: throw .unexpectedByte(offset: offset - 1)
    }
  }

  /// The scalar of `\uXXXX` or of a surrogate pair; half a pair becomes the replacement character,
  /// as JavaScript can send one.
  private mutating func escapedScalar() throws(JSONError) -> Unicode.Scalar {
    let replacement: Unicode.Scalar = "\u{FFFD}"
    let first = try hexQuad()
    guard (0xD800..<0xDC00).contains(first) else { return Unicode.Scalar(first) ?? replacement }
    let afterFirst = offset
    guard offset + 1 < bytes.count, bytes[offset] == UInt8(ascii: "\\"),
      bytes[offset + 1] == UInt8(ascii: "u")
    else { return replacement }
    offset += 2
    let second = try hexQuad()
    guard (0xDC00..<0xE000).contains(second) else {
      offset = afterFirst
      return replacement
    }
    return Unicode.Scalar(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)) ?? replacement
  }

  private mutating func hexQuad() throws(JSONError) -> UInt32 {
    var quad: UInt32 = 0
    for _ in 0..<4 {
      let byte = try peek()
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw .unexpectedByte(offset: offset)
      }
      quad = quad << 4 | UInt32(digit)
      offset += 1
    }
    return quad
  }

  private mutating func number() throws(JSONError) -> JSONValue {
    let start = offset
    if offset < bytes.count, bytes[offset] == UInt8(ascii: "-") { offset += 1 }
    // No leading zeros: "01" ends after the zero and fails as a stray byte.
    if try peek() == UInt8(ascii: "0") { offset += 1 } else { try digits() }
    var isWhole = true
    if offset < bytes.count, bytes[offset] == UInt8(ascii: ".") {
      isWhole = false
      offset += 1
      try digits()
    }
    if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
      isWhole = false
      offset += 1
      let sign = try peek()
      if sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { offset += 1 }
      try digits()
    }
    let text = String(decoding: bytes[start..<offset], as: UTF8.self)
    if isWhole, let integer = Int(text) { return .integer(integer) }
    guard let double = Double(text) else { throw .unexpectedByte(offset: start) }
    return .number(double)
  }

  private mutating func digits() throws(JSONError) {
    let isDigit = { (byte: UInt8) in (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
    guard isDigit(try peek()) else { throw .unexpectedByte(offset: offset) }
    while offset < bytes.count, isDigit(bytes[offset]) { offset += 1 }
  }

  private mutating func word(_ word: String, _ value: JSONValue) throws(JSONError) -> JSONValue {
    for expected in word.utf8 {
      guard try skip(expected) else { throw .unexpectedByte(offset: offset) }
    }
    return value
  }

  private func peek() throws(JSONError) -> UInt8 {
    guard offset < bytes.count else { throw .unexpectedEnd }
    return bytes[offset]
  }

  /// Steps over `byte` if it comes next.
  private mutating func skip(_ byte: UInt8) throws(JSONError) -> Bool {
    guard try peek() == byte else { return false }
    offset += 1
    return true
  }

  private mutating func skipSpace() {
    while offset < bytes.count {
      switch bytes[offset] {
      case 0x20, 0x0A, 0x0D, 0x09: offset += 1
      default: return
      }
    }
  }
}

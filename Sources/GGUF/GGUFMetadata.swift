/// Typed questions. Each throws ``GGUFError/missingKey(key:expected:)`` where the key is absent and
/// no default is given, and ``GGUFError/wrongType(key:expected:found:)`` where the value does not
/// fit; a default never hides a wrong type.
extension GGUFFile {
  /// The integer, of any width and sign, that `key` holds.
  package func integer(_ key: String, default fallback: Int? = nil) throws(GGUFError) -> Int {
    try value(key, fallback, "an integer", \.integer)
  }

  /// The floating-point number, of either width, that `key` holds.
  package func float(_ key: String, default fallback: Float? = nil) throws(GGUFError) -> Float {
    try value(key, fallback, "a float", \.float)
  }

  /// The boolean that `key` holds.
  package func bool(_ key: String, default fallback: Bool? = nil) throws(GGUFError) -> Bool {
    try value(key, fallback, "a bool", \.bool)
  }

  /// The text that `key` holds.
  package func string(_ key: String, default fallback: String? = nil) throws(GGUFError) -> String {
    try value(key, fallback, "a string", \.string)
  }

  /// The texts that `key` holds.
  package func stringArray(
    _ key: String, default fallback: [String]? = nil
  ) throws(GGUFError) -> [String] {
    try value(key, fallback, "an array of string", \.stringArray)
  }

  /// The integers, of any width and sign, that `key` holds.
  package func integerArray(
    _ key: String, default fallback: [Int]? = nil
  ) throws(GGUFError) -> [Int] {
    try value(key, fallback, "an array of integers", \.integerArray)
  }

  /// The floating-point numbers, of either width, that `key` holds.
  package func floatArray(
    _ key: String, default fallback: [Float]? = nil
  ) throws(GGUFError) -> [Float] {
    try value(key, fallback, "an array of floats", \.floatArray)
  }

  private func value<Value>(
    _ key: String, _ fallback: Value?, _ expected: String, _ read: (GGUFValue) -> Value?
  ) throws(GGUFError) -> Value {
    guard let found = self[key] else {
      guard let fallback else { throw .missingKey(key: key, expected: expected) }
      return fallback
    }
    guard let value = read(found) else {
      throw .wrongType(key: key, expected: expected, found: found.typeName)
    }
    return value
  }
}

extension GGUFValue {
  var integer: Int? {
    switch self {
    case .uint8(let number): Int(number)
    case .int8(let number): Int(number)
    case .uint16(let number): Int(number)
    case .int16(let number): Int(number)
    case .uint32(let number): Int(number)
    case .int32(let number): Int(number)
    case .uint64(let number): Int(exactly: number)
    case .int64(let number): Int(number)
    default: nil
    }
  }

  var float: Float? {
    switch self {
    case .float32(let number): number
    case .float64(let number): Float(number)
    default: nil
    }
  }

  var bool: Bool? {
    if case .bool(let flag) = self { flag } else { nil }
  }

  var string: String? {
    if case .string(let text) = self { text } else { nil }
  }

  var stringArray: [String]? {
    if case .array(.string(let texts)) = self { texts } else { nil }
  }

  var integerArray: [Int]? {
    guard case .array(let elements) = self else { return nil }
    switch elements {
    case .uint8(let numbers): return numbers.map(Int.init)
    case .int8(let numbers): return numbers.map(Int.init)
    case .uint16(let numbers): return numbers.map(Int.init)
    case .int16(let numbers): return numbers.map(Int.init)
    case .uint32(let numbers): return numbers.map(Int.init)
    case .int32(let numbers): return numbers.map(Int.init)
    case .int64(let numbers): return numbers.map(Int.init)
    case .uint64(let numbers):
      let exact = numbers.compactMap { Int(exactly: $0) }
      return exact.count == numbers.count ? exact : nil
    default: return nil
    }
  }

  var floatArray: [Float]? {
    switch self {
    case .array(.float32(let numbers)): numbers
    case .array(.float64(let numbers)): numbers.map { Float($0) }
    default: nil
    }
  }
}

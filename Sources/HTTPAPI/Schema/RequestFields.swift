/// The members of a request body, read by type; each mismatch names the field.
///
/// `null` counts as absent throughout, as OpenAI's clients send it for options not given.
struct RequestFields {
  private let members: [String: JSONValue]

  /// - Parameter body: the bytes of a request body.
  /// - Throws: ``APIError`` with status 400 if they are not one JSON object.
  init(body: [UInt8]) throws(APIError) {
    let value: JSONValue
    do {
      value = try JSONParser.parse(body)
    } catch {
      throw .invalid("the request body is not JSON: \(Self.describe(error))")
    }
    try self.init(value, name: "the request body")
  }

  /// - Parameters:
  ///   - value: an object.
  ///   - name: what the error message calls it.
  /// - Throws: ``APIError`` with status 400 if it is none.
  init(_ value: JSONValue, name: String) throws(APIError) {
    guard case .object(let list) = value else {
      throw .invalid("\(name) must be an object, got \(value.kind)")
    }
    members = Dictionary(list.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
  }

  subscript(name: String) -> JSONValue? {
    guard let value = members[name], value != .null else { return nil }
    return value
  }

  func boolean(_ name: String) throws(APIError) -> Bool? {
    guard let value = self[name] else { return nil }
    guard case .boolean(let boolean) = value else {
      throw Self.mismatch(name, expected: "a boolean", value)
    }
    return boolean
  }

  func string(_ name: String) throws(APIError) -> String? {
    guard let value = self[name] else { return nil }
    guard let string = value.string else { throw Self.mismatch(name, expected: "a string", value) }
    return string
  }

  func integer(_ name: String, in range: ClosedRange<Int>) throws(APIError) -> Int? {
    guard let value = self[name] else { return nil }
    guard let integer = value.exactInteger else {
      let got = value.double.map { "\($0)" } ?? value.kind
      throw .invalid("\(name) must be an integer, got \(got)", param: name)
    }
    guard range.contains(integer) else {
      let bound =
        range.upperBound == .max
        ? "at least \(range.lowerBound)"
        : "between \(range.lowerBound) and \(range.upperBound)"
      throw .invalid("\(name) must be \(bound), got \(integer)", param: name)
    }
    return integer
  }

  func number(_ name: String, in range: ClosedRange<Double>) throws(APIError) -> Float? {
    guard let value = self[name] else { return nil }
    guard let number = value.double else {
      throw Self.mismatch(name, expected: "a number", value)
    }
    guard range.contains(number) else {
      throw .invalid(
        "\(name) must be between \(range.lowerBound) and \(range.upperBound), got \(number)",
        param: name)
    }
    return Float(number)
  }

  func object(_ name: String) throws(APIError) -> RequestFields? {
    guard let value = self[name] else { return nil }
    guard case .object = value else { throw Self.mismatch(name, expected: "an object", value) }
    return try RequestFields(value, name: name)
  }

  static func mismatch(_ name: String, expected: String, _ value: JSONValue) -> APIError {
    .invalid("\(name) must be \(expected), got \(value.kind)", param: name)
  }

  private static func describe(_ error: JSONError) -> String {
    switch error {
    case .unexpectedByte(let offset): "unexpected byte at offset \(offset)"
    case .unexpectedEnd: "it ends early"
    case .tooDeep(let limit): "it is nested deeper than \(limit)"
    case .invalidUTF8: "it is not UTF-8"
    }
  }
}

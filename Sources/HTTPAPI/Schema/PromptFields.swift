import InferenceTypes

extension RequestFields {
  /// The turns of `messages`.
  ///
  /// - Throws: ``APIError`` with status 400 that names message and part.
  func chatTurns() throws(APIError) -> [ChatTurn] {
    guard let value = self["messages"] else {
      throw .invalid("messages is required", param: "messages")
    }
    guard let messages = value.array else {
      throw Self.mismatch("messages", expected: "an array", value)
    }
    guard !messages.isEmpty else {
      throw .invalid("messages must hold at least one message", param: "messages")
    }
    var turns: [ChatTurn] = []
    for (index, message) in messages.enumerated() {
      turns.append(try Self.turn(message, name: "messages[\(index)]"))
    }
    return turns
  }

  private static func turn(_ message: JSONValue, name: String) throws(APIError) -> ChatTurn {
    guard case .object = message else { throw mismatch(name, expected: "an object", message) }
    guard let roleName = message["role"]?.string else {
      throw .invalid("\(name).role must be a string", param: "\(name).role")
    }
    // OpenAI's newer models call the system role "developer".
    guard let role = ChatTurn.Role(rawValue: roleName == "developer" ? "system" : roleName) else {
      throw .invalid(
        "\(name).role '\(roleName)' is not supported: use system, developer, user or assistant",
        param: "\(name).role")
    }
    if let calls = message["tool_calls"], calls != .null, calls != .array([]) {
      throw .notSupported("\(name).tool_calls", param: "\(name).tool_calls")
    }
    let content = try content(message["content"] ?? .null, role: role, name: "\(name).content")
    return ChatTurn(role: role, content: content)
  }

  private static func content(
    _ value: JSONValue, role: ChatTurn.Role, name: String
  ) throws(APIError) -> String {
    if value == .null, role == .assistant { return "" }
    return try text(value, name: name)
  }

  /// A string, or the joined text of text parts.
  ///
  /// - Throws: ``APIError`` with status 400 that names the part.
  static func text(_ value: JSONValue, name: String) throws(APIError) -> String {
    switch value {
    case .string(let text): return text
    case .array(let parts):
      var text = ""
      for (index, part) in parts.enumerated() {
        let partName = "\(name)[\(index)]"
        guard let type = part["type"]?.string else {
          throw .invalid("\(partName).type must be a string", param: partName)
        }
        guard type == "text" else {
          throw .notSupported("content of type \(type)", param: partName)
        }
        guard let piece = part["text"]?.string else {
          throw .invalid("\(partName).text must be a string", param: partName)
        }
        text += piece
      }
      return text
    default:
      throw mismatch(name, expected: "a string or an array of text parts", value)
    }
  }

  /// The tokens of `prompt`: a string, a list of token ids, or a list with one of either.
  ///
  /// - Throws: ``APIError`` with status 400.
  func promptTokens(codec: any TextCodec, vocabularyCount: Int) throws(APIError) -> [TokenID] {
    guard let value = self["prompt"] else {
      throw .invalid("prompt is required", param: "prompt")
    }
    if let text = value.string { return codec.encode(text) }
    guard let items = value.array else {
      throw Self.mismatch("prompt", expected: "a string or an array", value)
    }
    switch items.first {
    case .string, .array:
      guard items.count == 1 else {
        throw .invalid(
          "one prompt is answered at a time, got \(items.count): send one request for each",
          param: "prompt")
      }
      if let text = items[0].string { return codec.encode(text) }
      let ids = items[0].array ?? []
      return try Self.tokens(ids, name: "prompt", vocabularyCount: vocabularyCount)
    default: return try Self.tokens(items, name: "prompt", vocabularyCount: vocabularyCount)
    }
  }

  /// Checked token ids of an array.
  ///
  /// - Throws: ``APIError`` with status 400 that names the first id not in the vocabulary.
  static func tokens(
    _ values: [JSONValue], name: String, vocabularyCount: Int
  ) throws(APIError) -> [TokenID] {
    var tokens: [TokenID] = []
    tokens.reserveCapacity(values.count)
    for value in values {
      guard let id = value.exactInteger else {
        throw mismatch(name, expected: "text or integer token ids", value)
      }
      guard (0..<vocabularyCount).contains(id), let raw = UInt32(exactly: id) else {
        throw .invalid(
          "token \(id) of \(name) is not in the vocabulary of \(vocabularyCount)", param: name)
      }
      tokens.append(TokenID(raw))
    }
    return tokens
  }
}

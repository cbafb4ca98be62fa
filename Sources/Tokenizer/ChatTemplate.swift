package import GGUF
package import InferenceTypes

/// One turn of a conversation.
package struct ChatMessage: Sendable, Equatable {
  /// Such as `system`, `user` or `assistant`.
  package var role: String
  /// Any text; none of it is taken for markup.
  package var content: String

  /// A turn of `role`, which ``ChatTemplate/render(_:addsGenerationPrompt:)`` checks.
  package init(role: String, content: String) {
    self.role = role
    self.content = content
  }
}

/// A part of a rendered conversation.
package enum ChatSegment: Sendable, Equatable {
  /// One control token, by its text.
  case markup(String)
  /// Text in which nothing is a control token, whatever it looks like.
  case text(String)
}

/// How a conversation becomes a prompt, in one of the formats of ``ChatFormat``.
///
/// Template and contents are kept apart up to the tokens: a message that contains `<|im_end|>` does
/// not end there. What is no control token in a format's own vocabulary, such as `[INST]` in that of
/// Llama 2, is text wherever it comes from.
package struct ChatTemplate: Sendable {
  static let messageStart = "<|im_start|>"
  static let messageEnd = "<|im_end|>"
  private static let systemHeader =
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"

  /// What the template was recognised as.
  package let format: ChatFormat
  /// Put in front of conversations that do not begin with a system message.
  package let defaultSystemPrompt: String?
  private let renderer: ChatRenderer
  /// Whether the template itself writes a beginning of sequence.
  private let beginsSequence: Bool

  /// Recognises the template in the metadata of `file`.
  ///
  /// - Throws: ``TokenizerError/missingChatTemplate``, ``TokenizerError/unsupportedChatTemplate`` or
  ///   ``TokenizerError/metadata(_:)``.
  package init(file: GGUFFile) throws(TokenizerError) {
    let key = "tokenizer.chat_template"
    guard file[key] != nil else { throw .missingChatTemplate }
    let template: String
    let beginText: String?
    let endText: String?
    do {
      template = try file.string(key)
      beginText = try Self.tokenText(file, "tokenizer.ggml.bos_token_id")
      endText = try Self.tokenText(file, "tokenizer.ggml.eos_token_id")
    } catch { throw .metadata(error) }
    try self.init(
      template: template, beginOfSequence: beginText ?? "<s>", endOfSequence: endText ?? "</s>")
  }

  /// The text of the token that `key` names; nil where there is none.
  private static func tokenText(_ file: GGUFFile, _ key: String) throws(GGUFError) -> String? {
    guard file[key] != nil else { return nil }
    let token = try file.integer(key)
    let texts = try file.stringArray("tokenizer.ggml.tokens")
    return texts.indices.contains(token) ? texts[token] : nil
  }

  /// Recognises a template by its text.
  ///
  /// - Parameters:
  ///   - template: in the language of Jinja.
  ///   - beginOfSequence: what it means by `bos_token`.
  ///   - endOfSequence: what it means by `eos_token`.
  /// - Throws: ``TokenizerError/unsupportedChatTemplate``.
  package init(
    template: String, beginOfSequence: String = "<s>", endOfSequence: String = "</s>"
  ) throws(TokenizerError) {
    let bytes = Array(template.utf8)
    guard let format = ChatFormat(template: bytes) else { throw .unsupportedChatTemplate }
    func has(_ text: String) -> Bool { firstRange(of: text, in: bytes[...]) != nil }
    self.format = format
    defaultSystemPrompt = format == .chatML ? Self.defaultSystemPrompt(in: bytes) : nil
    beginsSequence = has("bos_token") || has(beginOfSequence)
    // Llama 3.1 and later have the date in every prompt; this is what they say without a clock.
    let hasHeader = has("Cutting Knowledge Date: December 2023") && has("26 Jul 2024")
    renderer = ChatRenderer(
      format: format, beginText: beginOfSequence, endText: endOfSequence,
      systemHeader: format == .llama3 && hasHeader ? Self.systemHeader : "",
      breaksLines: Self.breaksLines(bytes))
  }

  /// Whether a line break follows markup, in one literal or by way of several.
  private static func breaksLines(_ template: [UInt8]) -> Bool {
    let text = template.filter { !" '\"+".utf8.contains($0) }
    return ["|>\\n", "|>\n"].contains { firstRange(of: $0, in: text[...]) != nil }
  }

  /// Renders a conversation.
  ///
  /// - Parameters:
  ///   - messages: at least one.
  ///   - addsGenerationPrompt: whether the beginning of an answer follows.
  /// - Returns: control tokens and text; no two texts are neighbours, so that each is encoded as one.
  /// - Throws: ``TokenizerError/noMessages``, ``TokenizerError/invalidRole(_:)`` or
  ///   ``TokenizerError/unexpectedRole(format:message:role:expected:)``.
  package func render(
    _ messages: [ChatMessage], addsGenerationPrompt: Bool
  ) throws(TokenizerError) -> [ChatSegment] {
    guard let first = messages.first else { throw .noMessages }
    var turns = messages
    if first.role != "system", let defaultSystemPrompt {
      turns.insert(ChatMessage(role: "system", content: defaultSystemPrompt), at: 0)
    }
    for turn in turns where !Self.isValid(role: turn.role) { throw .invalidRole(turn.role) }
    if format.hasTurns { try checkTurns(turns, isToBeAnswered: addsGenerationPrompt) }
    var renderer = renderer
    renderer.append(turns)
    if addsGenerationPrompt { renderer.appendGenerationPrompt() }
    return renderer.segments
  }

  private func checkTurns(
    _ messages: [ChatMessage], isToBeAnswered: Bool
  ) throws(TokenizerError) {
    let start = messages.first?.role == "system" ? 1 : 0
    for index in start..<max(start + 1, messages.count) {
      let expected = (index - start).isMultiple(of: 2) ? "user" : "assistant"
      let role = index < messages.count ? messages[index].role : ""
      guard role == expected else {
        throw .unexpectedRole(format: format, message: index, role: role, expected: expected)
      }
    }
    if isToBeAnswered, format.answersUserDirectly, (messages.count - start).isMultiple(of: 2) {
      throw .unexpectedRole(format: format, message: messages.count, role: "", expected: "user")
    }
  }

  /// Renders and encodes a conversation up to where the answer begins.
  ///
  /// - Parameters:
  ///   - messages: at least one.
  ///   - tokenizer: of the same file.
  /// - Returns: the prompt, with a beginning of sequence where the vocabulary or the template asks
  ///   for one.
  /// - Throws: what ``render(_:addsGenerationPrompt:)`` throws, and
  ///   ``TokenizerError/markupIsNotControlToken(_:)``.
  package func encode(
    _ messages: [ChatMessage], tokenizer: BytePairTokenizer
  ) throws(TokenizerError) -> [TokenID] {
    var prompt: [TokenID] = []
    for segment in try render(messages, addsGenerationPrompt: true) {
      switch segment {
      case .markup(let text):
        let tokens = tokenizer.encode(text, parseSpecial: true)
        guard tokens.count == 1, tokenizer.isControl(tokens[0]) else {
          throw .markupIsNotControlToken(text)
        }
        prompt += tokens
      case .text(let text):
        // Phi's control tokens take the white space behind them, where the vocabulary is Llama's.
        let isStripped = format == .phi3 && tokenizer.addsSpacePrefix && !prompt.isEmpty
        prompt += tokenizer.encode(
          isStripped ? trimmed(text, atEnd: false) : text, parseSpecial: false)
      }
    }
    if tokenizer.addsBeginOfSequence || beginsSequence, let begin = tokenizer.beginOfSequence,
      prompt.first != begin
    {
      prompt.insert(begin, at: 0)
    }
    return prompt
  }

  private static func isValid(role: String) -> Bool {
    (1...64).contains(role.utf8.count)
      && role.utf8.allSatisfy { byte in
        switch CharacterKinds(ascii: byte) {
        case .uppercase, .lowercase, .number: true
        default: byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
        }
      }
  }

  // MARK: Default system prompt

  /// The prompt of a literal system message in the template, in quotes or between Jinja tags.
  private static func defaultSystemPrompt(in template: [UInt8]) -> String? {
    var rest = template[...]
    while let start = firstRange(of: "\(messageStart)system", in: rest) {
      let quote = start.lowerBound > 0 ? template[start.lowerBound - 1] : 0
      rest = rest[start.upperBound...]
      let isQuoted = quote == UInt8(ascii: "'") || quote == UInt8(ascii: "\"")
      guard let end = firstRange(of: messageEnd, in: rest) else { return nil }
      let literal = rest[..<end.lowerBound]
      if let prompt = prompt(of: literal, quote: isQuoted ? quote : nil) { return prompt }
    }
    return nil
  }

  /// The text of `literal` behind its first line break; nil where it is not one literal.
  private static func prompt(of literal: ArraySlice<UInt8>, quote: UInt8?) -> String? {
    let backslash = UInt8(ascii: "\\")
    var text: [UInt8] = []
    var isEscaped = false
    for byte in literal {
      if isEscaped {
        text.append(unescaped(byte))
        isEscaped = false
      } else if quote != nil && byte == backslash {
        isEscaped = true
      } else if byte == quote || quote == nil && byte == UInt8(ascii: "{") {
        return nil
      } else {
        text.append(byte)
      }
    }
    guard text.first == UInt8(ascii: "\n"), text.count > 1 else { return nil }
    return String(decoding: text.dropFirst(), as: UTF8.self)
  }

  private static func unescaped(_ byte: UInt8) -> UInt8 {
    switch byte {
    case UInt8(ascii: "n"): 0x0A
    case UInt8(ascii: "r"): 0x0D
    case UInt8(ascii: "t"): 0x09
    default: byte
    }
  }
}

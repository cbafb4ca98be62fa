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

/// How a conversation becomes a prompt: ChatML, which most small models with byte-level vocabularies
/// are trained on.
///
/// Template and contents are kept apart up to the tokens: a message that contains `<|im_end|>` does
/// not end there.
package struct ChatTemplate: Sendable {
  static let messageStart = "<|im_start|>"
  static let messageEnd = "<|im_end|>"

  /// Put in front of conversations that do not begin with a system message.
  package let defaultSystemPrompt: String?

  /// Recognises the template in the metadata of `file`.
  ///
  /// - Throws: ``TokenizerError/missingChatTemplate``, ``TokenizerError/unsupportedChatTemplate`` or
  ///   ``TokenizerError/metadata(_:)``.
  package init(file: GGUFFile) throws(TokenizerError) {
    let key = "tokenizer.chat_template"
    guard file[key] != nil else { throw .missingChatTemplate }
    let template: String
    do { template = try file.string(key) } catch { throw .metadata(error) }
    try self.init(template: template)
  }

  /// Recognises a template by its text.
  ///
  /// - Throws: ``TokenizerError/unsupportedChatTemplate``.
  package init(template: String) throws(TokenizerError) {
    let bytes = Array(template.utf8)
    guard Self.firstRange(of: Self.messageStart, in: bytes[...]) != nil,
      Self.firstRange(of: Self.messageEnd, in: bytes[...]) != nil
    else { throw .unsupportedChatTemplate }
    defaultSystemPrompt = Self.defaultSystemPrompt(in: bytes)
  }

  /// Renders a conversation.
  ///
  /// - Parameters:
  ///   - messages: at least one.
  ///   - addsGenerationPrompt: whether the beginning of an answer follows.
  /// - Returns: control tokens and text; no two texts are neighbours, so that each is encoded as one.
  /// - Throws: ``TokenizerError/noMessages`` or ``TokenizerError/invalidRole(_:)``.
  package func render(
    _ messages: [ChatMessage], addsGenerationPrompt: Bool
  ) throws(TokenizerError) -> [ChatSegment] {
    guard let first = messages.first else { throw .noMessages }
    var turns = messages
    if first.role != "system", let defaultSystemPrompt {
      turns.insert(ChatMessage(role: "system", content: defaultSystemPrompt), at: 0)
    }
    var segments: [ChatSegment] = []
    for turn in turns {
      guard Self.isValid(role: turn.role) else { throw .invalidRole(turn.role) }
      segments += [
        .markup(Self.messageStart), .text("\(turn.role)\n\(turn.content)"),
        .markup(Self.messageEnd), .text("\n"),
      ]
    }
    if addsGenerationPrompt {
      segments += [.markup(Self.messageStart), .text("assistant\n")]
    }
    return segments
  }

  /// Renders and encodes a conversation up to where the answer begins.
  ///
  /// - Parameters:
  ///   - messages: at least one.
  ///   - tokenizer: of the same file.
  /// - Returns: the prompt, with a beginning of sequence where the vocabulary asks for one.
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
      case .text(let text): prompt += tokenizer.encode(text, parseSpecial: false)
      }
    }
    if tokenizer.addsBeginOfSequence, let begin = tokenizer.beginOfSequence, prompt.first != begin {
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

  private static func firstRange(of text: String, in bytes: ArraySlice<UInt8>) -> Range<Int>? {
    let pattern = Array(text.utf8)
    guard bytes.count >= pattern.count else { return nil }
    for start in bytes.startIndex...bytes.endIndex - pattern.count
    where bytes[start..<start + pattern.count].elementsEqual(pattern) {
      return start..<start + pattern.count
    }
    return nil
  }
}

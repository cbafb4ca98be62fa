/// Writes a conversation in one format, message by message. Neighbouring texts become one.
///
/// - SeeAlso: the formats stand in the chat templates that their makers publish; for Mistral's, the
///   package mistral-common is the reference.
struct ChatRenderer {
  let format: ChatFormat
  let beginText: String
  let endText: String
  /// What Llama 3.1 puts in front of each system message.
  let systemHeader: String
  /// Whether Phi's markup stands on a line of its own.
  let breaksLines: Bool
  private(set) var segments: [ChatSegment] = []

  init(
    format: ChatFormat, beginText: String, endText: String, systemHeader: String, breaksLines: Bool
  ) {
    self.format = format
    self.beginText = beginText
    self.endText = endText
    self.systemHeader = systemHeader
    self.breaksLines = breaksLines
  }

  /// Appends all `messages`, whose roles have been checked.
  mutating func append(_ messages: [ChatMessage]) {
    guard format.hasTurns else {
      if !systemHeader.isEmpty, messages.first?.role != "system" { appendHeaded("system", "") }
      for message in messages { appendFree(message) }
      return
    }
    let system = messages.first?.role == "system" ? messages.first?.content : nil
    let turns = system == nil ? messages[...] : messages.dropFirst()
    if let system, format == .mistralV7 {
      markup("[SYSTEM_PROMPT]")
      text(system)
      markup("[/SYSTEM_PROMPT]")
    }
    // Mistral moves the system message to where it was last asked, since version 2.
    let asked = turns.indices.filter { turns[$0].role == "user" }
    let systemIndex = format == .mistralV3 ? asked.last : asked.first
    for index in turns.indices {
      let content = turns[index].content
      if turns[index].role == "user" {
        appendQuestion(
          content, system: index == systemIndex && format != .mistralV7 ? system : nil,
          isFirst: index == turns.startIndex)
      } else {
        appendAnswer(content)
      }
    }
  }

  /// Appends what stands in front of an answer.
  mutating func appendGenerationPrompt() {
    switch format {
    case .chatML:
      markup(ChatTemplate.messageStart)
      text("assistant\n")
    case .llama3: appendHeader("assistant")
    case .gemma:
      markup("<start_of_turn>")
      text("model\n")
    case .phi3:
      markup("<|assistant|>")
      text(breaksLines ? "\n" : "")
    case .zephyr: text("<|assistant|>\n")
    case .llama2, .mistralV1, .mistralV3, .mistralV7: break
    }
  }

  // MARK: Formats in which messages are alike

  private mutating func appendFree(_ message: ChatMessage) {
    switch format {
    case .chatML:
      markup(ChatTemplate.messageStart)
      text("\(message.role)\n\(message.content)")
      markup(ChatTemplate.messageEnd)
      text("\n")
    case .llama3: appendHeaded(message.role, message.content)
    case .phi3:
      markup("<|\(message.role)|>")
      text((breaksLines ? "\n" : "") + message.content)
      markup("<|end|>")
      text(breaksLines ? "\n" : "")
    case .zephyr:
      text("<|\(message.role)|>\n\(message.content)")
      markup(endText)
      text("\n")
    case .llama2, .mistralV1, .mistralV3, .mistralV7, .gemma:
      preconditionFailure("\(format) has turns")
    }
  }

  private mutating func appendHeaded(_ role: String, _ content: String) {
    appendHeader(role)
    text((role == "system" ? systemHeader : "") + trimmed(content))
    markup("<|eot_id|>")
  }

  private mutating func appendHeader(_ role: String) {
    markup("<|start_header_id|>")
    text(role)
    markup("<|end_header_id|>")
    text("\n\n")
  }

  // MARK: Formats of questions and answers

  private mutating func appendQuestion(_ content: String, system: String?, isFirst: Bool) {
    let prefix = system.map { "\($0)\n\n" } ?? ""
    switch format {
    case .llama2:
      if !isFirst { markup(beginText) }
      let system = system.map { "<<SYS>>\n\($0)\n<</SYS>>\n\n" } ?? ""
      text("[INST] \(trimmed(system + content)) [/INST]")
    case .mistralV1: text("[INST] \(prefix)\(content) [/INST]")
    case .gemma:
      markup("<start_of_turn>")
      text("user\n\(prefix)\(trimmed(content))")
      markup("<end_of_turn>")
      text("\n")
    default:
      markup("[INST]")
      text(prefix + content)
      markup("[/INST]")
    }
  }

  private mutating func appendAnswer(_ content: String) {
    switch format {
    case .llama2:
      text(" \(trimmed(content)) ")
      markup(endText)
    case .mistralV1:
      text(" \(content)")
      markup(endText)
    case .gemma:
      markup("<start_of_turn>")
      text("model\n\(trimmed(content))")
      markup("<end_of_turn>")
      text("\n")
    default:
      text(trimmed(content, atStart: false))
      markup(endText)
    }
  }

  // MARK: Segments

  private mutating func markup(_ text: String) { segments.append(.markup(text)) }

  private mutating func text(_ text: String) {
    guard !text.isEmpty else { return }
    if case .text(let before)? = segments.last {
      segments[segments.count - 1] = .text(before + text)
    } else {
      segments.append(.text(text))
    }
  }
}

/// `text` without the white space around it.
func trimmed(_ text: String, atStart: Bool = true, atEnd: Bool = true) -> String {
  var scalars = text.unicodeScalars[...]
  if atStart { scalars = scalars.drop { $0.properties.isWhitespace } }
  while atEnd, scalars.last?.properties.isWhitespace == true { scalars.removeLast() }
  return String(scalars)
}

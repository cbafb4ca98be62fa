/// The conversation formats that are known, by the names people know them by.
package enum ChatFormat: String, Sendable, CaseIterable {
  case chatML = "ChatML"
  case llama2 = "Llama 2"
  case llama3 = "Llama 3"
  /// `[INST]` is text, as in the first Mistral and Mixtral.
  case mistralV1 = "Mistral v1"
  /// `[INST]` is a control token: v2, v3 and the Tekken form of v3, which differ by vocabulary only.
  case mistralV3 = "Mistral v3"
  /// As v3, with control tokens for the system prompt.
  case mistralV7 = "Mistral v7"
  case gemma = "Gemma"
  case phi3 = "Phi-3"
  /// Also TinyLlama's.
  case zephyr = "Zephyr"

  /// Recognises the format of a Jinja template by the markup it contains.
  ///
  /// - Parameter template: the bytes of its text.
  init?(template: [UInt8]) {
    func has(_ text: String) -> Bool { firstRange(of: text, in: template[...]) != nil }
    if has("<|im_sep|>") { return nil }
    if has("<|im_start|>") && has("<|im_end|>") {
      self = .chatML
    } else if has("[INST]") {
      if has("[SYSTEM_PROMPT]") {
        self = .mistralV7
      } else if has("<<SYS>>") {
        self = .llama2
      } else {
        self = has(" [/INST]") ? .mistralV1 : .mistralV3
      }
    } else if has("<|start_header_id|>") && has("<|end_header_id|>") {
      self = .llama3
    } else if has("<start_of_turn>") && has("<end_of_turn>") {
      self = .gemma
    } else if has("<|assistant|>") && has("<|end|>") {
      self = .phi3
    } else if has("<|assistant|>") && Self.closesUserTurns(template) {
      self = .zephyr
    } else {
      return nil
    }
  }

  /// Whether the expression behind `<|user|>` writes an end of sequence. Falcon's looks like Zephyr's
  /// but for this.
  private static func closesUserTurns(_ template: [UInt8]) -> Bool {
    guard let user = firstRange(of: "<|user|>", in: template[...]) else { return false }
    let rest = template[user.upperBound...]
    let end = firstRange(of: "}}", in: rest)?.lowerBound ?? rest.endIndex
    let expression = rest[..<end]
    return ["eos_token", "</s>", "<|endoftext|>"].contains {
      firstRange(of: $0, in: expression) != nil
    }
  }

  /// Whether nothing but a system message in front and then user and assistant in turns can be
  /// expressed.
  var hasTurns: Bool {
    switch self {
    case .llama2, .mistralV1, .mistralV3, .mistralV7, .gemma: true
    case .chatML, .llama3, .phi3, .zephyr: false
    }
  }

  /// Whether the answer follows a message of the user without markup of its own.
  var answersUserDirectly: Bool { hasTurns && self != .gemma }
}

/// The first place of `text` in `bytes`.
func firstRange(of text: String, in bytes: ArraySlice<UInt8>) -> Range<Int>? {
  let pattern = Array(text.utf8)
  guard bytes.count >= pattern.count else { return nil }
  for start in bytes.startIndex...bytes.endIndex - pattern.count
  where bytes[start..<start + pattern.count].elementsEqual(pattern) {
    return start..<start + pattern.count
  }
  return nil
}

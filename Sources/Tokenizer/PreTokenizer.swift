/// The rules that split text into words; no token reaches across a split.
///
/// Each set of rules is known by regular expressions; here they are written out, so that they take
/// linear time and bytes that are not UTF-8.
package enum PreTokenizer: Sendable, CaseIterable {
  case gpt2
  case smollm
  case llama3
  /// The rules of `llama3` for vocabularies that follow their merges to the word.
  case cl100k
  case qwen2
  /// `qwen2`, but marks belong to the letters.
  case qwen35
  /// `qwen2`, but no line break belongs to signs.
  case seedCoder
  case tekken
  case o200k
  case deepSeekLLM
  case deepSeekCoder
  case deepSeekV3
  case falcon
  case bloom
  case viking

  /// The rules that `tokenizer.ggml.pre` means by `name`.
  init?(name: String) {
    guard let kind = Self.allCases.first(where: { $0.names.contains(name) }) else { return nil }
    self = kind
  }

  /// What ``init(name:)`` knows.
  static var supportedNames: [String] { allCases.flatMap(\.names) }

  /// Names in use for the same rules, the usual one first.
  package var names: [String] {
    switch self {
    case .gpt2:
      [
        "gpt-2", "phi-2", "gigachat", "jais", "mpt", "olmo", "trillion", "granite-docling",
        "exaone4", "mellum", "a.x-4.0",
      ]
    case .smollm:
      ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"]
    case .llama3:
      ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"]
    case .cl100k: ["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"]
    case .qwen2:
      [
        "qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "grok-2",
        "bailingmoe", "bailingmoe2", "llada-moe",
      ]
    case .qwen35: ["qwen35"]
    case .seedCoder: ["seed-coder"]
    case .tekken: ["tekken"]
    case .o200k: ["gpt-4o", "llama4", "minimax-m2"]
    case .deepSeekLLM: ["deepseek-llm"]
    case .deepSeekCoder: ["deepseek-coder"]
    case .deepSeekV3: ["deepseek-v3", "hunyuan-dense"]
    case .falcon: ["falcon"]
    case .bloom: ["bloom", "poro-chat", "gpt3-finnish"]
    case .viking: ["viking"]
    }
  }

  /// Whether a word that is in the vocabulary is taken whole, without looking at merges.
  var takesWholeWords: Bool { self == .llama3 || self == .tekken }

  /// Whether a file that does not say so wants a beginning-of-sequence token.
  var addsBeginOfSequence: Bool { self == .llama3 || self == .tekken }

  /// The chain of regular expressions, each of which splits what the one before left.
  private var rules: [SplitRule] {
    switch self {
    case .gpt2: [.gpt2]
    case .smollm: [.gpt2WithoutDigits]
    case .llama3, .cl100k: [.words(WordRule())]
    case .qwen2: [.words(WordRule(digitsMax: 1))]
    case .qwen35: [.words(WordRule(letters: .withMarks, digitsMax: 1))]
    case .seedCoder: [.words(WordRule(digitsMax: 1, signTail: .none))]
    case .tekken:
      [
        .words(
          WordRule(
            letters: .cased, contractions: .none, digitsMax: 1, signTail: .newlinesAndSlashes))
      ]
    case .o200k:
      [
        .words(
          WordRule(
            letters: .cased, contractions: .trailing, digitsMax: 3, signTail: .newlinesAndSlashes))
      ]
    case .deepSeekLLM:
      [
        .newline, .ranges(.deepSeekLetters, takesSpace: true),
        .ranges(.deepSeekSigns, takesSpace: true), .trailingSpaces,
        .ranges(.deepSeekIdeographs, takesSpace: false), .digits(countMax: .max),
      ]
    case .deepSeekCoder:
      [
        .newline, .kinds(.letter, takesSpace: true), .kinds(.punctuation, takesSpace: true),
        .ranges(.deepSeekIdeographs, takesSpace: false), .digits(countMax: 1),
      ]
    case .deepSeekV3:
      [.digits(countMax: 3), .ranges(.hanAndKana, takesSpace: false), .deepSeekWords]
    case .falcon: [.falconSigns, .gpt2, .threeASCIIDigits]
    case .bloom: [.bloomWords]
    case .viking: [.bloomWords, .digits(countMax: 1)]
    }
  }

  /// The ends of the words of `bytes`, ascending; the last one is the end of `bytes`.
  ///
  /// - Complexity: O(bytes).
  func wordEnds(in bytes: Span<UInt8>) -> [Int] {
    var ends = bytes.isEmpty ? [] : [bytes.count]
    for rule in rules {
      var refined: [Int] = []
      refined.reserveCapacity(max(ends.count, bytes.count / 8))
      var start = 0
      for end in ends {
        rule.split(bytes.extracting(start..<end), offset: start, into: &refined)
        start = end
      }
      ends = refined
    }
    return ends
  }
}

/// Splits `bytes` by the rules of `kind`. The words joined give `bytes` again; none is empty.
package func preTokens(of bytes: [UInt8], kind: PreTokenizer) -> [[UInt8]] {
  var start = 0
  return kind.wordEnds(in: bytes.span).map { end in
    defer { start = end }
    return Array(bytes[start..<end])
  }
}

import InferenceTypes
import Tokenizer

/// The text of one generation, as far as it is certain.
struct TextOutput: Sendable {
  private var detokenizer: StreamingDetokenizer
  private var matcher: StopMatcher
  /// Tokens from here on are rows of the model without a text.
  private let vocabularyCount: Int

  /// The text of what follows `prompt`.
  init(tokenizer: BytePairTokenizer, prompt: [TokenID], stopStrings: [String]) {
    detokenizer = StreamingDetokenizer(tokenizer: tokenizer, after: prompt)
    matcher = StopMatcher(stopStrings: stopStrings)
    vocabularyCount = tokenizer.vocabularyCount
  }

  /// Whether the text reached a stop string.
  var isStopped: Bool { matcher.isFound }

  mutating func append(_ token: TokenID) -> String {
    guard Int(token.rawValue) < vocabularyCount else { return "" }
    return matcher.append(detokenizer.append(token))
  }

  /// - Returns: what was held back.
  mutating func finish() -> String {
    let rest = matcher.append(detokenizer.finish())
    return rest + matcher.finish()
  }
}

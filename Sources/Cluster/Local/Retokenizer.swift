package import InferenceTypes
package import Tokenizer

/// Carries text between the vocabularies of two models, by its bytes: nothing is decoded, so
/// characters that are spread over tokens, and bytes that are no characters, come through.
///
/// - SeeAlso: Timor et al. 2025, arXiv:2502.05202 (string-level exact match): the target decides
///   token by token, so what is lost where tokens differ is speed alone.
package struct Retokenizer: Sendable {
  /// One token of the target that the drafted text gives.
  package struct Token: Sendable, Equatable {
    package let token: TokenID
    /// Where its bytes end in the drafted text.
    package let end: Int
  }

  /// Tokens of the truth that are encoded together with the draft, tried in this order: a few, so
  /// that words are split as in the whole text; none where the draft would merge with them.
  private static let lookBehind = [6, 3, 1, 0]
  /// Bytes at the end of a text whose tokens may change when the text goes on.
  private static let unsettled = 48

  package let target: BytePairTokenizer
  package let draft: BytePairTokenizer

  package init(target: BytePairTokenizer, draft: BytePairTokenizer) {
    self.target = target
    self.draft = draft
  }

  /// The target's tokens for a drafted text after the truth.
  ///
  /// - Parameters:
  ///   - bytes: the text.
  ///   - truth: what stands before it.
  ///   - isComplete: whether nothing can follow; else the last token is left out, because more text
  ///     may merge with it, unless it is the only one.
  /// - Returns: none where the text does not begin at a token of the target.
  package func targetTokens(
    _ bytes: [UInt8], after truth: [TokenID], isComplete: Bool
  ) -> [Token] {
    guard !bytes.isEmpty else { return [] }
    for count in Self.lookBehind {
      var tail: [UInt8] = []
      for token in truth.suffix(count).reversed() {
        if target.isControl(token) { break }
        tail = target.bytes(of: token, includeSpecial: false) + tail
      }
      let tokens = target.encode(bytes: tail + bytes, parseSpecial: false)
      guard let found = split(tokens, last: bytes) else { continue }
      return isComplete || found.count == 1 ? found : found.dropLast()
    }
    return []
  }

  /// The tokens at the end that spell `bytes` and nothing else.
  private func split(_ tokens: [TokenID], last bytes: [UInt8]) -> [Token]? {
    var found: [Token] = []
    var rest = bytes.count
    for token in tokens.reversed() where rest > 0 {
      let piece = target.bytes(of: token, includeSpecial: false)
      guard piece.count <= rest, piece[...] == bytes[rest - piece.count..<rest] else { return nil }
      found.append(Token(token: token, end: rest))
      rest -= piece.count
    }
    return rest == 0 ? found.reversed() : nil
  }

  /// The truth as the draft model reads it.
  package struct DraftText: Sendable {
    /// In the draft model's vocabulary.
    package private(set) var tokens: [TokenID] = []
    private var bytes: [UInt8] = []
    /// Where the bytes of each token end.
    private var ends: [Int] = []

    package init() {}

    /// Appends target tokens; only tokens near the old end may change.
    package mutating func append(_ truth: some Sequence<TokenID>, _ vocabularies: Retokenizer) {
      let draft = vocabularies.draft
      if tokens.isEmpty, draft.addsBeginOfSequence, let begin = draft.beginOfSequence {
        tokens = [begin]
        ends = [0]
      }
      // A vocabulary that puts a space in front encodes whole texts alone.
      let settled = draft.addsSpacePrefix ? 0 : bytes.count - Retokenizer.unsettled
      let first = draft.addsBeginOfSequence ? min(1, tokens.count) : 0
      while tokens.count > first, let end = ends.last, end > settled {
        tokens.removeLast()
        ends.removeLast()
      }
      let start = ends.last ?? 0
      for token in truth {
        bytes += vocabularies.target.bytes(of: token, includeSpecial: true)
      }
      // Marks of a chat that both models know stay marks.
      var end = start
      for token in draft.encode(bytes: Array(bytes[start...]), parseSpecial: true) {
        end += draft.bytes(of: token, includeSpecial: true).count
        tokens.append(token)
        ends.append(end)
      }
    }
  }
}

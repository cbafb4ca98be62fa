package import InferenceTypes

/// Turns tokens into text as they come. A character whose bytes are spread over tokens appears with
/// the last of them; bytes that cannot become UTF-8 appear as U+FFFD. The texts joined are what
/// decoding all bytes at once would give. Control tokens give nothing.
///
/// Vocabularies of SentencePiece put a space in front of a text, and decoding takes it away again:
/// from what the first token with a text gives, one space, unless the token is that of a byte.
package struct StreamingDetokenizer: Sendable {
  private let tokenizer: BytePairTokenizer
  /// The beginning of a character: at most three bytes.
  private var pending: [UInt8] = []

  /// Whether the next text is the first.
  private var isAtBeginning: Bool
  private let continuesText: Bool

  /// A detokenizer at the beginning of a text.
  ///
  /// - Parameter tokenizer: of the tokens to come.
  package init(tokenizer: BytePairTokenizer) { self.init(tokenizer: tokenizer, after: []) }

  /// A detokenizer of what follows `prompt`: its first space is kept, unless the prompt ends with a
  /// control token, behind which a text begins.
  ///
  /// - Parameters:
  ///   - tokenizer: of the tokens to come.
  ///   - prompt: the tokens before them.
  package init(tokenizer: BytePairTokenizer, after prompt: [TokenID]) {
    self.tokenizer = tokenizer
    continuesText = prompt.last.map { !tokenizer.isControl($0) } ?? false
    isAtBeginning = !continuesText
  }

  /// The text that `token` completes. A model may have more rows than its tokenizer has tokens: those
  /// stand for no text.
  package mutating func append(_ token: TokenID) -> String {
    guard token.rawValue < tokenizer.vocabularyCount else { return "" }
    let piece = tokenizer.bytes(of: token, includeSpecial: false)
    let isPrefixed = isAtBeginning && tokenizer.beginsWithPrefix(token)
    if !piece.isEmpty { isAtBeginning = false }
    pending += piece.dropFirst(isPrefixed ? 1 : 0)
    let end = pending.count - unfinishedCount
    defer { pending.removeFirst(end) }
    return String(decoding: pending[..<end], as: UTF8.self)
  }

  /// The text of what is left, which is no whole character. The detokenizer is then as new.
  package mutating func finish() -> String {
    defer {
      pending.removeAll()
      isAtBeginning = !continuesText
    }
    return String(decoding: pending, as: UTF8.self)
  }

  /// Number of bytes at the end that further bytes can make a character of.
  private var unfinishedCount: Int {
    for count in 1...3 where count <= pending.count {
      let tail = pending[(pending.count - count)...]
      guard let first = tail.first else { return 0 }
      if first & 0xC0 == 0x80 { continue }
      guard utf8SequenceLength(first: first) > count else { return 0 }
      if let second = tail.dropFirst().first, !isUTF8SecondByte(second, after: first) { return 0 }
      return count
    }
    return 0
  }
}

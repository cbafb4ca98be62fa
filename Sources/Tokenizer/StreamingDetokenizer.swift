package import InferenceTypes

/// Turns tokens into text as they come. A character whose bytes are spread over tokens appears with
/// the last of them; bytes that cannot become UTF-8 appear as U+FFFD. The texts joined are what
/// decoding all bytes at once would give. Control tokens give nothing.
package struct StreamingDetokenizer: Sendable {
  private let tokenizer: BytePairTokenizer
  /// The beginning of a character: at most three bytes.
  private var pending: [UInt8] = []

  /// A detokenizer at the beginning of a text.
  package init(tokenizer: BytePairTokenizer) { self.tokenizer = tokenizer }

  /// The text that `token`, which is in the vocabulary, completes.
  package mutating func append(_ token: TokenID) -> String {
    pending += tokenizer.bytes(of: token, includeSpecial: false)
    let end = pending.count - unfinishedCount
    defer { pending.removeFirst(end) }
    return String(decoding: pending[..<end], as: UTF8.self)
  }

  /// The text of what is left, which is no whole character. The detokenizer is then as new.
  package mutating func finish() -> String {
    defer { pending.removeAll() }
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

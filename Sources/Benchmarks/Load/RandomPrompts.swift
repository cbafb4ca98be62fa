import Decoding
import InferenceTypes
package import Tokenizer

/// Questions that mean nothing: words of the vocabulary in random order, after which a target model
/// is unsure of everything. Drafts gain little there, and must not cost much.
package enum RandomPrompts {
  /// Words of one question.
  private static let wordCount = 24
  private static let wordLengths = 4...12
  private static let key: UInt64 = 0x7365_6564

  /// So many texts, the same for the same vocabulary.
  ///
  /// - Returns: none where the vocabulary has no tokens that are words of plain letters.
  package static func texts(count: Int, tokenizer: BytePairTokenizer) -> [String] {
    let words = words(of: tokenizer)
    guard !words.isEmpty else { return [] }
    return (0..<count).map { text in
      (0..<wordCount).map { place in
        let random = Philox4x32.block(key: key, counter: (UInt32(text), UInt32(place), 0, 0))
        return words[Int(random[0]) % words.count]
      }.joined(separator: " ")
    }
  }

  /// The tokens that are a space and a word in small letters.
  private static func words(of tokenizer: BytePairTokenizer) -> [String] {
    (0..<tokenizer.vocabularyCount).compactMap { id in
      let bytes = tokenizer.bytes(of: TokenID(UInt32(id)), includeSpecial: false)
      let letters = bytes.dropFirst()
      guard bytes.first == UInt8(ascii: " "), wordLengths.contains(letters.count),
        letters.allSatisfy({ (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) })
      else { return nil }
      return String(decoding: letters, as: UTF8.self)
    }
  }
}

import InferenceTypes
import Testing
import Tokenizer

struct StreamingDetokenizerTests {
  private static let texts: [[UInt8]] = [
    Array("né🙂e\u{301}".utf8),
    Array("👩\u{200D}👧".utf8),
    Array("東京x".utf8),
    [0xFF, 0x61, 0xC3, 0x28, 0xC3, 0xA9],
    [0xF0, 0x9F, 0x99, 0x61, 0xF0, 0x9F],
    [0xED, 0xA0, 0x80, 0xE0, 0x80, 0xAF, 0xF4, 0x90],
    [0xC0, 0x80, 0xF5, 0x80, 0x80, 0xE2, 0x82],
    [0x80, 0xBF, 0xE2, 0xE2, 0x82, 0xAC, 0xF1, 0x80],
  ]

  /// Tokens of one byte, and one for each text to begin with.
  private func tokenizer() throws -> BytePairTokenizer {
    try TinyVocabulary(merges: ["ð Ł", "Ã ©"], extra: [("<|end|>", 3)]).tokenizer()
  }

  /// Models have rows that no token belongs to.
  @Test func aRowWithoutATokenIsNoText() throws {
    let tokenizer = try tokenizer()
    var detokenizer = StreamingDetokenizer(tokenizer: tokenizer)
    #expect(detokenizer.append(TokenID(0x61)) == "a")
    for token in [UInt32(tokenizer.vocabularyCount), .max] {
      #expect(detokenizer.append(TokenID(token)) == "")
    }
    #expect(detokenizer.append(TokenID(0x62)) == "b")
  }

  @Test(arguments: texts)
  func theJoinedTextIsThatOfAllBytesAtOnce(bytes: [UInt8]) throws {
    var detokenizer = StreamingDetokenizer(tokenizer: try tokenizer())
    let whole = String(decoding: bytes, as: UTF8.self)
    var text = ""
    for byte in bytes {
      text += detokenizer.append(TokenID(UInt32(byte)))
      #expect(whole.utf8.starts(with: text.utf8), "nothing is taken back")
    }
    text += detokenizer.finish()
    #expect(Array(text.utf8) == Array(whole.utf8))
  }

  /// Every way to cut a text into tokens: a cut or none between any two bytes.
  @Test(arguments: texts)
  func cutsMakeNoDifference(bytes: [UInt8]) throws {
    let whole = Array(String(decoding: bytes, as: UTF8.self).utf8)
    let alphabet = TinyVocabulary.alphabet
    var vocabulary = TinyVocabulary()
    var tokens: [Range<Int>: TokenID] = [:]
    var known: [String: TokenID] = [:]
    for lower in bytes.indices {
      for upper in lower + 1...bytes.count {
        let text = bytes[lower..<upper].map { alphabet[Int($0)] }.joined()
        let next = TokenID(UInt32(256 + vocabulary.extra.count))
        if upper - lower == 1 {
          tokens[lower..<upper] = TokenID(UInt32(bytes[lower]))
        } else if let token = known[text] {
          tokens[lower..<upper] = token
        } else {
          vocabulary.extra.append((text: text, type: 1))
          known[text] = next
          tokens[lower..<upper] = next
        }
      }
    }
    let tokenizer = try vocabulary.tokenizer()
    for cuts in 0..<1 << (bytes.count - 1) {
      var detokenizer = StreamingDetokenizer(tokenizer: tokenizer)
      var text = ""
      var start = 0
      for end in 1...bytes.count where end == bytes.count || cuts >> (end - 1) & 1 == 1 {
        text += detokenizer.append(try #require(tokens[start..<end]))
        start = end
      }
      text += detokenizer.finish()
      #expect(Array(text.utf8) == whole, "cuts \(String(cuts, radix: 2))")
    }
  }

  @Test func aCharacterAppearsWithItsLastByte() throws {
    var detokenizer = StreamingDetokenizer(tokenizer: try tokenizer())
    #expect(detokenizer.append(256) == "")  // F0 9F
    #expect(detokenizer.append(0x99) == "")
    #expect(detokenizer.append(0x82) == "🙂")
    #expect(detokenizer.append(257) == "é")
    #expect(detokenizer.finish() == "")
  }

  @Test func controlTokensGiveNothingAndInterruptNothing() throws {
    var detokenizer = StreamingDetokenizer(tokenizer: try tokenizer())
    #expect(detokenizer.append(0xC3) == "")
    #expect(detokenizer.append(258) == "")
    #expect(detokenizer.append(0xA9) == "é")
  }

  @Test func hopelessBytesAppearAtOnce() throws {
    var detokenizer = StreamingDetokenizer(tokenizer: try tokenizer())
    #expect(detokenizer.append(0xFF) == "\u{FFFD}")
    #expect(detokenizer.append(0xF0) == "")
    #expect(detokenizer.append(0x61) == "\u{FFFD}a")
    #expect(detokenizer.append(0xE2) == "")
    #expect(detokenizer.finish() == "\u{FFFD}")
    #expect(detokenizer.append(0x62) == "b")
  }
}

import Testing
import Tokenizer

/// Splits worked out by hand from the regular expressions.
struct PreTokenizerTests {
  private func split(_ text: String, _ kind: PreTokenizer) -> [String] {
    preTokens(of: Array(text.utf8), kind: kind).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test(arguments: [
    ("", []),
    ("Hello, world!", ["Hello", ",", " world", "!"]),
    ("it's I'LL they've", ["it", "'s", " I", "'", "LL", " they", "'ve"]),
    ("'squad 'r", ["'s", "quad", " '", "r"]),
    ("a   b", ["a", "  ", " b"]),
    ("a \t b", ["a", " \t", " b"]),
    ("a\tb", ["a", "\t", "b"]),
    ("a  ", ["a", "  "]),
    ("a\n\nb", ["a", "\n", "\n", "b"]),
    ("x 12345", ["x", " 12345"]),
    ("x  12345", ["x", " ", " 12345"]),
    ("12ab", ["12", "ab"]),
    ("a+=b", ["a", "+=", "b"]),
    ("Größe 東京½Ⅷ", ["Größe", " 東京", "½Ⅷ"]),
    ("a\u{A0}b", ["a", "\u{A0}", "b"]),
    ("e\u{301}x", ["e", "\u{301}", "x"]),
    ("🙂🙃 🙂", ["🙂🙃", " 🙂"]),
  ])
  func gpt2(text: String, words: [String]) { #expect(split(text, .gpt2) == words) }

  @Test(arguments: [
    ("x 12", ["x", " ", "1", "2"]),
    ("x  12", ["x", "  ", "1", "2"]),
    ("  x", [" ", " x"]),
    ("a1b22", ["a", "1", "b", "2", "2"]),
    ("٣½", ["٣", "½"]),
    ("it's 5", ["it", "'s", " ", "5"]),
    ("\t\t5\t", ["\t\t", "5", "\t"]),
    ("-3.5", ["-", "3", ".", "5"]),
  ])
  func smollm(text: String, words: [String]) { #expect(split(text, .smollm) == words) }

  @Test(arguments: [
    ("Hello, world!", ["Hello", ",", " world", "!"]),
    ("it's I'LL 'Re", ["it", "'s", " I", "'LL", " '", "Re"]),
    ("'Real", ["'Re", "al"]),
    ("'xyz", ["'xyz"]),
    ("(foo)_bar _bar", ["(foo", ")_", "bar", " _", "bar"]),
    ("++a", ["++", "a"]),
    ("12345678", ["123", "456", "78"]),
    ("x 1234", ["x", " ", "123", "4"]),
    ("x  1", ["x", " ", " ", "1"]),
    ("a   b", ["a", "  ", " b"]),
    ("a\tb", ["a", "\tb"]),
    ("a\nb", ["a", "\n", "b"]),
    ("a \n \n  b", ["a", " \n \n", " ", " b"]),
    ("a;\r\n\r\nb", ["a", ";\r\n\r\n", "b"]),
    ("a ;\nb", ["a", " ;\n", "b"]),
    ("\t;", ["\t", ";"]),
    ("a  ", ["a", "  "]),
    ("\u{A0}é \u{2003}é", ["\u{A0}é", " ", "\u{2003}é"]),
  ])
  func llama3(text: String, words: [String]) { #expect(split(text, .llama3) == words) }

  @Test(arguments: [
    ("x 1234", ["x", " ", "1", "2", "3", "4"]),
    ("(foo) 'S", ["(foo", ")", " '", "S"]),
    ("a \n b", ["a", " \n", " b"]),
  ])
  func qwen2(text: String, words: [String]) { #expect(split(text, .qwen2) == words) }

  /// But for the rules that tell words by their punctuation.
  @Test(arguments: PreTokenizer.allCases.filter { $0 != .bloom && $0 != .viking })
  func aByteOutsideOfUTF8IsACharacterThatIsNothing(kind: PreTokenizer) {
    #expect(preTokens(of: [0x61, 0xFF, 0xFF], kind: kind) == [[0x61], [0xFF, 0xFF]])
    // The first two bytes of a letter, a surrogate, an overlong slash, and a value too large.
    for bytes: [UInt8] in [
      [0xE6, 0x9D], [0xED, 0xA0, 0x80], [0xC0, 0xAF], [0xF4, 0x90, 0x80, 0x80],
    ] {
      #expect(preTokens(of: [0x61] + bytes + [0x31], kind: kind) == [[0x61], bytes, [0x31]])
    }
  }

  /// All strings of up to five characters, one of each sort that the rules tell apart.
  @Test(arguments: PreTokenizer.allCases)
  func noSplitLosesOrEmptiesAnything(kind: PreTokenizer) {
    let alphabet = Array("a1 \n'-".utf8)
    for length in 0...5 {
      var count = 1
      for _ in 0..<length { count *= alphabet.count }
      for number in 0..<count {
        var rest = number
        var text: [UInt8] = []
        for _ in 0..<length {
          text.append(alphabet[rest % alphabet.count])
          rest /= alphabet.count
        }
        let words = preTokens(of: text, kind: kind)
        guard words.flatMap({ $0 }) != text || words.contains([]) else { continue }
        Issue.record("\(text) became \(words)")
      }
    }
  }
}

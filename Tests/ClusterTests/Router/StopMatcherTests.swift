import Cluster
import Testing

@Suite struct StopMatcherTests {
  /// All ways to cut a text of up to 12 characters into pieces.
  private func pieces(_ text: String) -> [[String]] {
    let characters = Array(text)
    return (0..<1 << max(0, characters.count - 1)).map { cuts in
      var pieces = [""]
      for (index, character) in characters.enumerated() {
        pieces[pieces.count - 1].append(character)
        if cuts >> index & 1 == 1 { pieces.append("") }
      }
      return pieces
    }
  }

  private func output(_ pieces: [String], _ stops: [String]) -> (text: String, isFound: Bool) {
    var matcher = StopMatcher(stopStrings: stops)
    var text = ""
    for piece in pieces { text += matcher.append(piece) }
    return (text + matcher.finish(), matcher.isFound)
  }

  @Test(arguments: [
    ("abcdef", ["cd"], "ab", true), ("abcdef", ["dc"], "abcdef", false),
    ("aabaabaac", ["aabaac"], "aab", true), ("aaaaaaaab", ["aab"], "aaaaaa", true),
    ("abcd", ["bcd", "c"], "ab", true), ("abcd", ["bc", "c"], "a", true),
    ("abab", ["abc", "bac"], "abab", false), ("één été", ["é é", "n é"], "éé", true),
    ("x🙂y", ["🙂"], "x", true), ("xyz", ["", "z"], "xy", true), ("stop", ["stop"], "", true),
    ("a\n\nb", ["\n\n"], "a", true), ("abc", [], "abc", false),
  ])
  func theTextEndsBeforeTheStopStringHoweverItIsCut(
    text: String, stops: [String], expected: String, isFound: Bool
  ) {
    for pieces in pieces(text) {
      let output = output(pieces, stops)
      #expect(output.text == expected && output.isFound == isFound, "\(pieces)")
    }
  }

  @Test func onlyWhatMayBeAStopStringIsHeldBack() {
    var matcher = StopMatcher(stopStrings: ["abcd"])
    #expect(matcher.append("xab") == "x")
    #expect(matcher.append("c") == "")
    #expect(matcher.append("a") == "abc")
    #expect(matcher.append("z") == "az")
    #expect(matcher.append("ab") == "")
    #expect(matcher.finish() == "ab")
  }

  @Test func nothingComesAfterAStopString() {
    var matcher = StopMatcher(stopStrings: ["b"])
    #expect(matcher.append("abc") == "a")
    #expect(matcher.append("d") == "")
    #expect(matcher.finish() == "")
  }

  /// Against the plain definition: at each byte, does the text so far end with a stop string?
  @Test func allShortTextsMatchTheDefinition() {
    let alphabet = ["a", "b"]
    var words = [""]
    for _ in 0..<3 { words += words.flatMap { word in alphabet.map { word + $0 } } }
    let stops = Array(Set(words.filter { !$0.isEmpty })).sorted()
    for bits in 0..<256 {
      let text = (0..<8).map { alphabet[bits >> $0 & 1] }.joined()
      for first in stops {
        for second in stops {
          let expected = naive(text, [first, second])
          #expect(output([text], [first, second]).text == expected, "\(text) \(first) \(second)")
        }
      }
    }
  }

  private func naive(_ text: String, _ stops: [String]) -> String {
    for end in 1...text.count {
      let hits = stops.filter { text.prefix(end).hasSuffix($0) }
      if let longest = hits.map(\.count).max() { return String(text.prefix(end - longest)) }
    }
    return text
  }
}

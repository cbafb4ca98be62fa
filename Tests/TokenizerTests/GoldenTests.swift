import Foundation
import InferenceTypes
import Testing
import Tokenizer

private struct EncodingCase: Decodable {
  var text: String
  var ids: [UInt32]
}

private struct ReferenceFile: Decodable {
  struct Case: Decodable {
    var text: String
    var promptIDs: [UInt32]

    enum CodingKeys: String, CodingKey {
      case text
      case promptIDs = "prompt_ids"
    }
  }

  var cases: [Case]
}

struct GoldenTests {
  @Test func everyStringHasTheTokensOfLlamaCpp() throws {
    let tokenizer = try testTokenizer()
    let cases = try JSONDecoder().decode(
      [EncodingCase].self, from: golden("smollm2-tokenizer.json"))
    #expect(cases.count == 155)
    for expected in cases {
      let tokens = tokenizer.encode(expected.text, parseSpecial: false)
      #expect(tokens.map(\.rawValue) == expected.ids, "\(expected.text)")
      #expect(tokenizer.bytes(of: tokens) == Array(expected.text.utf8))
    }
  }

  @Test func renderedPromptsHaveTheTokensOfTheReference() throws {
    let tokenizer = try testTokenizer()
    let template = try ChatTemplate(file: openTestModel())
    let cases = try JSONDecoder().decode(
      ReferenceFile.self, from: golden("smollm2-reference-logits.json")
    ).cases
    #expect(cases.count == 12)
    for expected in cases {
      let tokens = tokenizer.encode(expected.text, parseSpecial: true)
      #expect(tokens.map(\.rawValue) == expected.promptIDs, "\(expected.text)")

      let parts = expected.text.components(separatedBy: "<|im_start|>user\n")
      let content = try #require(parts.last?.components(separatedBy: "<|im_end|>").first)
      let messages = [ChatMessage(role: "user", content: content)]
      let prompt = try template.encode(messages, tokenizer: tokenizer)
      #expect(prompt.map(\.rawValue) == expected.promptIDs, "\(content)")
    }
  }

  @Test func theModelsSpecialTokensAreKnown() throws {
    let tokenizer = try testTokenizer()
    #expect(tokenizer.vocabularyCount == 49_152)
    #expect(tokenizer.beginOfSequence == 1)
    #expect(tokenizer.endOfSequence == 2)
    #expect(!tokenizer.addsBeginOfSequence)
    #expect(tokenizer.endOfGeneration == [0, 2])
    #expect(tokenizer.fingerprint.count == 32)
  }
}

struct RoundTripTests {
  @Test func bytesComeBackButForThoseTheVocabularyLacks() throws {
    let tokenizer = try testTokenizer()
    let missing = Set(tokenizer.missingBytes)
    #expect(missing.count == 21, "control characters, and lead bytes that text never has")
    var random = TestRandom(state: 1)
    for _ in 0..<300 {
      let count = Int.random(in: 0...60, using: &random)
      let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
      let tokens = tokenizer.encode(bytes: bytes, parseSpecial: false)
      #expect(tokenizer.bytes(of: tokens) == bytes.filter { !missing.contains($0) })
    }
  }

  @Test(arguments: ["gpt-2", "smollm", "llama-bpe", "qwen2"])
  func allBytesComeBackFromAWholeVocabulary(pre: String) throws {
    let merges = ["e r", "Ġ t", "Ġ Ġ", "ĠĠ ĠĠ", "Ã ©", "h e", "Ġt he"]
    let tokenizer = try TinyVocabulary(pre: pre, merges: merges).tokenizer()
    #expect(tokenizer.missingBytes.isEmpty)
    var random = TestRandom(state: 2)
    let pieces = ["the ", "     ", "é", "her", "12", "\n", "'s", "🙂"].map { Array($0.utf8) }
    for _ in 0..<500 {
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 0...12, using: &random) {
        bytes += pieces.randomElement(using: &random) ?? []
        if Bool.random(using: &random) { bytes.append(UInt8.random(in: 0...255, using: &random)) }
      }
      let tokens = tokenizer.encode(bytes: bytes, parseSpecial: true)
      #expect(tokenizer.bytes(of: tokens) == bytes)
    }
  }

  /// One word; what takes quadratic time would not come back.
  @Test(arguments: [
    ("a", 1 << 20), (" ", 1 << 20), ("ab", 1 << 16), ("🙂", 1 << 16), ("\n", 1 << 16),
    ("'", 1 << 16), ("\u{301}", 1 << 16),
  ])
  func aVeryLongWordComesBack(unit: String, count: Int) throws {
    let tokenizer = try testTokenizer()
    let bytes = Array(repeatElement(Array(unit.utf8), count: count).joined())
    let tokens = tokenizer.encode(bytes: bytes, parseSpecial: true)
    #expect(tokenizer.bytes(of: tokens) == bytes)
  }

  @Test func aLongRunOfHalfMarkupComesBack() throws {
    let tokenizer = try testTokenizer()
    let bytes = Array(repeatElement(Array("<|im_start".utf8), count: 5000).joined())
    let tokens = tokenizer.encode(bytes: bytes, parseSpecial: true)
    #expect(tokenizer.bytes(of: tokens) == bytes)
  }
}

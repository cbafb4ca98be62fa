import GGUF
import InferenceTypes
import Testing
import Tokenizer

struct MergeTests {
  private let first = TokenID(256)

  @Test func earlierMergesComeFirstWhereverTheyAre() throws {
    // "abc" could become "ab"+"c" or "a"+"bc": the order in the file decides, not the position.
    let tokenizer = try TinyVocabulary(merges: ["b c", "a b"]).tokenizer()
    #expect(tokenizer.encode("abc", parseSpecial: false) == [97, 256])
    let reversed = try TinyVocabulary(merges: ["a b", "b c"]).tokenizer()
    #expect(reversed.encode("abc", parseSpecial: false) == [256, 99])
  }

  @Test func equalMergesGoFromLeftToRight() throws {
    let tokenizer = try TinyVocabulary(merges: ["a a", "aa aa"]).tokenizer()
    #expect(tokenizer.encode("aaa", parseSpecial: false) == [256, 97])
    #expect(tokenizer.encode("aaaaaaa", parseSpecial: false) == [257, 256, 97])
  }

  /// All words of up to seven letters against the rule itself: merge the first of the earliest
  /// pairs until none is left.
  @Test func everyShortWordIsMergedByTheRule() throws {
    let merges = ["b a", "a b", "ab ba", "a a", "ba b", "aa ab"]
    let tokenizer = try TinyVocabulary(merges: merges).tokenizer()
    for length in 1...7 {
      for number in 0..<1 << length {
        var symbols = (0..<length).map { number >> $0 & 1 == 0 ? "a" : "b" }
        let word = symbols.joined()
        while let next = earliestMerge(in: symbols, merges) {
          symbols[next...next + 1] = [symbols[next] + symbols[next + 1]]
        }
        let tokens = tokenizer.encode(word, parseSpecial: false)
        let pieces = tokens.map {
          String(decoding: tokenizer.bytes(of: $0, includeSpecial: false), as: UTF8.self)
        }
        #expect(pieces == symbols)
      }
    }
  }

  private func earliestMerge(in symbols: [String], _ merges: [String]) -> Int? {
    for merge in merges {
      for index in symbols.indices.dropLast()
      where "\(symbols[index]) \(symbols[index + 1])" == merge {
        return index
      }
    }
    return nil
  }

  @Test func onlyLlama3TakesAWholeWordThatMergesDoNotReach() throws {
    let extra: [(text: String, type: Int32)] = [("Ġxyz", 1)]
    let llama3 = try TinyVocabulary(pre: "llama3", extra: extra).tokenizer()
    #expect(llama3.encode("w xyz", parseSpecial: false) == [119, 256])
    let gpt2 = try TinyVocabulary(pre: "gpt-2", extra: extra).tokenizer()
    #expect(gpt2.encode("w xyz", parseSpecial: false) == [119, 32, 120, 121, 122])
  }

  @Test func aByteWithoutATokenIsLeftOutAndMergesWithNothing() throws {
    let vocabulary = TinyVocabulary(
      metadata: [
        "tokenizer.ggml.tokens": .array(.string(["a", "b", "ab"])),
        "tokenizer.ggml.token_type": nil, "tokenizer.ggml.merges": .array(.string(["a b"])),
      ])
    let tokenizer = try vocabulary.tokenizer()
    #expect(tokenizer.missingBytes.count == 254)
    #expect(tokenizer.encode("abacb", parseSpecial: false) == [2, 0, 1])
    #expect(tokenizer.encode("xyz", parseSpecial: false) == [])
  }
}

struct SpecialTokenTests {
  private let vocabulary = TinyVocabulary(
    merges: ["< |"],
    extra: [
      ("<|end|>", 3), ("<tool>", 4), ("<tool", 4), ("<unk>", 2), ("<0x41>", 6), ("old", 5),
    ])
  private let end = TokenID(257)
  private let tool = TokenID(258)

  @Test func controlTokensAreParsedOnlyWhenAsked() throws {
    let tokenizer = try vocabulary.tokenizer()
    #expect(tokenizer.encode("a<|end|>b", parseSpecial: true) == [97, end, 98])
    let plain = tokenizer.encode("a<|end|>b", parseSpecial: false)
    #expect(!plain.contains(end))
    #expect(tokenizer.bytes(of: plain) == Array("a<|end|>b".utf8))
    #expect(tokenizer.encode("<unk>", parseSpecial: true) == [260])
    #expect(!tokenizer.encode("<unk>", parseSpecial: false).contains(260))
  }

  @Test func userDefinedTokensAreAlwaysParsedLongestFirst() throws {
    let tokenizer = try vocabulary.tokenizer()
    #expect(tokenizer.encode("<tool><tool", parseSpecial: false) == [tool, 259])
  }

  @Test func aLongerTokenWinsOverAnEarlierOne() throws {
    let tokenizer = try TinyVocabulary(extra: [("ab", 4), ("bcd", 4), ("xy", 4)]).tokenizer()
    #expect(tokenizer.encode("abcdxyab", parseSpecial: false) == [97, 257, 258, 256])
  }

  @Test func hiddenTokensHaveBytesOnlyWhenAsked() throws {
    let tokenizer = try vocabulary.tokenizer()
    #expect(tokenizer.bytes(of: end, includeSpecial: false).isEmpty)
    #expect(tokenizer.bytes(of: end, includeSpecial: true) == Array("<|end|>".utf8))
    #expect(tokenizer.bytes(of: tool, includeSpecial: false) == Array("<tool>".utf8))
    #expect(tokenizer.bytes(of: 261, includeSpecial: false) == [0x41])
    #expect(tokenizer.isControl(end) && !tokenizer.isControl(tool) && !tokenizer.isControl(9999))
  }

  @Test func theModelsMarkupIsTextUnlessAskedFor() throws {
    let tokenizer = try testTokenizer()
    #expect(tokenizer.encode("<|im_start|>", parseSpecial: true) == [1])
    let plain = tokenizer.encode("<|im_start|>", parseSpecial: false)
    #expect(plain.allSatisfy { !tokenizer.isControl($0) })
    #expect(tokenizer.bytes(of: plain) == Array("<|im_start|>".utf8))
  }

  @Test func endTokensComeFromMetadataAndFromKnownControlTexts() throws {
    var vocabulary = TinyVocabulary(
      extra: [("<|im_end|>", 3), ("</s>", 1), ("<stop>", 3), ("<eot>", 3)])
    vocabulary.metadata = [
      "tokenizer.ggml.eos_token_id": .uint32(258), "tokenizer.ggml.eot_token_id": .uint32(259),
    ]
    let tokenizer = try vocabulary.tokenizer()
    #expect(tokenizer.endOfGeneration == [256, 258, 259])
    #expect(tokenizer.endOfSequence == 258)
  }

  @Test func llama3BeginsSequencesUnlessTheFileSaysOtherwise() throws {
    let begin = ["tokenizer.ggml.bos_token_id": GGUFValue.uint32(0)]
    func adds(_ pre: String, _ metadata: [String: GGUFValue?]) throws -> Bool {
      try TinyVocabulary(pre: pre, metadata: metadata).tokenizer().addsBeginOfSequence
    }
    #expect(try adds("llama-bpe", begin))
    #expect(try !adds("llama-bpe", [:]), "there is no such token")
    #expect(try !adds("qwen2", begin))
    let key = "tokenizer.ggml.add_bos_token"
    #expect(try !adds("llama-bpe", begin.merging([key: .bool(false)]) { $1 }))
    #expect(try adds("qwen2", begin.merging([key: .bool(true)]) { $1 }))
  }
}

struct TokenizerRejectionTests {
  private func error(_ vocabulary: TinyVocabulary) throws -> TokenizerError? {
    let file = try vocabulary.file()
    do {
      _ = try BytePairTokenizer(file: file)
      return nil
    } catch { return error }
  }

  @Test func otherModelsAndRulesAreNamed() throws {
    #expect(try error(TinyVocabulary(model: "t5")) == .unsupportedModel("t5"))
    #expect(try error(TinyVocabulary(pre: "default")) == .unsupportedPreTokenizer("default"))
    let message = TokenizerError.unsupportedPreTokenizer("default").description
    for name in ["gpt-2", "smollm", "llama-bpe", "qwen2"] { #expect(message.contains(name)) }
  }

  @Test func missingMetadataAreNamed() throws {
    for (key, expected) in [
      ("tokenizer.ggml.model", "a string"), ("tokenizer.ggml.pre", "a string"),
      ("tokenizer.ggml.tokens", "an array of string"),
      ("tokenizer.ggml.merges", "an array of string"),
    ] {
      #expect(
        try error(TinyVocabulary(metadata: [key: nil]))
          == .metadata(.missingKey(key: key, expected: expected)))
    }
  }

  @Test func vocabulariesThatDoNotFitTogether() throws {
    #expect(
      try error(TinyVocabulary(metadata: ["tokenizer.ggml.tokens": .array(.string([]))]))
        == .vocabularySize(0))
    #expect(
      try error(TinyVocabulary(metadata: ["tokenizer.ggml.token_type": .array(.int32([1]))]))
        == .tokenTypeCount(expected: 256, found: 1))
    #expect(
      try error(TinyVocabulary(extra: [("x7", 7)])) == .unknownTokenType(token: 256, type: 7))
    #expect(
      try error(TinyVocabulary(extra: [("a", 1)]))
        == .duplicateToken(first: 97, second: 256, text: "a"))
    #expect(
      try error(TinyVocabulary(extra: [("<0xG1>", 6)]))
        == .invalidByteToken(token: 256, text: "<0xG1>"))
    #expect(
      try error(TinyVocabulary(metadata: ["tokenizer.ggml.bos_token_id": .uint32(256)]))
        == .specialTokenOutOfRange(
          key: "tokenizer.ggml.bos_token_id", token: 256, vocabularyCount: 256))
  }

  @Test func mergesThatMakeNoSense() throws {
    for text in ["ab", "a b c", " a", "a ", ""] {
      let merges = ["tokenizer.ggml.merges": GGUFValue?.some(.array(.string([text])))]
      #expect(try error(TinyVocabulary(metadata: merges)) == .invalidMerge(index: 0, text: text))
    }
    let merges = ["tokenizer.ggml.merges": GGUFValue?.some(.array(.string(["a b"])))]
    #expect(
      try error(TinyVocabulary(metadata: merges)) == .mergeOutsideVocabulary(index: 0, text: "a b"))
  }

  @Test func noMergeLeadsToAControlToken() throws {
    var vocabulary = TinyVocabulary(extra: [("ab", 3)])
    vocabulary.metadata = ["tokenizer.ggml.merges": .array(.string(["a b"]))]
    #expect(try error(vocabulary) == .mergeOutsideVocabulary(index: 0, text: "a b"))
  }
}

struct TokenizerFingerprintTests {
  @Test func itTellsVocabulariesApart() throws {
    let merges = ["a b", "b c"]
    let extra: [(text: String, type: Int32)] = [("x y", 3)]
    let original = try TinyVocabulary(merges: merges, extra: extra).tokenizer().fingerprint
    let others = [
      TinyVocabulary(pre: "qwen2", merges: merges, extra: extra),
      TinyVocabulary(merges: ["a b", "b d"], extra: extra),
      TinyVocabulary(merges: merges, extra: [("x z", 3)]),
      TinyVocabulary(merges: merges, extra: [("x y", 4)]),
    ]
    for other in others { #expect(try other.tokenizer().fingerprint != original) }
    let same = TinyVocabulary(pre: "phi-2", merges: merges, extra: extra)
    #expect(try same.tokenizer().fingerprint == original, "another name for the same rules")
  }
}

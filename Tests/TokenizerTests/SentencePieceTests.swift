import GGUF
import InferenceTypes
import Testing
import Tokenizer

/// A small vocabulary of SentencePiece: `<unk>`, `<s>`, `</s>`, all bytes from token 3 on, then the
/// pieces from token 259 on.
struct PieceVocabulary {
  var pieces: [(text: String, score: Float, type: Int32)] = []
  var hasBytes = true
  /// Added or replaced metadata; nil removes.
  var metadata: [String: GGUFValue?] = [:]

  func file() throws -> GGUFFile {
    let digits = Array("0123456789ABCDEF")
    let bytes = hasBytes ? (0..<256).map { "<0x\(digits[$0 / 16])\(digits[$0 % 16])>" } : []
    let types: [Int32] = [2, 3, 3] + bytes.map { _ in 6 } + pieces.map(\.type)
    let scores: [Float] = [0, 0, 0] + bytes.map { _ in 0 } + pieces.map(\.score)
    var entries: [String: GGUFValue?] = [
      "tokenizer.ggml.model": .string("llama"),
      "tokenizer.ggml.tokens": .array(
        .string(["<unk>", "<s>", "</s>"] + bytes + pieces.map(\.text))),
      "tokenizer.ggml.token_type": .array(.int32(types)),
      "tokenizer.ggml.scores": .array(.float32(scores)),
    ]
    entries.merge(metadata) { $1 }
    var writer = GGUFWriter()
    for (key, value) in entries.sorted(by: { $0.key < $1.key }) {
      if let value { writer.add(key, value) }
    }
    return try GGUFFile(bytes: writer.serialized())
  }

  func tokenizer() throws -> BytePairTokenizer { try BytePairTokenizer(file: file()) }
}

struct SentencePieceTests {
  private let noPrefix = ["tokenizer.ggml.add_space_prefix": GGUFValue?.some(.bool(false))]

  private func pieces(_ tokens: [TokenID], _ tokenizer: BytePairTokenizer) -> [String] {
    tokens.map { String(decoding: tokenizer.bytes(of: $0, includeSpecial: true), as: UTF8.self) }
  }

  /// All words of up to eight letters against the rule itself: merge the first of the best pairs.
  @Test func everyShortWordIsMergedByTheRule() throws {
    let scores: [String: Float] = [
      "a": 0, "b": 0, "ab": -3, "ba": -2, "aa": -3, "aab": -1, "bab": -4, "abab": -2, "bb": -9,
    ]
    let tokenizer = try PieceVocabulary(
      pieces: scores.sorted { $0.key < $1.key }.map { ($0.key, $0.value, 1) }, metadata: noPrefix
    ).tokenizer()
    for length in 1...8 {
      for number in 0..<1 << length {
        var symbols = (0..<length).map { number >> $0 & 1 == 0 ? "a" : "b" }
        let word = symbols.joined()
        while true {
          let candidates = symbols.indices.dropLast().compactMap { index in
            scores[symbols[index] + symbols[index + 1]].map { (index, $0) }
          }
          guard let best = candidates.map(\.1).max(),
            let (index, _) = candidates.first(where: { $0.1 == best })
          else { break }
          symbols[index...index + 1] = [symbols[index] + symbols[index + 1]]
        }
        #expect(pieces(tokenizer.encode(word, parseSpecial: false), tokenizer) == symbols)
      }
    }
  }

  @Test func aCharacterWithoutAPieceBecomesItsBytes() throws {
    let tokenizer = try PieceVocabulary(pieces: [("a", 0, 1)], metadata: noPrefix).tokenizer()
    #expect(tokenizer.encode("aé", parseSpecial: false) == [259, 198, 172])
    #expect(tokenizer.encode(bytes: [0xFF, 0x61], parseSpecial: false) == [258, 259])
    #expect(tokenizer.missingBytes.isEmpty)
  }

  @Test func withoutBytesARunOfUnknownCharactersIsOneToken() throws {
    var vocabulary = PieceVocabulary(pieces: [("a", 0, 1)], hasBytes: false, metadata: noPrefix)
    #expect(try vocabulary.tokenizer().encode("xéaz", parseSpecial: false) == [0, 3, 0])
    #expect(try vocabulary.tokenizer().missingBytes.count == 255)
    vocabulary.metadata["tokenizer.ggml.token_type"] = .array(.int32([1, 3, 3, 1]))
    #expect(try vocabulary.tokenizer().encode("xéaz", parseSpecial: false) == [3])
  }

  @Test func aCharacterThatOccursInLargerPiecesOnlyMergesAllTheSame() throws {
    let tokenizer = try PieceVocabulary(
      pieces: [("qé", 0, 1), ("qéq", 0, 1)], metadata: noPrefix
    ).tokenizer()
    #expect(tokenizer.encode("qéq", parseSpecial: false) == [260])
    #expect(tokenizer.encode("éqé", parseSpecial: false) == [198, 172, 259])
  }

  @Test func noTextBecomesAControlTokenUnlessAsked() throws {
    // The control token has the best score and can be reached by merges.
    let tokenizer = try PieceVocabulary(
      pieces: [("<", 0, 1), ("s", 0, 1), (">", 0, 1), ("<s", 0, 1), ("s>", 0, 1)],
      metadata: noPrefix
    ).tokenizer()
    #expect(pieces(tokenizer.encode("<s>", parseSpecial: false), tokenizer) == ["<s", ">"])
    #expect(tokenizer.encode("<s>", parseSpecial: true) == [1])
    #expect(tokenizer.encode("<0x41>", parseSpecial: true).count == 6)
  }

  @Test func textBehindAControlTokenBeginsAnew() throws {
    let tokenizer = try PieceVocabulary(pieces: [("\u{2581}a", 0, 1), ("a", 0, 1)]).tokenizer()
    #expect(tokenizer.encode("a<s>a", parseSpecial: true) == [259, 1, 259])
    #expect(tokenizer.encode("", parseSpecial: true) == [])
    #expect(tokenizer.encodeSequence("a", parseSpecial: false) == [1, 259])
    let ends = PieceVocabulary(
      pieces: [("a", 0, 1)],
      metadata: [
        "tokenizer.ggml.add_bos_token": .bool(false), "tokenizer.ggml.add_eos_token": .bool(true),
        "tokenizer.ggml.add_space_prefix": .bool(false),
      ])
    #expect(try ends.tokenizer().encodeSequence("a", parseSpecial: false) == [259, 2])
  }

  @Test func userDefinedPiecesAreFoundWithSpacesWrittenEitherWay() throws {
    for text in ["  ", "\u{2581}\u{2581}"] {
      let tokenizer = try PieceVocabulary(
        pieces: [("\u{2581}", 0, 1), (text, 0, 4), ("a", 0, 1)],
        metadata: ["tokenizer.ggml.pre": .string("gemma")]
      ).tokenizer()
      #expect(!tokenizer.addsSpacePrefix, "Gemma has none, though the file does not say so")
      let tokens = tokenizer.encode("a     a", parseSpecial: false)
      #expect(tokens == [261, 260, 260, 259, 261])
      #expect(tokenizer.bytes(ofText: tokens) == Array("a     a".utf8))
    }
  }

  @Test func specialTokensHaveTheirUsualNumbers() throws {
    let tokenizer = try PieceVocabulary().tokenizer()
    #expect(tokenizer.beginOfSequence == 1 && tokenizer.endOfSequence == 2)
    #expect(tokenizer.addsBeginOfSequence && !tokenizer.addsEndOfSequence)
    #expect(tokenizer.endOfGeneration == [2])
    let other = PieceVocabulary(metadata: ["tokenizer.ggml.bos_token_id": .uint32(9)])
    #expect(try other.tokenizer().beginOfSequence == 9)
  }

  @Test func scoresAndPrefixAreInTheFingerprint() throws {
    let print = try PieceVocabulary(pieces: [("a", -1, 1)]).tokenizer().fingerprint
    #expect(try PieceVocabulary(pieces: [("a", -1, 1)]).tokenizer().fingerprint == print)
    #expect(try PieceVocabulary(pieces: [("a", -2, 1)]).tokenizer().fingerprint != print)
    let noPrefix = PieceVocabulary(pieces: [("a", -1, 1)], metadata: noPrefix)
    #expect(try noPrefix.tokenizer().fingerprint != print)
  }

  @Test func whatMakesNoSenseIsNamed() throws {
    func error(_ vocabulary: PieceVocabulary) throws -> TokenizerError? {
      let file = try vocabulary.file()
      do {
        _ = try BytePairTokenizer(file: file)
        return nil
      } catch { return error }
    }
    func with(_ key: String, _ value: GGUFValue?) -> PieceVocabulary {
      PieceVocabulary(metadata: ["tokenizer.ggml.\(key)": value])
    }
    #expect(
      try error(with("scores", nil))
        == .metadata(
          .missingKey(key: "tokenizer.ggml.scores", expected: "an array of floats")))
    #expect(
      try error(with("scores", .array(.float32([1])))) == .scoreCount(expected: 259, found: 1))
    #expect(
      try error(PieceVocabulary(pieces: [("a", .nan, 1)])) == .scoreIsNotANumber(token: 259))
    #expect(
      try error(PieceVocabulary(pieces: [("a", 0, 1), ("a", 0, 5)]))
        == .duplicateToken(first: 259, second: 260, text: "a"))
    #expect(
      try error(PieceVocabulary(pieces: [("<0xGG>", 0, 6)]))
        == .invalidByteToken(token: 259, text: "<0xGG>"))
    for (key, value) in [
      ("remove_extra_whitespaces", GGUFValue.bool(true)),
      ("precompiled_charsmap", .array(.uint8([1]))),
    ] {
      #expect(
        try error(with(key, value)) == .unsupportedNormalization("tokenizer.ggml.\(key)"))
    }
    #expect(try error(with("precompiled_charsmap", .array(.uint8([])))) == nil)
    #expect(
      try error(with("bos_token_id", .uint32(259)))
        == .specialTokenOutOfRange(
          key: "tokenizer.ggml.bos_token_id", token: 259, vocabularyCount: 259))
  }

  /// One word; what takes quadratic time would not come back.
  @Test(arguments: [
    ("a", 1 << 20), (" ", 1 << 20), ("ab", 1 << 16), ("🙂", 1 << 16), ("\n", 1 << 16),
    ("a b", 1 << 16), ("\u{301}", 1 << 16),
  ])
  func aVeryLongTextComesBack(unit: String, count: Int) throws {
    for name in ["llama", "gemma", "phrases"] {
      let tokenizer = try trainedVocabulary(name).pieces()
      let bytes = Array(repeatElement(Array(unit.utf8), count: count).joined())
      let tokens = tokenizer.encode(bytes: bytes, parseSpecial: true)
      #expect(tokenizer.bytes(ofText: tokens) == bytes)
    }
  }

  @Test func bytesThatAreNotUTF8ComeBack() throws {
    var random = TestRandom(state: 3)
    for name in ["llama", "gemma", "phrases", "unused"] {
      let tokenizer = try trainedVocabulary(name).pieces()
      for _ in 0..<300 {
        let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
          UInt8.random(in: 0...255, using: &random)
        }
        let tokens = tokenizer.encode(bytes: bytes, parseSpecial: false)
        #expect(tokenizer.bytes(ofText: tokens) == bytes)
      }
    }
  }
}

struct SpacePrefixTests {
  private func text(_ tokens: [TokenID], after prompt: [TokenID]?) throws -> String {
    // 259 is " a", 260 a space, 261 "b"; 35 is the byte of a space.
    let tokenizer = try PieceVocabulary(
      pieces: [("\u{2581}a", 0, 1), ("\u{2581}", 0, 1), ("b", 0, 1)]
    ).tokenizer()
    var detokenizer =
      prompt.map { StreamingDetokenizer(tokenizer: tokenizer, after: $0) }
      ?? StreamingDetokenizer(tokenizer: tokenizer)
    let text = tokens.map { detokenizer.append($0) }.joined() + detokenizer.finish()
    if prompt == nil {
      #expect(Array(text.utf8) == tokenizer.bytes(ofText: tokens))
      #expect(tokens.map { detokenizer.append($0) }.joined() == text, "finishing begins anew")
    }
    return text
  }

  @Test func theFirstSpaceOfATextIsTakenAwayOnce() throws {
    #expect(try text([259, 259], after: nil) == "a a")
    #expect(try text([260, 259], after: nil) == " a")
    #expect(try text([260], after: nil) == "")
    #expect(try text([261, 259], after: nil) == "b a")
    #expect(try text([1, 259, 2, 259], after: nil) == "a a", "control tokens are no text")
    #expect(try text([35, 259], after: nil) == "  a", "a byte is no prefix")
  }

  @Test func whatContinuesATextKeepsItsSpace() throws {
    #expect(try text([259], after: [1, 261]) == " a")
    #expect(try text([259], after: [1]) == "a")
    #expect(try text([259], after: []) == "a")
    #expect(try text([261], after: [1, 261]) == "b")
  }
}

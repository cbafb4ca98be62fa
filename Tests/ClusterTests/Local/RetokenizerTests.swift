import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import TestSupport
import Testing
import Tokenizer

@Suite struct RetokenizerTests {
  private let file: GGUFFile
  private let vocabularies: Retokenizer
  private let texts = [
    "The cat sat on the mat.", "Grüße aus Köln, 東京 and Кирилл 🧑‍🚀🏽!", "  indented\n\n\tcode(42);",
    "a", "e\u{301}galite\u{301} 1234567", "<|im_start|>user\nhi<|im_end|>\n",
  ]

  init() throws {
    file = try GGUFFile(path: try TestFiles.modelPath())
    let other = try modelWithOtherTokens(
      of: file, shift: 1234, mergeCount: 9000, hasTensors: false)
    vocabularies = Retokenizer(
      target: try BytePairTokenizer(file: file), draft: try BytePairTokenizer(file: other))
  }

  /// Every cut of a text between two of its bytes: the tokens are those bytes, and what the end of
  /// the text may still change is left out.
  @Test func draftedBytesComeBackAsTheTargetsTokens() {
    let target = vocabularies.target
    for text in texts.dropLast() {
      let bytes = Array(text.utf8)
      for cut in 0...bytes.count {
        let truth = target.encode(bytes: Array(bytes[..<cut]), parseSpecial: false)
        let rest = Array(bytes[cut...])
        let whole = vocabularies.targetTokens(rest, after: truth, isComplete: true)
        let spelt = whole.flatMap { target.bytes(of: $0.token, includeSpecial: false) }
        #expect(spelt == rest, "\(text) at \(cut)")
        #expect(whole.last?.end ?? 0 == rest.count)
        let open = vocabularies.targetTokens(rest, after: truth, isComplete: false)
        #expect(open == (whole.count > 1 ? whole.dropLast() : whole))
      }
    }
  }

  @Test func aTextIsSplitAsTheTargetSplitsIt() {
    let target = vocabularies.target
    let all = target.encode(texts[0], parseSpecial: false)
    for count in 1..<all.count {
      let rest = all[count...].flatMap { target.bytes(of: $0, includeSpecial: false) }
      let tokens = vocabularies.targetTokens(
        rest, after: Array(all[..<count]), isComplete: true)
      #expect(tokens.map(\.token) == Array(all[count...]))
    }
  }

  /// Token by token or at once, the draft model reads the same bytes, and nearly the same tokens as
  /// if it had read the text.
  @Test func theTruthIsReadAsItGrows() {
    let (target, draft) = (vocabularies.target, vocabularies.draft)
    for text in texts {
      let truth = target.encode(text, parseSpecial: true)
      var growing = Retokenizer.DraftText()
      for token in truth { growing.append([token], vocabularies) }
      let spelt = growing.tokens.flatMap { draft.bytes(of: $0, includeSpecial: true) }
      #expect(spelt == Array(text.utf8))
      #expect(growing.tokens == draft.encode(text, parseSpecial: true))
    }
    // Far behind the end nothing is encoded again.
    let truth = target.encode(String(repeating: texts[1] + texts[0], count: 40), parseSpecial: true)
    var growing = Retokenizer.DraftText()
    for token in truth {
      let before = growing.tokens
      growing.append([token], vocabularies)
      let same = zip(before, growing.tokens).prefix { $0 == $1 }.count
      #expect(before.count - same <= 49)
    }
  }
}

/// A draft model of another family drafts for the target.
@Suite struct ForeignDraftTests {
  @Test(arguments: [0, 0.8] as [Float])
  func theIdsAreTheTargetsAndDraftsAreAccepted(temperature: Float) throws {
    let file = try GGUFFile(path: try TestFiles.modelPath())
    // The same words in other numbers, with fewer merges.
    let other = try modelWithOtherTokens(of: file, shift: 1234, mergeCount: 20_000)
    let target = try InferenceEngine(model: try Model(file: file), contextLength: 256)
    let draft = try InferenceEngine(model: try Model(file: other), contextLength: 256)
    let vocabularies = Retokenizer(
      target: try BytePairTokenizer(file: file), draft: try BytePairTokenizer(file: other))
    #expect(vocabularies.target.fingerprint != vocabularies.draft.fingerprint)
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    sampling.topK = 10
    sampling.seed = 3
    var configuration = VerifierSession.Configuration(
      prompt: vocabularies.target.encode(
        "The capital of France is Paris. The capital of Italy is Rome. The capital of",
        parseSpecial: false),
      sampling: sampling, contextLength: 200,
      vocabularyCount: target.model.shape.vocabularyCount)
    configuration.tokenLimit = 48
    configuration.ignoresEndOfSequence = true
    let costs = MeasuredCosts(
      known: VerifyCosts(relative: [1, 1.01, 1.02, 1.03]), single: .seconds(1))
    let draftCosts = MeasuredCosts(known: .assumed, single: .milliseconds(50))
    func generate(_ list: String) throws -> LocalGenerator.Result {
      try LocalGenerator(
        engine: target, draftEngine: draft,
        methods: try DraftMethods(parsing: list, hasDraftModel: true), nodeLimit: 8, costs: costs,
        draftCosts: draftCosts, vocabularies: vocabularies
      ).generate(configuration)
    }
    let plain = try generate("none")
    let drafted = try generate("draft")
    #expect(drafted.tokens == plain.tokens)
    let bound = temperature == 0 ? 6 : 9
    #expect(drafted.statistics.stepCount < plain.statistics.stepCount * bound / 10)
  }
}

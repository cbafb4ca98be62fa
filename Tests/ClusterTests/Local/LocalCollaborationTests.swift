import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import TestSupport
import Testing

/// The default model beside a worse copy of itself, and plain decoding with either.
private struct Pair {
  let target: InferenceEngine
  let draft: InferenceEngine
  let costs = CollaborationCosts(draftUnit: 0.8)
  var configuration: VerifierSession.Configuration

  init(temperature: Float = 0.8) throws {
    let file = try GGUFFile(path: try TestFiles.modelPath())
    target = try InferenceEngine(model: try Model(file: file), contextLength: 256)
    draft = try InferenceEngine(
      model: try Model(file: try modelWithoutBlocks(14..<18, of: file)), contextLength: 200)
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    sampling.topK = 40
    sampling.seed = 3
    configuration = VerifierSession.Configuration(
      prompt: [504, 3575, 282, 4649, 314], sampling: sampling, contextLength: 200,
      vocabularyCount: target.model.shape.vocabularyCount)
    configuration.tokenLimit = 24
    configuration.ignoresEndOfSequence = true
  }

  func alone(_ engine: InferenceEngine) throws -> [TokenID] {
    let none = try DraftMethods(parsing: "none", hasDraftModel: false)
    return try LocalGenerator(engine: engine, draftEngine: nil, methods: none)
      .generate(configuration).tokens
  }

  /// Every third token ends a sentence.
  func together(_ parameters: CollaborationParameters) throws -> LocalCollaboration.Result {
    var count = 0
    return try LocalCollaboration(
      target: target, draft: draft, antiexpert: draft, costs: costs
    ).generate(configuration, parameters: parameters) { _ in
      count += 1
      return count.isMultiple(of: 3) ? ".\n" : " a"
    }
  }
}

@Suite struct LocalCollaborationTests {
  @Test(arguments: [0, 0.8] as [Float])
  func neutralSettingsGiveTheIdsOfOneModelAlone(temperature: Float) throws {
    let pair = try Pair(temperature: temperature)
    let large = try pair.alone(pair.target)
    let small = try pair.alone(pair.draft)
    #expect(large != small && large.count == 24)
    var entropy = CollaborationParameters(method: .entropy)
    entropy.entropyThreshold = 0
    #expect(try pair.together(entropy).tokens == large)
    entropy.entropyThreshold = .infinity
    #expect(try pair.together(entropy).tokens == small)
    var leading = CollaborationParameters(method: .leading)
    leading.leadingTokens = 1000
    #expect(try pair.together(leading).tokens == large)
    leading.leadingTokens = 0
    #expect(try pair.together(leading).tokens == small)
    var contrastive = CollaborationParameters(method: .contrastive)
    contrastive.contrast = 1
    contrastive.plausibility = 0
    #expect(try pair.together(contrastive).tokens == large)
    contrastive.intervention = .probability
    contrastive.interventionThreshold = 0
    #expect(try pair.together(contrastive).tokens == small)
    // The antiexpert is the expert: tuning changed nothing.
    #expect(try pair.together(CollaborationParameters(method: .proxy)).tokens == large)
  }

  /// What a writer wrote is what its model chooses after a fresh pass over the text before: batches
  /// of catching up leave the same bits.
  @Test(arguments: [.entropy, .leading, .oracle] as [CollaborationParameters.Method])
  func everyTokenIsItsWritersOwnChoice(method: CollaborationParameters.Method) throws {
    var pair = try Pair()
    pair.configuration.tokenLimit = 40
    var parameters = CollaborationParameters(method: method)
    parameters.entropyThreshold = 2
    parameters.entropyWindow = 2
    parameters.draftStay = 3
    parameters.targetStay = 2
    parameters.leadingTokens = 1
    parameters.ledSentences = 100
    let result = try pair.together(parameters)
    #expect(result.statistics.switchCount > 3)
    #expect(result.tokens.count == 40 && result.writers.count == 40)
    for engine in [pair.draft, pair.target] {
      let writer = engine === pair.target ? CollaborationWriter.target : .draft
      var chooser = try TokenChooser(
        parameters: pair.configuration.sampling,
        vocabularyCount: engine.model.shape.vocabularyCount)
      let prompt = pair.configuration.prompt
      let text = prompt + result.tokens
      let cache = try engine.makeCache()
      // One batch for all: where logits depend on batches, this differs.
      try engine.forward(ForwardBatch(chain: text.dropLast(), logits: .all), cache: cache)
      let vocabulary = engine.model.shape.vocabularyCount
      for (index, token) in result.tokens.enumerated() where result.writers[index] == writer {
        let row = prompt.count + index - 1
        let choice = engine.withLogits { logits in
          chooser.choose(
            logits: logits.extracting(row * vocabulary..<(row + 1) * vocabulary), top: Span(),
            recent: Span(), position: row + 1)
        }
        #expect(choice == token, "\(method), token \(index)")
      }
    }
  }

  @Test func modelsThatDoNotFitAreRefused() throws {
    let pair = try Pair()
    let models = try LocalCollaboration(target: pair.target, draft: pair.draft, costs: pair.costs)
    #expect(models.contextLength == 200)
    #expect(throws: LocalCollaborationError.noAntiexpert) {
      try models.generate(
        pair.configuration, parameters: CollaborationParameters(method: .proxy)
      ) { _ in "" }
    }
    var parameters = CollaborationParameters(method: .entropy)
    parameters.entropyWindow = 0
    #expect(throws: DecodingError.self) {
      try models.generate(pair.configuration, parameters: parameters) { _ in "" }
    }
  }
}

@Suite struct LocalCautiousTests {
  @Test func aCautiousTextIsPlainWhereNothingIsUncertain() throws {
    var pair = try Pair()
    let expected = try pair.alone(pair.target)
    pair.configuration.sampling.cautiousTrials = 4
    pair.configuration.sampling.cautiousLow = 20
    pair.configuration.sampling.cautiousHigh = 30
    let models = LocalCautious(engine: pair.target)
    let plain = try models.generate(pair.configuration, breakTokens: [])
    #expect(plain.tokens == expected && plain.discardedCount == 0)
  }

  /// The caches of continuations are those of fresh passes: the same text comes from an engine that
  /// reads everything anew for every token.
  @Test func continuationsAreReadAsFreshTextsAre() throws {
    var pair = try Pair()
    pair.configuration.sampling.cautiousTrials = 3
    pair.configuration.sampling.cautiousLength = 4
    pair.configuration.tokenLimit = 12
    let result = try LocalCautious(engine: pair.target)
      .generate(pair.configuration, breakTokens: [28, 30])
    #expect(result.uncertainCount > 0 && result.discardedCount > 0)
    var session = try CautiousSession(pair.configuration, breakTokens: [28, 30])
    var trials: [Int: [TokenID]] = [:]
    while let pass = session.nextPass {
      var text = session.truth
      if case .extend(let trial, let token, _) = pass {
        trials[trial, default: []].append(token)
        text += trials[trial] ?? []
      }
      try pair.target.forward(
        ForwardBatch(chain: text, logits: .last), cache: try pair.target.makeCache())
      let conclusion = pair.target.withLogits { session.conclude(logits: $0) }
      if !conclusion.tokens.isEmpty { trials = [:] }
    }
    #expect(Array(session.truth[session.promptCount...]) == result.tokens)
  }
}

import Decoding
import InferenceTypes
import Testing

/// Models that keep what they were told to read, and answer in any order.
private struct ToyCollaboration {
  var models: [ToyModel] = [
    ToyModel(sharpness: 3, seed: 1), ToyModel(sharpness: 5, seed: 2),
    ToyModel(sharpness: 3, seed: 3),
  ]
  var configuration: VerifierSession.Configuration
  var parameters: CollaborationParameters
  /// Tokens that each model has read, and the positions of every batch.
  var held: [[TokenID]] = [[], [], []]
  var batches: [[Range<Int>]] = [[], [], []]
  var writers: [CollaborationWriter] = []
  var entropies: [Double] = []
  var rows: [[Float]] = [[], [], []]

  static func text(_ token: TokenID) -> String {
    [" a", "b", ".", "\n", " c"][Int(token.rawValue)]
  }

  /// Runs to the end; `random` picks which of the open tasks is answered next.
  mutating func run(_ random: inout SmallRandom) throws -> CollaborationSession {
    var session = try CollaborationSession(
      configuration, parameters: parameters, costs: CollaborationCosts(draftUnit: 0.1))
    var chooser = try TokenChooser(parameters: configuration.sampling, vocabularyCount: 5)
    var open: [CollaborationEffect] = []
    session.start(into: &open)
    while !open.isEmpty {
      let effect = open.remove(at: random.below(open.count))
      switch effect {
      case .ingest(let model, let range, let wantsRow):
        let index = model.rawValue
        // Each position once, in order, and what the session knows.
        #expect(held[index].count == range.lowerBound && !range.isEmpty)
        held[index] += session.truth[range]
        batches[index].append(range)
        let row = wantsRow ? models[index].row(held[index][...]) : []
        rows[index] = row
        session.handle(
          .ingested(model, range, row: wantsRow ? RowSummary(logits: row.span) : nil),
          into: &open)
      case .choose(let writer):
        let row = try logits(of: writer, session)
        if case .entropy = parameters.method {
          entropies.append(RowSummary(logits: row.span).entropy)
        }
        writers.append(writer)
        let token = chooser.choose(
          logits: row.span, top: Span(), recent: session.truth.span, position: session.truth.count)
        session.handle(.chosen(token, text: Self.text(token)), into: &open)
      case .finish(let reason):
        #expect(session.finish == reason)
      }
    }
    #expect(session.ignoredCount == 0)
    return session
  }

  /// The row of a writer; everything it is made of has read the whole truth.
  private func logits(of writer: CollaborationWriter, _ session: CollaborationSession) throws
    -> [Float]
  {
    func row(_ model: CollaborationModel) throws -> [Float] {
      #expect(held[model.rawValue] == session.truth, "\(model) lacks tokens")
      #expect(!rows[model.rawValue].isEmpty)
      return rows[model.rawValue]
    }
    var combined: [Float] = []
    switch writer {
    case .draft: return try row(.draft)
    case .target: return try row(.target)
    case .combined:
      let target = try row(.target)
      let draft = try row(.draft)
      if parameters.method == .proxy {
        let antiexpert = try row(.antiexpert)
        LogitCombination.proxy(
          base: target.span, expert: draft.span, antiexpert: antiexpert.span,
          strength: parameters.tuningStrength, into: &combined)
      } else {
        LogitCombination.contrastive(
          target: target.span, draft: draft.span, plausibility: parameters.plausibility,
          contrast: parameters.contrast, into: &combined)
      }
      return combined
    }
  }

  init(
    _ method: CollaborationParameters.Method, temperature: Float = 1, seed: UInt64 = 0,
    tokenLimit: Int? = 60
  ) {
    configuration = ToyModel().configuration(
      temperature: temperature, seed: seed, tokenLimit: tokenLimit)
    parameters = CollaborationParameters(method: method)
    parameters.entropyThreshold = 1.2
    parameters.draftStay = 2
    parameters.targetStay = 3
    parameters.leadingTokens = 2
  }

  /// What one of the models writes alone.
  func alone(_ model: CollaborationModel) throws -> [TokenID] {
    try models[model.rawValue].plain(configuration).tokens
  }
}

@Suite struct CollaborationSessionTests {
  private func generated(_ session: CollaborationSession) -> [TokenID] {
    Array(session.truth[session.promptCount...])
  }

  @Test(arguments: [0, 1] as [Float])
  func theEndsOfTheThresholdAreOneModelAlone(temperature: Float) throws {
    for seed in 0..<20 as Range<UInt64> {
      var random = SmallRandom(seed)
      var toy = ToyCollaboration(.entropy, temperature: temperature, seed: seed)
      toy.parameters.entropyThreshold = 0
      var large = toy
      let largeSession = try large.run(&random)
      #expect(generated(largeSession) == (try toy.alone(.target)))
      #expect(largeSession.statistics.share(.target) == 1)
      toy.parameters.entropyThreshold = .infinity
      let small = try toy.run(&random)
      #expect(generated(small) == (try toy.alone(.draft)))
      #expect(small.statistics.share(.draft) == 1)
      #expect(toy.held[CollaborationModel.target.rawValue].isEmpty, "the target is never asked")
    }
  }

  @Test(arguments: [0, 1] as [Float])
  func neutralSettingsAreTheTargetAlone(temperature: Float) throws {
    for seed in 0..<10 as Range<UInt64> {
      var random = SmallRandom(seed)
      for method in CollaborationParameters.Method.allCases {
        var toy = ToyCollaboration(method, temperature: temperature, seed: seed)
        toy.parameters.entropyThreshold = 0
        toy.parameters.leadingTokens = Int(Int32.max)
        toy.parameters.contrast = 1
        toy.parameters.intervention = .always
        toy.parameters.plausibility = 0
        toy.parameters.tuningStrength = 0
        let expected = try toy.alone(.target)
        #expect(generated(try toy.run(&random)) == expected, "\(method)")
      }
    }
  }

  /// The toy's models assert in every run that no position is read twice, or missing when a row is
  /// used; the text does not depend on the order of answers, nor on reading ahead.
  @Test(arguments: CollaborationParameters.Method.allCases)
  func theTextDependsOnNoOrderOfAnswers(method: CollaborationParameters.Method) throws {
    var switches = 0
    for seed in 0..<12 as Range<UInt64> {
      for intervention in CollaborationParameters.Intervention.allCases {
        var toy = ToyCollaboration(method, seed: seed)
        toy.parameters.intervention = intervention
        toy.parameters.interventionThreshold = intervention == .gap ? 0.1 : 0.45
        var first: [TokenID]?
        for lag in [nil, 1, 4] as [Int?] {
          for order in 0..<2 as Range<UInt64> {
            var random = SmallRandom(order)
            var run = toy
            run.parameters.catchUpLag = lag
            let session = try run.run(&random)
            first = first ?? generated(session)
            #expect(generated(session) == first, "seed \(seed), lag \(lag ?? 0)")
            switches += session.statistics.switchCount
            #expect(session.statistics.tokenCount == session.generatedCount)
            let read = run.batches[CollaborationModel.target.rawValue]
            #expect(session.statistics.targetPassCount == read.count)
            #expect(
              session.statistics.targetIngestedCount == read.reduce(0) { $0 + $1.count })
          }
        }
      }
    }
    #expect(switches > 20, "\(method) never changed the writer")
  }

  /// The entropies of the writers' rows, through a switch of their own, give the same writers.
  @Test func theWriterFollowsTheEntropyOfTheOneThatWrites() throws {
    for seed in 0..<30 as Range<UInt64> {
      var random = SmallRandom(seed)
      var toy = ToyCollaboration(.entropy, seed: seed)
      _ = try toy.run(&random)
      var entropySwitch = EntropySwitch(toy.parameters)
      let prompt = toy.models[0].row(toy.configuration.prompt[...])
      entropySwitch.begin(entropy: RowSummary(logits: prompt.span).entropy)
      for (writer, entropy) in zip(toy.writers, toy.entropies) {
        #expect((writer == .target) == entropySwitch.writesTarget)
        entropySwitch.observe(entropy: entropy)
      }
      var run = 0
      for (index, writer) in toy.writers.enumerated() {
        if index > 0, writer != toy.writers[index - 1] {
          #expect(run >= (toy.writers[index - 1] == .target ? 3 : 2))
          run = 0
        }
        run += 1
      }
    }
  }

  /// One batch for each token of a model; what it lacks after the other's turn comes with the first.
  @Test func aChangeOfTheWriterIsOneBatch() throws {
    var switches = 0
    for seed in 0..<20 as Range<UInt64> {
      var random = SmallRandom(1)
      var toy = ToyCollaboration(.entropy, seed: seed)
      toy.parameters.entropyThreshold = 1.6
      toy.parameters.entropyWindow = 2
      let session = try toy.run(&random)
      switches += session.statistics.switchCount
      #expect(
        toy.batches[CollaborationModel.target.rawValue].count == session.statistics.targetCount)
      // The draft model looks at the prompt first, whoever begins.
      let looks = toy.writers[0] == .target ? 1 : 0
      #expect(
        toy.batches[CollaborationModel.draft.rawValue].count
          == session.statistics.draftCount + looks)
    }
    #expect(switches > 10)
  }

  @Test func theOracleIsAskedStrictlyBelowTheThreshold() throws {
    var toy = ToyCollaboration(.oracle, temperature: 0)
    toy.parameters.intervention = .probability
    for (threshold, expected) in [(0.5, CollaborationWriter.draft), (0.500_001, .target)] {
      toy.parameters.interventionThreshold = Float(threshold)
      var session = try CollaborationSession(
        toy.configuration, parameters: toy.parameters, costs: CollaborationCosts(draftUnit: 1))
      var effects: [CollaborationEffect] = []
      session.start(into: &effects)
      #expect(effects == [.ingest(.draft, 0..<3, wantsRow: true)])
      effects = []
      let row = RowSummary(entropy: 1, maxProbability: 0.5, gap: 0)
      session.handle(.ingested(.draft, 0..<3, row: row), into: &effects)
      if expected == .target {
        #expect(effects == [.ingest(.target, 0..<3, wantsRow: true)])
      } else {
        #expect(effects == [.choose(.draft)])
      }
    }
  }

  @Test func costsCountEveryPassAndSavingsMayBeLosses() throws {
    let toy = ToyCollaboration(.entropy, tokenLimit: 4)
    var parameters = toy.parameters
    parameters.entropyThreshold = .infinity
    // A target pass over n tokens costs n; a draft pass half of it.
    let costs = VerifyCosts(relative: [1, 2, 3, 4])
    var session = try CollaborationSession(
      toy.configuration, parameters: parameters,
      costs: CollaborationCosts(target: costs, draft: costs, draftUnit: 0.5))
    var effects: [CollaborationEffect] = []
    session.start(into: &effects)
    let row = RowSummary(entropy: 1, maxProbability: 0.5, gap: 0)
    for position in 3..<7 {
      session.handle(
        .ingested(.draft, position == 3 ? 0..<3 : position - 1..<position, row: row),
        into: &effects)
      session.handle(.chosen(1, text: "b"), into: &effects)
    }
    #expect(effects.last == .finish(.length))
    #expect(session.statistics.plainCost == 6 && session.statistics.spentCost == 3)
    #expect(session.statistics.computeSaved == 0.5)
    // All tokens by the target, the draft model looks at the prompt: more than the target alone.
    parameters.entropyThreshold = 0
    var random = SmallRandom(1)
    var large = toy
    large.parameters = parameters
    let saved = try #require(try large.run(&random).statistics.computeSaved)
    #expect(saved < 0)
  }

  @Test func answersToNothingAreCountedAndChangeNothing() throws {
    let toy = ToyCollaboration(.contrastive)
    var session = try CollaborationSession(
      toy.configuration, parameters: toy.parameters, costs: CollaborationCosts(draftUnit: 1))
    var effects: [CollaborationEffect] = []
    session.start(into: &effects)
    #expect(
      effects == [
        .ingest(.draft, 0..<3, wantsRow: true), .ingest(.target, 0..<3, wantsRow: true),
      ])
    effects = []
    let row = RowSummary(entropy: 1, maxProbability: 0.5, gap: 0)
    for event in [
      .ingested(.antiexpert, 0..<3, row: row), .ingested(.draft, 0..<2, row: row),
      .chosen(1, text: "b"),
    ] as [CollaborationEvent] {
      var copy = session
      copy.handle(event, into: &effects)
      #expect(effects.isEmpty && copy.ignoredCount == 1)
      // Nothing else differs.
      copy = session
    }
    session.handle(.ingested(.draft, 0..<3, row: row), into: &effects)
    #expect(effects.isEmpty)
    session.handle(.ingested(.target, 0..<3, row: row), into: &effects)
    #expect(effects == [.choose(.combined)])
  }

  @Test func endsAreThoseOfPlainDecoding() throws {
    for limit in [0, 1, 7, nil] as [Int?] {
      for stops in [[], [1]] as [[TokenID]] {
        var toy = ToyCollaboration(.entropy, tokenLimit: limit)
        toy.parameters.entropyThreshold = 0
        toy.configuration.contextLength = 30
        toy.configuration.stopTokens = stops
        let expected = try toy.models[1].plain(toy.configuration)
        var random = SmallRandom(1)
        let session = try toy.run(&random)
        #expect(generated(session) == expected.tokens)
        #expect(session.finish == expected.finish)
      }
    }
  }

  @Test func parametersOutOfRangeAreNamed() {
    func name(_ change: (inout CollaborationParameters) -> Void) -> String? {
      var parameters = CollaborationParameters(method: .entropy)
      change(&parameters)
      do {
        try parameters.validate()
        return nil
      } catch {
        guard case .parameterOutOfRange(let name, _, _) = error else { return nil }
        return name
      }
    }
    #expect(name { _ in } == nil)
    #expect(name { $0.entropyThreshold = .infinity } == nil)
    #expect(name { $0.entropyThreshold = -1 } == "entropyThreshold")
    #expect(name { $0.entropyThreshold = .nan } == "entropyThreshold")
    #expect(name { $0.entropyHysteresis = -0.1 } == "entropyHysteresis")
    #expect(name { $0.entropyWindow = 0 } == "entropyWindow")
    #expect(name { $0.draftStay = 0 } == "draftStay")
    #expect(name { $0.targetStay = 0 } == "targetStay")
    #expect(name { $0.leadingTokens = -1 } == "leadingTokens")
    #expect(name { $0.leadProbability = 1.1 } == "leadProbability")
    #expect(name { $0.ledSentences = -1 } == "ledSentences")
    #expect(name { $0.plausibility = 2 } == "plausibility")
    #expect(name { $0.contrast = -1 } == "contrast")
    #expect(name { $0.tuningStrength = .infinity } == "tuningStrength")
    #expect(name { $0.interventionThreshold = .nan } == "interventionThreshold")
    #expect(name { $0.catchUpLag = 0 } == "catchUpLag")
  }
}

import Decoding
import Foundation
import InferenceTypes
import Testing

@Suite struct CautiousSessionTests {
  /// A session and the toy that answers it, with the tokens of its cache and of every copy.
  private func run(
    _ model: ToyModel, _ configuration: VerifierSession.Configuration, breakTokens: [TokenID] = [4]
  ) throws -> CautiousSession {
    var session = try CautiousSession(configuration, breakTokens: breakTokens)
    var held: [TokenID] = []
    var copies: [Int: [TokenID]] = [:]
    while let pass = session.nextPass {
      let text: [TokenID]
      switch pass {
      case .read(let range):
        #expect(range.lowerBound == held.count)
        #expect(held == Array(session.truth[..<held.count]))
        held += session.truth[range]
        text = held
      case .extend(let trial, let token, let isFirst):
        #expect((copies[trial] == nil) == isFirst)
        copies[trial] = (copies[trial] ?? held) + [token]
        text = copies[trial] ?? []
      }
      let row = model.row(text[...])
      let conclusion = session.conclude(logits: row.span)
      guard !conclusion.tokens.isEmpty else { continue }
      if let kept = conclusion.keptTrial { held = try #require(copies[kept]) }
      copies = [:]
    }
    return session
  }

  private func configuration(
    _ model: ToyModel, trials: Int, seed: UInt64
  ) -> VerifierSession.Configuration {
    var configuration = model.configuration(temperature: 1, seed: seed, tokenLimit: 40)
    configuration.sampling.cautiousTrials = trials
    return configuration
  }

  @Test func aTextWithoutUncertainPlacesIsThatOfPlainDecoding() throws {
    for seed in 0..<20 as Range<UInt64> {
      let model = ToyModel(seed: seed)
      var configuration = configuration(model, trials: 5, seed: seed)
      // No law over five tokens has more than ln 5 nats.
      configuration.sampling.cautiousLow = 1.7
      configuration.sampling.cautiousHigh = 3
      configuration.stopTokens = [3]
      let expected = try model.plain(configuration)
      let session = try run(model, configuration)
      #expect(Array(session.truth[3...]) == expected.tokens)
      #expect(session.finish == expected.finish)
      #expect(session.uncertainCount == 0 && session.discardedCount == 0)
    }
  }

  @Test func theSameSeedGivesTheSameTextAndTriesMore() throws {
    for seed in 0..<20 as Range<UInt64> {
      let model = ToyModel(seed: seed)
      let configuration = configuration(model, trials: 6, seed: seed)
      let first = try run(model, configuration)
      let second = try run(model, configuration)
      #expect(first.truth == second.truth)
      #expect(first.truth.count == 43)
      #expect(first.uncertainCount > 0 && first.discardedCount > 0)
    }
  }

  /// What caution is for: its texts are less perplexing than those of plain decoding.
  @Test func cautionLowersThePerplexity() throws {
    func mean(_ tokens: [TokenID], _ model: ToyModel) -> Double {
      var sum = 0.0
      for index in 3..<tokens.count {
        let row = model.row(tokens[..<index]).map(Double.init)
        let total = row.reduce(0) { $0 + exp($1) }
        sum += row[Int(tokens[index].rawValue)] - log(total)
      }
      return sum / Double(tokens.count - 3)
    }
    var plain = 0.0
    var cautious = 0.0
    for seed in 0..<40 as Range<UInt64> {
      let model = ToyModel(seed: seed)
      let configuration = configuration(model, trials: 8, seed: seed)
      cautious += mean(try run(model, configuration).truth, model)
      plain += mean(configuration.prompt + (try model.plain(configuration).tokens), model)
    }
    #expect(cautious / 40 > plain / 40 + 0.3, "\(cautious / 40) against \(plain / 40)")
  }

  /// M = 10, low 0.01, high 1.5, as the paper's code has it.
  @Test func theNumberOfTrialsFollowsTheEntropy() {
    var parameters = SamplingParameters()
    #expect(CautiousSession.trialCount(entropy: 9, parameters) == 1)
    parameters.cautiousTrials = 10
    for (entropy, count) in [
      (0, 1), (0.01, 1), (0.17, 1), (0.18, 2), (0.755, 5), (1.49, 9), (1.5, 10), (20, 10),
    ] as [(Double, Int)] {
      #expect(CautiousSession.trialCount(entropy: entropy, parameters) == count, "\(entropy)")
    }
  }

  @Test func theLawIsWhatChoicesFollow() throws {
    var random = SmallRandom(3)
    for _ in 0..<60 {
      var parameters = SamplingParameters()
      parameters.temperature = [0.6, 1, 1.5][random.below(3)]
      parameters.topK = [0, 4][random.below(2)]
      parameters.topP = [1, 0.8, 0.5][random.below(3)]
      parameters.minP = [0, 0.1, 0.5][random.below(3)]
      parameters.repetitionPenalty = [1, 1.5][random.below(2)]
      let row = (0..<12).map { _ in random.unit() * 6 }
      let recent: [TokenID] = [1, 5, 5]
      var chooser = try TokenChooser(parameters: parameters, vocabularyCount: 12)
      let law = chooser.distribution(logits: row.span, recent: recent.span)
      var counts = [Int](repeating: 0, count: 12)
      let trials = 3000
      for position in 0..<trials {
        let token = chooser.choose(
          logits: row.span, top: Span(), recent: recent.span, position: position)
        counts[Int(token.rawValue)] += 1
      }
      #expect(abs(law.probabilities.reduce(0, +) - 1) < 1e-12)
      for token in 0..<12 {
        let expected = law.probability(of: TokenID(UInt32(token))) * Double(trials)
        // Six standard deviations; what is cut off never comes.
        #expect(
          abs(Double(counts[token]) - expected) <= 6 * expected.squareRoot() + 1e-9,
          "\(parameters), token \(token)")
      }
    }
  }

  @Test func draftsAndGreedyDecodingAreRefused() throws {
    let model = ToyModel()
    var configuration = configuration(model, trials: 4, seed: 1)
    #expect(throws: DecodingError.notPossible(choice: "cautiousTrials", with: "drafts")) {
      try VerifierSession(configuration)
    }
    #expect(throws: DecodingError.notPossible(choice: "cautiousTrials", with: "drafts")) {
      try DrafterSession(
        DrafterSession.Configuration(
          truth: [1], sampling: configuration.sampling, contextLength: 9, vocabularyCount: 5))
    }
    #expect(throws: DecodingError.notPossible(choice: "cautiousTrials", with: "a collaboration")) {
      try CollaborationSession(
        configuration, parameters: CollaborationParameters(method: .entropy),
        costs: CollaborationCosts(draftUnit: 1))
    }
    configuration.sampling.temperature = 0
    #expect(throws: DecodingError.excludedParameters("cautiousTrials", "temperature 0")) {
      try CautiousSession(configuration, breakTokens: [])
    }
    configuration.sampling.temperature = 1
    configuration.sampling.cautiousHigh = 0.005
    #expect(throws: DecodingError.self) { try CautiousSession(configuration, breakTokens: []) }
  }

  @Test(arguments: [0, 1, 5] as [Int])
  func limitsAndStopsEndTheText(limit: Int) throws {
    for seed in 0..<20 as Range<UInt64> {
      let model = ToyModel(seed: seed)
      var configuration = configuration(model, trials: 4, seed: seed)
      configuration.tokenLimit = limit
      configuration.stopTokens = seed % 2 == 0 ? [2] : []
      let session = try run(model, configuration)
      let tokens = session.truth[3...]
      #expect(tokens.count <= limit)
      #expect(session.finish == (tokens.last == 2 && seed % 2 == 0 ? .stop : .length))
      if session.finish == .length { #expect(tokens.count == limit) }
      if seed % 2 == 0 { #expect(!tokens.dropLast().contains(2)) }
    }
  }
}

import Decoding
import Foundation
import InferenceTypes
import Testing

/// Mirostat 2 as its definition reads.
private struct ReferenceMirostat {
  let tau: Double
  let eta: Double
  var mu: Double

  mutating func choose(_ row: [Float], temperature: Float, noise: GumbelNoise, position: Int)
    -> TokenID
  {
    let logits = row.map { Double($0) / Double(temperature) }
    let largest = logits.max() ?? 0
    let total = logits.reduce(0) { $0 + exp($1 - largest) }
    let probabilities = logits.map { exp($0 - largest) / total }
    let order = row.indices.sorted { probabilities[$0] > probabilities[$1] }
    let kept = order.enumerated().filter {
      $0.offset == 0 || -log2(probabilities[$0.element]) <= mu
    }
    .map(\.element)
    let mass = kept.reduce(0) { $0 + probabilities[$1] }
    func score(_ index: Int) -> Double {
      logits[index] + noise.value(position: position, token: TokenID(UInt32(index)))
    }
    let chosen = kept.max { score($0) < score($1) } ?? 0
    mu -= eta * (-log2(probabilities[chosen] / mass) - tau)
    return TokenID(UInt32(chosen))
  }
}

private func mirostat(tau: Float = 1.5, eta: Float = 0.2, seed: UInt64 = 0) -> SamplingParameters {
  var parameters = SamplingParameters()
  parameters.mirostatTau = tau
  parameters.mirostatEta = eta
  parameters.seed = seed
  return parameters
}

@Suite struct MirostatTests {
  @Test func choicesAndStateAreThoseOfTheDefinition() throws {
    for seed in 0..<40 as Range<UInt64> {
      var random = SmallRandom(seed)
      var parameters = mirostat(
        tau: [0.2, 1, 3][random.below(3)], eta: [0.05, 0.5, 1][random.below(3)], seed: seed)
      parameters.temperature = [0.5, 1, 1.7][random.below(3)]
      var chooser = try TokenChooser(parameters: parameters, vocabularyCount: 37)
      var reference = ReferenceMirostat(
        tau: Double(parameters.mirostatTau), eta: Double(parameters.mirostatEta),
        mu: 2 * Double(parameters.mirostatTau))
      for position in 0..<60 {
        let row = (0..<37).map { _ in random.unit() * 9 }
        let expected = reference.choose(
          row, temperature: parameters.temperature, noise: chooser.noise, position: position)
        let top = topEntries(row, count: 8)
        let token = chooser.choose(
          logits: row.span, top: top.span, recent: Span(), position: position)
        #expect(token == expected, "seed \(seed), position \(position)")
        let limit = try #require(chooser.mirostat?.limit)
        #expect(abs(limit - reference.mu) < 1e-9)
      }
    }
  }

  /// What Mirostat is for: the mean surprise of a long text is the one that was asked for.
  @Test(arguments: [1, 2, 3] as [Float])
  func theMeanSurpriseIsTheWantedOne(tau: Float) throws {
    var chooser = try TokenChooser(
      parameters: mirostat(tau: tau, eta: 0.1), vocabularyCount: 200)
    var random = SmallRandom(4)
    let count = 4000
    let first = try #require(chooser.mirostat?.limit)
    for position in 0..<count {
      let row = (0..<200).map { _ in (random.unit() + random.unit() - 1) * 8 }
      _ = chooser.choose(logits: row.span, top: Span(), recent: Span(), position: position)
    }
    // The sum of all corrections is the distance from the wanted mean.
    let last = try #require(chooser.mirostat?.limit)
    let mean = Double(tau) + (first - last) / (0.1 * Double(count))
    #expect(abs(mean - Double(tau)) < 0.05, "\(mean)")
  }

  @Test func draftsChangeNothing() throws {
    var accepted = 0
    for seed in 0..<120 as Range<UInt64> {
      var random = SmallRandom(seed)
      let model = ToyModel(vocabularyCount: 5, memory: 3, seed: seed)
      var configuration = model.configuration(seed: seed, tokenLimit: 40)
      configuration.sampling = mirostat(tau: [0.5, 1, 1.8][random.below(3)], eta: 0.4, seed: seed)
      configuration.sampling.repetitionPenalty = seed % 4 == 0 ? 1.3 : 1
      let expected = try model.plain(configuration)
      var session = try VerifierSession(configuration)
      var sources = LocalSources(vocabularyCount: 5)
      var id: UInt32 = 0
      while session.finish == nil {
        // A tree: the right path, and wrong children at every node of it.
        var nodes: [DraftNode] = []
        var parent: UInt32 = 0
        for token in expected.tokens.dropFirst(session.generatedCount).prefix(random.below(4)) {
          let first = id
          for offset in [1, 0] as [UInt32] {
            id += 1
            nodes.append(
              DraftNode(
                id: NodeID(rawValue: id), parent: NodeID(rawValue: parent),
                token: TokenID((token.rawValue + offset) % 5), score: -0.1))
          }
          parent = first + 2
        }
        session.receive(nodes, anchor: session.truth.count, link: 0)
        let batch = session.nextBatch(
          sources: &sources, costs: freeOfCost, limit: 1 + random.below(10))
        _ = model.step(&session, batch, sources: &sources)
      }
      #expect(Array(session.truth[3...]) == expected.tokens, "seed \(seed)")
      accepted += session.statistics.acceptedCount
    }
    #expect(accepted > 1000)
  }

  /// A draft model with the target's own logits and noise drafts what the target will say.
  @Test func aDrafterFollowsTheState() throws {
    let model = ToyModel(vocabularyCount: 5, memory: 3, seed: 3)
    var configuration = model.configuration(seed: 5, tokenLimit: 60)
    configuration.sampling = mirostat(tau: 1, eta: 0.3, seed: 5)
    let expected = try model.plain(configuration).tokens
    var drafter = try DrafterSession(
      DrafterSession.Configuration(
        truth: configuration.prompt, sampling: configuration.sampling, contextLength: 4096,
        vocabularyCount: 5))
    drafter.window = 4
    var wrong = 0
    var drafted = 0
    for (index, token) in expected.enumerated() {
      var chain: [TokenID] = []
      while let forward = drafter.nextForward(limit: 64) {
        let text = drafter.truth + expected[index...].prefix(drafter.chainCount)
        let row = model.row(text[...])
        let update = drafter.conclude(
          forward, logits: row.span, top: topEntries(row, count: 5).span)
        if let first = update.nodes.first { chain.append(first.token) }
        if first(of: update) != expected.dropFirst(index + drafter.chainCount - 1).first {
          wrong += 1
        }
        drafted += 1
      }
      _ = drafter.receive(
        TruthUpdate(
          fromPosition: drafter.truth.count, tokens: [token], nodeIDs: [NodeID.none]))
    }
    #expect(drafted > 50)
    #expect(wrong <= 4, "\(wrong) of \(drafted), those behind the end included")
  }

  /// Where the truth leaves the chain the state is that of before: the drafts are those of a drafter
  /// that never went astray.
  @Test func aDrafterTakesItsStateBack() throws {
    for seed in 0..<30 as Range<UInt64> {
      let model = ToyModel(vocabularyCount: 5, memory: 3, seed: seed)
      func drafter(_ truth: [TokenID]) throws -> DrafterSession {
        var drafter = try DrafterSession(
          DrafterSession.Configuration(
            truth: truth, sampling: mirostat(tau: 0.8, eta: 1, seed: seed), contextLength: 4096,
            vocabularyCount: 5))
        drafter.window = 4
        return drafter
      }
      func draft(_ drafter: inout DrafterSession) -> [TokenID] {
        var chain: [TokenID] = []
        while let forward = drafter.nextForward(limit: 64) {
          let row = model.row((drafter.truth + chain)[...])
          let update = drafter.conclude(forward, logits: row.span, top: Span())
          chain += update.nodes.map(\.token)
        }
        return chain
      }
      let prompt: [TokenID] = [1, 0, 2]
      var astray = try drafter(prompt)
      let chain = draft(&astray)
      try #require(chain.count == 4)
      let other = TokenID((chain[0].rawValue + 1) % 5)
      let reception = astray.receive(
        TruthUpdate(fromPosition: 3, tokens: [other], nodeIDs: [NodeID.none]))
      #expect(reception == .diverged(position: 3))
      var fresh = try drafter(prompt + [other])
      #expect(draft(&astray) == draft(&fresh), "seed \(seed)")
    }
  }

  private func first(of update: DraftUpdate) -> TokenID? { update.nodes.first?.token }

  @Test func aSessionGoesOnWithTheStateOfTheOneBefore() throws {
    let model = ToyModel(seed: 4)
    var configuration = model.configuration(tokenLimit: 20)
    configuration.sampling = mirostat(tau: 1, eta: 0.5, seed: 6)
    let expected = try model.plain(configuration).tokens
    func run(_ session: inout VerifierSession, until count: Int) {
      var sources = LocalSources.none
      while session.generatedCount < count {
        let batch = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 1)
        _ = model.step(&session, batch, sources: &sources)
      }
    }
    var before = try VerifierSession(configuration)
    run(&before, until: 9)
    configuration.decided = Array(expected[..<9])
    #expect(throws: DecodingError.missingMirostatLimit(decidedCount: 9)) {
      try VerifierSession(configuration)
    }
    configuration.mirostatLimit = before.mirostatLimit
    var after = try VerifierSession(configuration)
    run(&after, until: 20)
    #expect(Array(after.truth[3...]) == expected)
  }

  @Test func whatItExcludesIsRefused() {
    func error(_ change: (inout SamplingParameters) -> Void) -> DecodingError? {
      var parameters = mirostat()
      change(&parameters)
      do {
        _ = try TokenChooser(parameters: parameters, vocabularyCount: 10)
        return nil
      } catch {
        return error
      }
    }
    #expect(error { _ in } == nil)
    #expect(error { $0.temperature = 0 } == .excludedParameters("mirostatTau", "temperature 0"))
    #expect(error { $0.topK = 40 } == .excludedParameters("mirostatTau", "topK"))
    #expect(error { $0.topP = 0.9 } == .excludedParameters("mirostatTau", "topP"))
    #expect(error { $0.minP = 0.1 } == .excludedParameters("mirostatTau", "minP"))
    #expect(error { $0.cautiousTrials = 4 } == .excludedParameters("mirostatTau", "cautiousTrials"))
    for value in [-1, .nan, 33] as [Float] {
      guard case .parameterOutOfRange("mirostatTau", _, _) = error({ $0.mirostatTau = value })
      else {
        Issue.record("mirostatTau \(value) passed")
        continue
      }
    }
    guard case .parameterOutOfRange("mirostatEta", _, _) = error({ $0.mirostatEta = 2 }) else {
      Issue.record("mirostatEta 2 passed")
      return
    }
  }
}

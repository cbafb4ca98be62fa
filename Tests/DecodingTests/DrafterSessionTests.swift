import Decoding
import InferenceTypes
import Testing

/// A drafter behind a link with delays, which keeps the order of its messages.
private struct SimulatedDrafter {
  var session: DrafterSession
  var model: ToyModel
  var link: Int
  var draftTicks: Int
  var usesSources: Bool
  var sources: LocalSources
  var up: [(due: Int, update: DraftUpdate)] = []
  var down: [(due: Int, update: TruthUpdate)] = []
  var running: (due: Int, forward: DrafterSession.Forward)?
  var abortedCount = 0
  /// What the model's cache would hold.
  var cache: [TokenID] = []

  mutating func tick(now: Int, delay: Int) {
    while let first = down.first, first.due <= now {
      down.removeFirst()
      let isVoid = running.map { session.isVoid($0.forward, after: first.update) } ?? false
      let end = running.map { $0.forward.firstPosition + $0.forward.tokens.count } ?? 0
      switch session.receive(first.update) {
      case .gap: Issue.record("gap")
      case .malformed: Issue.record("malformed update")
      case .followed: #expect(!isVoid, "a pass that the truth follows")
      case .diverged(let position): #expect(isVoid == (position < end), "\(position) of \(end)")
      }
      if isVoid {
        // Given up between two layers: nothing of it is in the cache.
        session.abandonForward()
        running = nil
        abortedCount += 1
      }
      if usesSources {
        sources.observe(tokensOf: session.truth, newCount: first.update.tokens.count)
      }
    }
    var update = DraftUpdate(anchor: 0, nodes: [])
    if usesSources {
      update = session.propose(sources: &sources, limit: 12)
    } else if let (due, forward) = running {
      guard due <= now else { return }
      running = nil
      update = conclude(forward)
    }
    if !usesSources, let forward = session.nextForward(limit: 7) {
      running = (now + draftTicks, forward)
    }
    if !update.nodes.isEmpty { up.append((max(now + delay, up.last?.due ?? 0), update)) }
  }

  private mutating func conclude(_ forward: DrafterSession.Forward) -> DraftUpdate {
    // A cache cut too late would hold tokens of a dead branch.
    #expect(forward.firstPosition <= cache.count)
    cache = cache[..<forward.firstPosition] + forward.tokens
    guard forward.needsLogits else {
      return session.conclude(forward, logits: Span(), top: Span())
    }
    let row = model.row(cache[...])
    return session.conclude(forward, logits: row.span, top: topEntries(row, count: 4).span)
  }
}

@Suite struct DrafterSessionTests {
  private func drafter(
    _ configuration: VerifierSession.Configuration, truth: [TokenID], model: ToyModel, link: Int,
    random: inout SmallRandom
  ) throws -> SimulatedDrafter {
    var own = DrafterSession.Configuration(
      truth: truth, sampling: configuration.sampling, contextLength: configuration.contextLength,
      vocabularyCount: configuration.vocabularyCount)
    own.window = 1 + random.below(9)
    own.width = 1 + random.below(3)
    own.stopTokens = configuration.stopTokens
    return SimulatedDrafter(
      session: try DrafterSession(own), model: model, link: link,
      draftTicks: 1 + random.below(3), usesSources: random.below(4) == 0,
      sources: LocalSources(vocabularyCount: configuration.vocabularyCount))
  }

  @Test func theTextIsPlainWhateverTheLinksDo() throws {
    for seed in 0..<120 as Range<UInt64> {
      var random = SmallRandom(seed)
      let target = ToyModel(vocabularyCount: 6, memory: 3, seed: seed)
      var configuration = target.configuration(
        temperature: [0, 0.8][random.below(2)], seed: seed, tokenLimit: 60)
      configuration.stopTokens = random.below(2) == 0 ? [5] : []
      configuration.contextLength = 50 + random.below(20)
      configuration.sampling.presencePenalty = random.below(3) == 0 ? 0.5 : 0
      let expected = try target.plain(configuration)
      var verifier = try VerifierSession(configuration)
      var sources = LocalSources(vocabularyCount: 6)
      // One drafter knows the target well, one does not.
      let models = [target, ToyModel(vocabularyCount: 6, memory: 2, seed: seed + 1)]
      var linkCount = 2
      var drafters = try (0..<2).map {
        try drafter(
          configuration, truth: configuration.prompt, model: models[$0], link: $0,
          random: &random)
      }
      var batch: VerifyBatch?
      var due = 0
      var now = 0
      while verifier.finish == nil {
        for index in drafters.indices {
          if random.below(60) == 0 {
            // The link breaks; what was under way is lost, and a new drafter takes over.
            verifier.removeLink(drafters[index].link)
            drafters[index] = try drafter(
              configuration, truth: verifier.truth, model: models[index], link: linkCount,
              random: &random)
            linkCount += 1
          }
          drafters[index].tick(now: now, delay: random.below(8))
          while let first = drafters[index].up.first, first.due <= now {
            drafters[index].up.removeFirst()
            verifier.receive(
              first.update.nodes, anchor: first.update.anchor, link: drafters[index].link)
          }
        }
        if let running = batch {
          if due <= now {
            batch = nil
            let outcome = target.step(&verifier, running, sources: &sources)
            for index in drafters.indices {
              let previous = drafters[index].down.last?.due ?? 0
              drafters[index].down.append(
                (
                  max(previous, now + random.below(8)),
                  outcome.update(forLink: drafters[index].link)
                ))
            }
          }
        } else {
          batch = verifier.nextBatch(
            sources: &sources, costs: .assumed, limit: 1 + random.below(10))
          due = now + 1 + random.below(4)
        }
        now += 1
      }
      #expect(Array(verifier.truth[3...]) == expected.tokens, "seed \(seed)")
      #expect(verifier.finish == expected.finish)
      let hostile: [NodeReception] = [
        .badID, .unknownParent, .unknownToken, .badScore, .badAnchor, .refused,
      ]
      for reception in hostile { #expect(verifier.receptionCount(reception) == 0) }
    }
  }

  /// Runs one perfect drafter in step with the verifier.
  private func lockstep(
    temperature: Float, width: Int, draftModel: ToyModel, target: ToyModel
  ) throws -> Double {
    var configuration = target.configuration(temperature: temperature, seed: 8, tokenLimit: 200)
    configuration.sampling.minP = 0.02
    var own = DrafterSession.Configuration(
      truth: configuration.prompt, sampling: configuration.sampling, contextLength: 4096,
      vocabularyCount: target.vocabularyCount)
    own.window = 6
    own.width = width
    var verifier = try VerifierSession(configuration)
    var sources = LocalSources.none
    var drafter = SimulatedDrafter(
      session: try DrafterSession(own), model: draftModel, link: 0, draftTicks: 0,
      usesSources: false, sources: .none)
    var now = 0
    while verifier.finish == nil {
      for _ in 0..<16 {
        drafter.tick(now: now, delay: 0)
        now += 1
      }
      for (_, update) in drafter.up {
        verifier.receive(update.nodes, anchor: update.anchor, link: 0)
      }
      drafter.up = []
      let batch = verifier.nextBatch(sources: &sources, costs: .assumed, limit: 32)
      let outcome = target.step(&verifier, batch, sources: &sources)
      drafter.down.append((now, outcome.update(forLink: 0)))
    }
    return Double(verifier.statistics.emittedCount) / Double(verifier.statistics.stepCount)
  }

  @Test(arguments: [0, 1] as [Float])
  func aPerfectDrafterFillsTheWindow(temperature: Float) throws {
    let target = ToyModel(vocabularyCount: 20, seed: 3)
    let rate = try lockstep(
      temperature: temperature, width: 1, draftModel: target, target: target)
    #expect(rate > 6.3)
  }

  @Test func sharedNoiseMakesSampledDraftsRight() throws {
    let target = ToyModel(vocabularyCount: 20, sharpness: 3, seed: 3)
    let stranger = ToyModel(vocabularyCount: 20, sharpness: 3, seed: 4)
    let right = try lockstep(temperature: 1, width: 3, draftModel: target, target: target)
    let wrong = try lockstep(temperature: 1, width: 3, draftModel: stranger, target: target)
    #expect(right > 6)
    #expect(wrong < 3)
  }

  @Test func truthThatFollowsKeepsTheRestAndTruthThatLeavesDropsIt() throws {
    let model = ToyModel(vocabularyCount: 9, seed: 1)
    var configuration = DrafterSession.Configuration(
      truth: [1, 2, 3], sampling: SamplingParameters(), contextLength: 100, vocabularyCount: 9)
    configuration.window = 4
    var drafter = SimulatedDrafter(
      session: try DrafterSession(configuration), model: model, link: 0, draftTicks: 0,
      usesSources: false, sources: .none)
    for now in 0..<8 { drafter.tick(now: now, delay: 0) }
    let nodes = drafter.up.flatMap(\.update.nodes)
    #expect(nodes.count == 4)
    #expect(nodes.map(\.id.rawValue) == [1, 2, 3, 4])
    #expect(nodes.map(\.parent.rawValue) == [0, 1, 2, 3])
    #expect(drafter.session.nextForward(limit: 8) == nil)
    var session = drafter.session
    let followed = session.receive(
      TruthUpdate(fromPosition: 3, tokens: [nodes[0].token], nodeIDs: [nodes[0].id]))
    #expect(followed == .followed(keptCount: 3))
    // The last chain token was never forwarded: one token is enough to go on.
    let next = session.nextForward(limit: 8)
    #expect(next?.firstPosition == 6)
    #expect(next?.tokens == [nodes[3].token])
    #expect(next?.needsLogits == true)
    let other = TokenID((nodes[1].token.rawValue + 1) % 9)
    let left = session.receive(
      TruthUpdate(fromPosition: 3, tokens: [nodes[0].token, other], nodeIDs: [.none, .none]))
    #expect(left == .diverged(position: 4))
    session.abandonForward()
    let again = session.nextForward(limit: 8)
    #expect(again?.firstPosition == 4)
    #expect(again?.tokens == [other])
    #expect(
      session.receive(TruthUpdate(fromPosition: 9, tokens: [1], nodeIDs: [.none]))
        == .gap(truthCount: 5))
    for (position, token) in [(4, nodes[1].token), (5, 9), (-1, 1)] as [(Int, TokenID)] {
      #expect(
        session.receive(TruthUpdate(fromPosition: position, tokens: [token], nodeIDs: [.none]))
          == .malformed)
    }
    #expect(session.truth == [1, 2, 3, nodes[0].token, other])
  }

  @Test func theWindowHidesDelaysUnlessDraftsDie() {
    func length(_ roundTrip: Int, _ acceptance: Double) -> Int {
      DraftWindow.length(
        roundTrip: .milliseconds(roundTrip), verify: .milliseconds(50), draft: .milliseconds(10),
        acceptance: acceptance)
    }
    #expect(length(0, 0.9) == 10)
    #expect(length(50, 0.9) == 15)
    #expect(length(50, 0.5) == 5)
    #expect(length(50, 0) == 1)
    #expect(length(100_000, 1) == 64)
    // A tree's improbable paths end by themselves.
    func reach(_ roundTrip: Int) -> Int {
      DraftWindow.reach(
        roundTrip: .milliseconds(roundTrip), verify: .milliseconds(50), draft: .milliseconds(10))
    }
    #expect(reach(0) == 10 && reach(50) == 15 && reach(100_000) == 64)
  }
}

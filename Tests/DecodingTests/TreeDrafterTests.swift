import Decoding
import InferenceTypes
import Testing

/// A tree drafter with a cache that holds tokens in place of keys and values.
struct SimulatedTree {
  var session: TreeDrafter
  var model: ToyModel
  var sources = LocalSources.none
  var link = 0
  var committed: [TokenID] = []
  var nodes: [(token: TokenID, parent: Int)] = []
  var running: (due: Int, forward: TreeDrafter.Forward)?
  var up: [(due: Int, update: DraftUpdate)] = []
  var down: [(due: Int, update: TruthUpdate)] = []
  var passCount = 0
  var abortedCount = 0

  /// Begins a pass, which finds the cache as it should be.
  mutating func begin(limit: Int) -> TreeDrafter.Forward? {
    guard let forward = session.nextForward(limit: limit, sources: &sources) else { return nil }
    passCount += 1
    var end = -1
    for index in forward.committed {
      #expect(nodes[index].parent == end, "no path")
      committed.append(nodes[index].token)
      end = index
    }
    let kept = forward.kept.map { index in
      let parent = nodes[index].parent
      let place = parent == end ? -1 : forward.kept.firstIndex(of: parent) ?? -2
      #expect(place > -2, "kept without its parent")
      return (token: nodes[index].token, parent: place)
    }
    nodes = kept
    for (token, parent) in zip(forward.tokens, forward.parents) {
      #expect(parent < nodes.count)
      nodes.append((token, parent))
    }
    #expect(nodes.count <= 128)
    for index in nodes.indices {
      let context = context(index)
      let known = min(context.count, session.truth.count)
      #expect(context.prefix(known) == session.truth.prefix(known), "a dead branch in the cache")
    }
    return forward
  }

  mutating func conclude(_ forward: TreeDrafter.Forward) -> DraftUpdate {
    let first = nodes.count - forward.tokens.count
    let topCount = min(16, model.vocabularyCount)
    var logits: [Float] = []
    var top: [TokenLogit] = []
    for index in forward.logitNodes {
      let row = model.row(context(first + index)[...])
      logits += row
      top += topEntries(row, count: topCount)
    }
    return session.conclude(
      forward, logits: logits.span, top: top.span, topCount: topCount, sources: &sources)
  }

  private func context(_ node: Int) -> [TokenID] {
    var path: [TokenID] = []
    var index = node
    while index >= 0 {
      path.insert(nodes[index].token, at: 0)
      index = nodes[index].parent
    }
    return committed + path
  }

  mutating func abort(_ forward: TreeDrafter.Forward) {
    session.abandonForward()
    // The engine leaves what was there before the batch.
    nodes.removeLast(forward.tokens.count)
  }

  mutating func tick(now: Int, delay: Int, draftTicks: Int, fails: Bool) {
    while let first = down.first, first.due <= now {
      down.removeFirst()
      let isVoid = running.map { session.isVoid($0.forward, after: first.update) } ?? false
      switch session.receive(first.update) {
      case .gap, .malformed: Issue.record("unfit update")
      case .followed, .diverged: break
      }
      guard let forward = running?.forward else { continue }
      // Of use is a pass whose answer grows the tree, or whose tokens need not be read again.
      var (completed, aborted) = (self, self)
      let grows = !completed.conclude(forward).nodes.isEmpty
      aborted.abort(forward)
      // Rows that are foreseen are of use to nobody yet.
      (completed.sources, aborted.sources) = (.none, .none)
      let reads = completed.begin(limit: 64)?.tokens != aborted.begin(limit: 64)?.tokens
      #expect(!isVoid || !(grows || reads), "grows: \(grows), reads: \(reads)")
      guard isVoid else { continue }
      abort(forward)
      running = nil
      abortedCount += 1
    }
    if let (due, forward) = running {
      guard due <= now else { return }
      running = nil
      if fails {
        abort(forward)
      } else {
        let update = conclude(forward)
        if !update.nodes.isEmpty { up.append((max(now + delay, up.last?.due ?? 0), update)) }
      }
    }
    if let forward = begin(limit: 7) { running = (now + draftTicks, forward) }
  }
}

@Suite struct TreeDrafterTests {
  private func configuration(
    _ verifier: VerifierSession.Configuration, truth: [TokenID], window: Int, width: Int
  ) -> TreeDrafter.Configuration {
    var own = DrafterSession.Configuration(
      truth: truth, sampling: verifier.sampling, contextLength: verifier.contextLength,
      vocabularyCount: verifier.vocabularyCount)
    own.window = window
    own.width = width
    own.stopTokens = verifier.stopTokens
    return TreeDrafter.Configuration(own)
  }

  @Test func theTextIsPlainWhateverTheLinkDoes() throws {
    var abortedCount = 0
    for seed in 0..<150 as Range<UInt64> {
      var random = SmallRandom(seed)
      let target = ToyModel(vocabularyCount: 6, memory: 3, seed: seed)
      var configuration = target.configuration(
        temperature: [0, 0.8][random.below(2)], seed: seed, tokenLimit: 60)
      configuration.stopTokens = random.below(2) == 0 ? [5] : []
      configuration.contextLength = 50 + random.below(20)
      configuration.sampling.presencePenalty = random.below(3) == 0 ? 0.5 : 0
      let expected = try target.plain(configuration)
      var verifier = try VerifierSession(configuration)
      var sources = LocalSources.none
      var own = self.configuration(
        configuration, truth: configuration.prompt, window: 1 + random.below(9),
        width: 1 + random.below(4))
      own.levelWidth = 1 + random.below(6)
      own.nodeMax = 4 + random.below(30)
      own.runsAhead = random.below(4) > 0
      let model =
        random.below(2) == 0 ? target : ToyModel(vocabularyCount: 6, memory: 2, seed: seed)
      var drafter = SimulatedTree(
        session: try TreeDrafter(own), model: model,
        sources: random.below(2) == 0 ? .none : LocalSources(.recycling, vocabularyCount: 6))
      var batch: VerifyBatch?
      var due = 0
      var now = 0
      while verifier.finish == nil {
        if random.below(80) == 0 {
          verifier.removeLink(drafter.link)
          var fresh = own
          fresh.session.truth = verifier.truth
          drafter = SimulatedTree(
            session: try TreeDrafter(fresh), model: model, sources: drafter.sources,
            link: drafter.link + 1)
        }
        drafter.tick(
          now: now, delay: random.below(6), draftTicks: random.below(4),
          fails: random.below(20) == 0)
        while let first = drafter.up.first, first.due <= now {
          drafter.up.removeFirst()
          verifier.receive(
            first.update.nodes, anchor: first.update.anchor, link: drafter.link)
        }
        if let running = batch {
          if due <= now {
            batch = nil
            let outcome = target.step(&verifier, running, sources: &sources)
            drafter.down.append(
              (
                max(drafter.down.last?.due ?? 0, now + random.below(6)),
                outcome.update(forLink: drafter.link)
              ))
          }
        } else {
          batch = verifier.nextBatch(
            sources: &sources, costs: .assumed, limit: 1 + random.below(12))
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
      abortedCount += drafter.abortedCount
    }
    #expect(abortedCount > 0)
  }

  /// What a replay counted.
  private struct Rate {
    var tokensPerStep: Double
    var verifiedPerStep: Double
    var passes: Int
  }

  private enum Drafting {
    case tree
    case chain(width: Int)
  }

  /// Drafts in turns with the verifier, which has room for `limit` nodes.
  private func replay(
    _ drafting: Drafting, temperature: Float, limit: Int, draftModel: ToyModel, target: ToyModel,
    unit: Float = 0.01, runsAhead: Bool = false, sources: LocalSources = .none
  ) throws -> Rate {
    var configuration = target.configuration(temperature: temperature, seed: 8, tokenLimit: 400)
    configuration.sampling.minP = 0.02
    var verifier = try VerifierSession(configuration)
    var own = self.configuration(
      configuration, truth: configuration.prompt, window: limit - 1, width: 4)
    own.costs = DraftCosts(unit: unit, draft: .assumed, verify: freeOfCost)
    own.runsAhead = runsAhead
    var tree = SimulatedTree(
      session: try TreeDrafter(own), model: draftModel, sources: sources)
    var sources = LocalSources.none
    if case .chain(let width) = drafting { own.session.width = width }
    var chain = try DrafterSession(own.session)
    var verified = 0
    while verifier.finish == nil {
      var updates: [DraftUpdate] = []
      switch drafting {
      case .tree:
        while let forward = tree.begin(limit: 64) { updates.append(tree.conclude(forward)) }
      case .chain:
        while let forward = chain.nextForward(limit: 64) {
          tree.committed = Array(tree.committed[..<forward.firstPosition]) + forward.tokens
          let row = forward.needsLogits ? draftModel.row(tree.committed[...]) : []
          let top = forward.needsLogits ? topEntries(row, count: 16) : []
          updates.append(chain.conclude(forward, logits: row.span, top: top.span))
        }
      }
      for update in updates { verifier.receive(update.nodes, anchor: update.anchor, link: 0) }
      let batch = verifier.nextBatch(sources: &sources, costs: freeOfCost, limit: limit)
      verified += batch.count
      let update = target.step(&verifier, batch, sources: &sources).update(forLink: 0)
      switch drafting {
      case .tree: _ = tree.session.receive(update)
      case .chain: _ = chain.receive(update)
      }
    }
    #expect(Array(verifier.truth[3...]) == (try target.plain(configuration)).tokens)
    let steps = Double(verifier.statistics.stepCount)
    return Rate(
      tokensPerStep: Double(verifier.statistics.emittedCount) / steps,
      verifiedPerStep: Double(verified) / steps, passes: tree.passCount)
  }

  /// The draft model is right most of the time; where it is not, a sibling often is. As many nodes
  /// are verified as for chains, with leaves and without, and they give longer steps.
  @Test(arguments: [0, 1] as [Float])
  func aTreeBringsMoreThanAChainForAsManyNodes(temperature: Float) throws {
    let target = ToyModel(vocabularyCount: 20, sharpness: 5, seed: 3)
    var near = target
    near.blend = (seed: 77, share: 0.4)
    func rate(_ drafting: Drafting) throws -> Rate {
      try replay(
        drafting, temperature: temperature, limit: 16, draftModel: near, target: target)
    }
    let tree = try rate(.tree)
    let chain = try rate(.chain(width: 1))
    let leaves = try rate(.chain(width: 2))
    #expect(tree.verifiedPerStep <= leaves.verifiedPerStep + 0.2)
    for (other, factor) in [(chain, 1.1), (leaves, 1.03)] {
      #expect(
        tree.tokensPerStep > other.tokensPerStep * factor,
        "\(tree.tokensPerStep) against \(other.tokensPerStep)")
    }
  }

  @Test func aPerfectModelNeedsNoSiblings() throws {
    let target = ToyModel(vocabularyCount: 20, sharpness: 5, seed: 3)
    let rate = try replay(.tree, temperature: 1, limit: 12, draftModel: target, target: target)
    #expect(rate.tokensPerStep > 6, "\(rate.tokensPerStep)")
  }

  /// A model half as slow as the target that is hardly ever right costs its credit, and then two
  /// percent; it is tried again all the time.
  @Test func draftsThatDoNotPayCostLittle() throws {
    let target = ToyModel(vocabularyCount: 200, seed: 3)
    let stranger = ToyModel(vocabularyCount: 200, seed: 4)
    let rate = try replay(
      .tree, temperature: 0, limit: 12, draftModel: stranger, target: target, unit: 0.5)
    #expect(rate.passes < 24, "\(rate.passes) passes, 2 + 400 * 0.02 may be spent")
    #expect(rate.passes > 5)
  }

  @Test func levelsAreEvaluatedTogetherAndTheSubtreeSurvivesTheTruth() throws {
    let model = ToyModel(vocabularyCount: 9, seed: 1)
    var configuration = self.configuration(
      model.configuration(temperature: 1), truth: [1, 2, 3], window: 5, width: 3)
    configuration.costs = DraftCosts(unit: 0.1, draft: freeOfCost)
    var drafter = SimulatedTree(session: try TreeDrafter(configuration), model: model)
    var nodes: [DraftNode] = []
    let firstPass = drafter.begin(limit: 64)
    let first = try #require(firstPass)
    #expect(first.tokens == [1, 2, 3] && first.parents == [-1, 0, 1] && first.logitNodes == [2])
    nodes += drafter.conclude(first).nodes
    #expect(nodes.count == 3 && nodes.allSatisfy { $0.parent == .none })
    let secondPass = drafter.begin(limit: 64)
    let second = try #require(secondPass)
    #expect(second.committed == [0, 1] && second.kept == [2])
    #expect(second.tokens.count > 1, "free nodes come in levels")
    #expect(second.parents.allSatisfy { $0 == 0 })
    nodes += drafter.conclude(second).nodes
    let next = try #require(nodes.first { $0.parent == nodes[0].id })
    // The truth takes the first child: its own children stay, and no token is read again.
    let followed = drafter.session.receive(
      TruthUpdate(fromPosition: 3, tokens: [nodes[0].token], nodeIDs: [nodes[0].id]))
    guard case .followed(let kept) = followed else {
      Issue.record("\(followed)")
      return
    }
    #expect(kept == nodes.count { $0.parent == nodes[0].id })
    let thirdPass = drafter.begin(limit: 64)
    let third = try #require(thirdPass)
    #expect(third.committed == [0], "the old root is truth")
    #expect(third.kept == [1], "the new one lives, its siblings died")
    #expect(third.tokens.contains(next.token))
    _ = drafter.conclude(third)
    // Truth that leaves the tree begins anew with the last token alone.
    let tokens = Set(nodes.filter { $0.parent == nodes[0].id }.map(\.token))
    let other = try #require((0..<9).map { TokenID($0) }.first { !tokens.contains($0) })
    #expect(
      drafter.session.receive(
        TruthUpdate(fromPosition: 4, tokens: [other], nodeIDs: [.none]))
        == .diverged(position: 4))
    let fourthPass = drafter.begin(limit: 64)
    let fourth = try #require(fourthPass)
    #expect(fourth.tokens == [other] && fourth.kept.isEmpty && fourth.parents == [-1])
    #expect(drafter.committed == [1, 2, 3, nodes[0].token])
    drafter.session.abandonForward()
    #expect(
      drafter.session.receive(TruthUpdate(fromPosition: 9, tokens: [1], nodeIDs: [.none]))
        == .gap(truthCount: 5))
    for (position, token) in [(4, nodes[0].token), (5, 9), (-1, 1)] as [(Int, TokenID)]
    where position != 4 || token != other {
      #expect(
        drafter.session.receive(
          TruthUpdate(fromPosition: position, tokens: [token], nodeIDs: [.none])) == .malformed)
    }
  }

  /// Where the draft model's words come again, one pass evaluates several levels: fewer passes for
  /// no shorter steps.
  @Test(arguments: [0, 0.8] as [Float])
  func guessesOfTheDraftModelAreForeseen(temperature: Float) throws {
    let target = ToyModel(vocabularyCount: 8, memory: 2, sharpness: 9, seed: 3)
    func rate(_ sources: LocalSources) throws -> Rate {
      try replay(
        .tree, temperature: temperature, limit: 8, draftModel: target, target: target,
        runsAhead: true, sources: sources)
    }
    let plain = try rate(.none)
    let foreseeing = try rate(LocalSources(.recycling, vocabularyCount: 8))
    #expect(
      Double(foreseeing.passes) < 0.7 * Double(plain.passes),
      "\(foreseeing.passes) passes against \(plain.passes)")
    #expect(
      foreseeing.tokensPerStep > 0.97 * plain.tokensPerStep,
      "\(foreseeing.tokensPerStep) against \(plain.tokensPerStep)")
  }

  /// Truth may come before the draft model has guessed it: what was foreseen of it is not read again.
  @Test func foreseenTruthIsReadOnce() throws {
    let model = ToyModel(vocabularyCount: 9, memory: 1, sharpness: 9, seed: 1)
    func likeliest(after token: TokenID) throws -> TokenID {
      try #require(topEntries(model.row([token]), count: 1).first).token
    }
    var sources = LocalSources(.recycling, vocabularyCount: 9)
    for token in 0..<9 as Range<UInt32> {
      sources.observe(
        context: TokenContext(endOf: [TokenID(token)]),
        top: topEntries(model.row([TokenID(token)]), count: 4).span)
    }
    var configuration = self.configuration(
      model.configuration(temperature: 0), truth: [1, 2], window: 6, width: 1)
    configuration.costs = DraftCosts(unit: 0.1, draft: freeOfCost)
    var drafter = SimulatedTree(
      session: try TreeDrafter(configuration), model: model, sources: sources)
    let firstPass = drafter.begin(limit: 64)
    let first = try #require(firstPass)
    let next = try likeliest(after: 2)
    #expect(first.tokens.prefix(2) == [1, 2])
    let nextPlace = try #require(
      first.tokens.indices.first { first.tokens[$0] == next && first.parents[$0] == 1 })
    #expect(first.logitNodes.contains(nextPlace), "its children are to be known")
    // The truth takes the foreseen token while the pass runs.
    let update = TruthUpdate(fromPosition: 2, tokens: [next], nodeIDs: [.none])
    #expect(!drafter.session.isVoid(first, after: update))
    #expect(drafter.session.receive(update) == .followed(keptCount: 0))
    let drafts = drafter.conclude(first)
    #expect(drafts.anchor == 3 && drafts.nodes.first?.parent == NodeID.none)
    #expect(drafts.nodes.first?.token == (try likeliest(after: next)))
    let secondPass = drafter.begin(limit: 64)
    if let second = secondPass { #expect(second.committed == [0, 1], "the root lives") }
    #expect(drafter.committed == [1, 2])
    // Another token than the foreseen one is read.
    let other = try #require(
      (0..<9).map { TokenID($0) }.first { token in
        drafts.nodes.allSatisfy { $0.token != token }
      })
    if secondPass != nil { drafter.session.abandonForward() }
    #expect(
      drafter.session.receive(TruthUpdate(fromPosition: 3, tokens: [other], nodeIDs: [.none]))
        == .diverged(position: 3))
    let thirdPass = drafter.begin(limit: 64)
    #expect(thirdPass?.tokens.first == other)
  }

  @Test func mirostatAndSillySizesAreRefused() {
    let model = ToyModel(vocabularyCount: 9, seed: 1)
    var configuration = self.configuration(
      model.configuration(temperature: 1), truth: [1], window: 5, width: 3)
    configuration.levelWidth = 0
    #expect(throws: DecodingError.self) { try TreeDrafter(configuration) }
    configuration.levelWidth = 4
    configuration.session.sampling.mirostatTau = 5
    #expect(throws: DecodingError.self) { try TreeDrafter(configuration) }
  }
}

import Decoding
import InferenceTypes
import Testing

/// Every way to hang `count` nodes below a root: the parents' numbers, 0 for the root.
private func shapes(_ count: Int) -> [[Int]] {
  guard count > 0 else { return [[]] }
  return shapes(count - 1).flatMap { shape in (0..<count).map { shape + [$0] } }
}

/// Every word of this length over the first `count` tokens.
private func words(_ length: Int, over count: Int) -> [[TokenID]] {
  guard length > 0 else { return [[]] }
  return words(length - 1, over: count).flatMap { word in
    (0..<count).map { word + [TokenID(UInt32($0))] }
  }
}

/// Every non-decreasing sequence of arrival steps.
private func arrivals(_ length: Int, from first: Int, to last: Int) -> [[Int]] {
  guard length > 0 else { return [[]] }
  return (first...last).flatMap { step in
    arrivals(length - 1, from: step, to: last).map { [step] + $0 }
  }
}

@Suite struct VerifierSessionTests {
  @Test(arguments: [0, 1] as [Float])
  func everySmallTreeInEveryArrivalGivesPlainText(temperature: Float) throws {
    let model = ToyModel(vocabularyCount: 3, seed: 5)
    let configuration = model.configuration(temperature: temperature, seed: 3, tokenLimit: 6)
    let expected = try model.plain(configuration)
    for count in 0...4 {
      for shape in shapes(count) {
        for word in words(count, over: count == 4 ? 2 : 3) {
          for steps in arrivals(count, from: 0, to: count == 4 ? 1 : 2) {
            var session = try VerifierSession(configuration)
            var sources = LocalSources.none
            var step = 0
            while session.finish == nil {
              for node in 0..<count where steps[node] == step {
                let draft = DraftNode(
                  id: NodeID(rawValue: UInt32(node + 1)),
                  parent: NodeID(rawValue: UInt32(shape[node])), token: word[node], score: -0.1)
                session.receive([draft], anchor: 3, link: 0)
              }
              let batch = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 8)
              _ = model.step(&session, batch, sources: &sources)
              step += 1
            }
            let same = Array(session.truth[3...]) == expected.tokens
            if !same { Issue.record("\(shape) \(word) \(steps)") }
          }
        }
      }
    }
  }

  /// What a verifier waits for drafts by.
  @Test func theNextDraftIsWorthWhatItsPathIs() throws {
    let model = ToyModel(vocabularyCount: 5, seed: 1)
    var session = try VerifierSession(model.configuration(temperature: 0, seed: 1, tokenLimit: 4))
    var values = [session.nextDraftValue]
    for level in 1...3 {
      let likely = DraftNode(
        id: NodeID(rawValue: UInt32(2 * level)), parent: NodeID(rawValue: UInt32(2 * level - 2)),
        token: 1, score: -0.5)
      let unlikely = DraftNode(
        id: NodeID(rawValue: UInt32(2 * level + 1)), parent: likely.parent, token: 2, score: -3)
      session.receive([likely, unlikely], anchor: session.truth.count, link: 0)
      values.append(session.nextDraftValue)
    }
    #expect(values[0] > 0 && values[0] < 1)
    for (before, after) in zip(values, values.dropFirst().dropLast()) {
      #expect(abs(after / before - 0.61) < 0.01, "\(values)")
    }
    #expect(values[3] == 0, "no token can follow another level")
  }

  @Test func hostileDraftersChangeNothing() throws {
    for seed in 0..<150 as Range<UInt64> {
      var random = SmallRandom(seed)
      let model = ToyModel(vocabularyCount: 5, memory: 3, seed: seed)
      var configuration = model.configuration(
        temperature: seed % 2 == 0 ? 0 : 1, seed: seed, tokenLimit: 30)
      configuration.stopTokens = seed % 3 == 0 ? [4] : []
      configuration.ignoresEndOfSequence = seed % 6 == 0
      configuration.contextLength = 25 + random.below(20)
      configuration.pendingNodeMax = 40
      configuration.sampling.repetitionPenalty = seed % 5 == 0 ? 1.2 : 1
      let expected = try model.plain(configuration)
      var session = try VerifierSession(configuration)
      var sources = LocalSources(vocabularyCount: 5)
      var emitted: [TokenID] = []
      var received = 0
      while session.finish == nil {
        for _ in 0..<random.below(4) {
          var nodes: [DraftNode] = []
          for _ in 0..<random.below(12) {
            nodes.append(
              DraftNode(
                id: NodeID(rawValue: UInt32(random.below(200))),
                parent: NodeID(rawValue: UInt32(random.below(3) == 0 ? 0 : random.below(200))),
                token: TokenID(UInt32(random.below(7))),
                score: [0, -0.5, -3, .nan, 1, -.infinity][random.below(6)]))
          }
          received += nodes.count
          session.receive(
            nodes, anchor: random.below(session.truth.count + 3) - 1, link: random.below(3))
        }
        if random.below(9) == 0 { session.removeLink(random.below(3)) }
        let batch = session.nextBatch(
          sources: &sources, costs: freeOfCost, limit: 1 + random.below(12))
        #expect(batch.count <= 12)
        #expect(batch.positions.allSatisfy { $0 < configuration.contextLength })
        if random.below(3) == 0 { session.removeLink(random.below(3)) }
        let outcome = model.step(&session, batch, sources: &sources)
        emitted += outcome.tokens
        #expect(outcome.acceptedPath.first == 0)
        #expect(session.pendingCount <= 40)
      }
      #expect(emitted == expected.tokens, "seed \(seed)")
      #expect(session.finish == expected.finish, "seed \(seed)")
      let counted = NodeReception.allCases.reduce(0) { $0 + session.receptionCount($1) }
      #expect(counted == received)
    }
  }

  /// Nodes at places of the truth take no memory without end.
  @Test func aFloodOfLateNodesIsBounded() throws {
    let model = ToyModel(seed: 9)
    var session = try VerifierSession(model.configuration(temperature: 0, tokenLimit: 8))
    let last = session.truth[session.truth.count - 1]
    let nodes = (1...20_000).map {
      DraftNode(id: NodeID(rawValue: UInt32($0)), parent: .none, token: last, score: -0.1)
    }
    session.receive(nodes, anchor: session.truth.count - 1, link: 1)
    let kept = session.receptionCount(.onTruth)
    #expect(kept > 0 && kept <= 10_000)
    #expect(session.receptionCount(.refused) == nodes.count - kept)
  }

  @Test func lateNodesAreClassifiedByTheirParents() throws {
    let model = ToyModel(seed: 9)
    let configuration = model.configuration(temperature: 0, tokenLimit: 8)
    let text = try model.plain(configuration).tokens
    func other(_ token: TokenID) -> TokenID { TokenID((token.rawValue + 1) % 5) }
    func node(_ id: UInt32, _ parent: UInt32, _ token: TokenID) -> DraftNode {
      DraftNode(
        id: NodeID(rawValue: id), parent: NodeID(rawValue: parent), token: token, score: -0.1)
    }
    var session = try VerifierSession(configuration)
    var sources = LocalSources.none
    func step() -> VerifyOutcome {
      let batch = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 8)
      return model.step(&session, batch, sources: &sources)
    }
    func reception(_ draft: DraftNode, anchor: Int = 3) -> NodeReception? {
      let before = NodeReception.allCases.map { session.receptionCount($0) }
      session.receive([draft], anchor: anchor, link: 7)
      return NodeReception.allCases.first {
        session.receptionCount($0) == before[$0.rawValue] + 1
      }
    }
    #expect(reception(node(1, 0, text[0])) == .pending)
    #expect(reception(node(2, 0, other(text[0]))) == .pending)
    #expect(reception(node(3, 2, text[1])) == .pending)
    let first = step()
    #expect(first.tokens == [text[0], text[1]])
    #expect(first.acceptedPath.count == 2)
    #expect(
      first.update(forLink: 7)
        == TruthUpdate(
          fromPosition: 3, tokens: first.tokens, nodeIDs: [NodeID(rawValue: 1), .none]))
    #expect(first.update(forLink: 1).nodeIDs == [.none, .none])
    #expect(reception(node(4, 1, text[1])) == .onTruth)
    #expect(reception(node(5, 1, other(text[1]))) == .dead)
    #expect(reception(node(6, 4, text[2])) == .pending)
    #expect(reception(node(7, 5, text[2])) == .dead)
    #expect(reception(node(8, 2, text[1])) == .dead)
    #expect(reception(node(9, 0, text[2]), anchor: 5) == .pending)
    #expect(reception(node(10, 0, text[1]), anchor: 4) == .onTruth)
    #expect(reception(node(11, 10, text[2])) == .pending)
    #expect(reception(node(12, 0, text[2]), anchor: 6) == .badAnchor)
    #expect(reception(node(13, 0, text[2]), anchor: 0) == .badAnchor)
    #expect(reception(node(14, 0, text[2]), anchor: .min) == .badAnchor)
    #expect(reception(node(14, 0, text[2]), anchor: 5) == .badID)
    #expect(reception(node(16, 16, text[2])) == .unknownParent)
    #expect(reception(node(17, 999, text[2])) == .unknownParent)
    #expect(reception(node(18, 0, 5), anchor: 5) == .unknownToken)
    #expect(
      reception(DraftNode(id: NodeID(rawValue: 19), parent: .none, token: 1, score: .nan))
        == .badScore)
    // Three claims of one node: they merge.
    let batch = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 8)
    #expect(batch.count == 2)
    #expect(batch.parents == [-1, 0])
    #expect(batch.positions == [4, 5])
  }

  @Test func aRemovedLinkLeavesNoDrafts() throws {
    let model = ToyModel()
    var session = try VerifierSession(model.configuration())
    var sources = LocalSources.none
    for link in 0..<2 {
      session.receive(
        [DraftNode(id: NodeID(rawValue: 1), parent: .none, token: TokenID(UInt32(link)), score: 0)],
        anchor: 3, link: link)
    }
    #expect(session.nextBatch(sources: &sources, costs: freeOfCost, limit: 8).count == 3)
    session.removeLink(0)
    let batch = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 8)
    #expect(batch.tokens == [2, 1])
  }

  @Test func endsAreThoseOfPlainDecoding() throws {
    let model = ToyModel(seed: 2)
    for limit in [0, 1, 2, 7, nil] {
      for contextLength in [4, 5, 9, 40] {
        for stops in [[], [0], [1, 3]] as [[TokenID]] {
          var configuration = model.configuration(tokenLimit: limit)
          configuration.contextLength = contextLength
          configuration.stopTokens = stops
          let expected = try model.plain(configuration)
          var session = try VerifierSession(configuration)
          var sources = LocalSources.none
          var id: UInt32 = 0
          while session.finish == nil {
            // Perfect drafts, far past the end.
            var nodes: [DraftNode] = []
            let position = session.truth.count - 3
            for token in expected.tokens[position...] + [1, 2, 3] {
              id += 1
              nodes.append(
                DraftNode(
                  id: NodeID(rawValue: id),
                  parent: nodes.isEmpty ? .none : NodeID(rawValue: id - 1), token: token,
                  score: 0))
            }
            session.receive(nodes, anchor: session.truth.count, link: 0)
            let batch = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 5)
            let outcome = model.step(&session, batch, sources: &sources)
            #expect(outcome.tokens.count == min(5, expected.tokens.count - position))
          }
          #expect(Array(session.truth[3...]) == expected.tokens)
          #expect(session.finish == expected.finish)
          #expect(session.generatedCount == expected.tokens.count)
        }
      }
    }
  }

  @Test func aResumedSessionGoesOnAsIfNothingHappened() throws {
    let model = ToyModel(seed: 4)
    var configuration = model.configuration(tokenLimit: 10)
    configuration.stopTokens = [2]
    let expected = try model.plain(configuration)
    for count in 0...expected.tokens.count {
      configuration.decided = Array(expected.tokens[..<count])
      var session = try VerifierSession(configuration)
      var sources = LocalSources(vocabularyCount: 5)
      while session.finish == nil {
        let batch = session.nextBatch(sources: &sources, costs: .assumed, limit: 8)
        _ = model.step(&session, batch, sources: &sources)
      }
      #expect(Array(session.truth[3...]) == expected.tokens)
      #expect(session.finish == expected.finish)
    }
  }

  @Test func impossibleRequestsAreRefused() {
    let model = ToyModel()
    var configuration = model.configuration()
    configuration.prompt = []
    #expect(throws: DecodingError.emptyPrompt) { try VerifierSession(configuration) }
    configuration.prompt = [1, 5]
    #expect(throws: DecodingError.unknownToken(5, vocabularyCount: 5)) {
      try VerifierSession(configuration)
    }
    configuration.prompt = [1, 2, 3]
    configuration.contextLength = 3
    #expect(throws: DecodingError.promptTooLong(tokenCount: 3, contextLength: 3)) {
      try VerifierSession(configuration)
    }
  }

  @Test func statisticsCountDraftsByOriginAndDepth() throws {
    let model = ToyModel(seed: 9)
    let configuration = model.configuration(temperature: 0, tokenLimit: 8)
    let text = try model.plain(configuration).tokens
    var session = try VerifierSession(configuration)
    var sources = LocalSources.none
    let wrong = TokenID((text[1].rawValue + 1) % 5)
    session.receive(
      [
        DraftNode(id: NodeID(rawValue: 1), parent: .none, token: text[0], score: 0),
        DraftNode(id: NodeID(rawValue: 2), parent: NodeID(rawValue: 1), token: wrong, score: 0),
      ], anchor: 3, link: 0, origin: .model)
    let batch = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 8)
    _ = model.step(&session, batch, sources: &sources)
    #expect(session.statistics.verifiedCount(.model, depth: 1) == 1)
    #expect(session.statistics.acceptedCount(.model, depth: 1) == 1)
    #expect(session.statistics.verifiedCount(.model, depth: 2) == 1)
    #expect(session.statistics.acceptedCount == 1)
    #expect(session.statistics.emittedCount == 2)
    #expect(session.statistics.stepCount == 1)
  }
}

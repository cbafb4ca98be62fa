import Cluster
import Decoding
import Engine
import InferenceTypes
import Testing
import Wire

/// Verify rules with a drafter at the other end of a link: every message is encoded and decoded.
@Suite struct RemoteRulesTests {
  private static let drawing = LosslessRule.allCases.filter(\.rule.demand.needsLaw)

  /// What a drafter hears of the session.
  private func acceptance(
    _ rule: VerifyRule, _ target: TargetSession, seed: UInt64, of pair: RulePair
  ) -> AttachAcceptance {
    var sampling = pair.configuration.sampling
    sampling.seed = seed
    var acceptance = AttachAcceptance(
      sampling: sampling, promptLength: target.machine.promptCount, truthLength: 0)
    acceptance.rule = rule
    return acceptance
  }

  /// Writes a text in turns: draw, send, judge. `damage` may change what travels.
  private func write(
    _ rule: LosslessRule, seed: UInt64, pair: RulePair, sources: inout LocalSources,
    nodeLimit: Int = 16, damage: (inout Nodes) -> Void = { _ in }
  ) throws -> (tokens: [TokenID], statistics: DraftStatistics) {
    var configuration = pair.configuration
    configuration.sampling.seed = seed
    configuration.rule = .lossless(rule)
    let target = try TargetSession(configuration, engine: pair.target)
    let session = try #require(
      RuledSession(
        configuration.rule, sampling: configuration.sampling,
        vocabularyCount: configuration.vocabularyCount, nodeLimit: nodeLimit))
    #expect(session.drawsDrafts)
    var drafting = try DrawDrafting(
      acceptance(rule.rule, target, seed: seed, of: pair), stopTokens: [], engine: pair.draft)
    while target.isPrefilling { try target.prefill(engine: pair.target, sources: &sources) }
    while !target.isFinished {
      var nodes = try #require(
        try drafting.draft(below: target.machine.truth, shouldStop: { false }))
      damage(&nodes)
      let frame = try Envelope(session: SessionID(rawValue: 1), message: .nodes(nodes)).encoded()
      guard case .nodes(let arrived) = try Envelope(decoding: frame).message else {
        Issue.record("not Nodes")
        break
      }
      #expect(try session.receive(arrived, target: target))
      _ = try session.step(
        target, engine: pair.target, sources: &sources, costs: .assumed, limit: 1)
    }
    return (
      Array(target.machine.truth.dropFirst(configuration.prompt.count)),
      target.machine.statistics
    )
  }

  /// As in ``LocalRulesTests``: one correct rule in a million would fail, and the seeds are fixed.
  @Test(arguments: drawing)
  func drawsThatTravelledKeepTheTargetsLaw(rule: LosslessRule) throws {
    var pair = try RulePair()
    pair.configuration.tokenLimit = 5
    var sources = LocalSources([], vocabularyCount: RandomModel.vocabularyCount)
    let (surprise, accepted) = try pair.surprise { seed in
      try write(rule, seed: seed, pair: pair, sources: &sources)
    }
    #expect(surprise < 4.75, "\(rule): \(surprise)")
    #expect(accepted > 0.1 && accepted < 0.95, "\(rule): \(accepted)")
  }

  /// The same measurement sees laws that are not those of the draws, which is why such rules have to
  /// be allowed.
  @Test func aDrafterThatLiesAboutItsLawShows() throws {
    var pair = try RulePair()
    pair.configuration.tokenLimit = 5
    var sources = LocalSources([], vocabularyCount: RandomModel.vocabularyCount)
    let (surprise, _) = try pair.surprise { seed in
      try write(.ratio, seed: seed, pair: pair, sources: &sources) { nodes in
        for index in nodes.laws.indices {
          nodes.laws[index].weights = nodes.laws[index].weights.map { _ in 1 }
        }
      }
    }
    #expect(surprise > 6, "\(surprise)")
  }

  /// The wire adds nothing and loses nothing: the same draws give the text of one process.
  @Test(arguments: drawing)
  func theTextIsThatOfOneProcess(rule: LosslessRule) throws {
    let pair = try RulePair()
    var sources = LocalSources([], vocabularyCount: RandomModel.vocabularyCount)
    for seed in 0..<20 as Range<UInt64> {
      var local = pair
      local.configuration.sampling.seed = seed
      let expected = try local.generate(.lossless(rule), "draft")
      let (tokens, statistics) = try write(rule, seed: seed, pair: pair, sources: &sources)
      #expect(tokens == expected.tokens, "\(rule), seed \(seed)")
      #expect(statistics.acceptedCount == expected.statistics.acceptedCount)
      let drafted = statistics.count(of: .remote)
      #expect(drafted > 0 && drafted == expected.statistics.count(of: .model))
    }
  }

  /// A verifier that evaluates few nodes judges the first draws only.
  @Test(arguments: drawing)
  func treesThatAreTooLargeAreCut(rule: LosslessRule) throws {
    let pair = try RulePair()
    var sources = LocalSources([], vocabularyCount: RandomModel.vocabularyCount)
    for limit in 1...4 {
      let (tokens, statistics) = try write(
        rule, seed: 5, pair: pair, sources: &sources, nodeLimit: limit)
      #expect(tokens.count == 30)
      #expect(statistics.verifiedCount <= (limit - 1) * statistics.stepCount)
      #expect(limit == 1 || statistics.verifiedCount > 0)
    }
  }

  /// Where drafts decide about the text, how fast the machine is must not decide about them.
  @Test func theTextDoesNotDependOnMeasuredCosts() throws {
    let pair = try RulePair(temperature: 0)
    var configuration = pair.configuration
    configuration.rule = .lossless(.ratio)
    func write(_ costs: VerifyCosts) throws -> (tokens: [TokenID], drafted: Int) {
      var sources = LocalSources([.recycling], vocabularyCount: RandomModel.vocabularyCount)
      let target = try TargetSession(configuration, engine: pair.target)
      let session = try #require(
        RuledSession(
          configuration.rule, sampling: configuration.sampling,
          vocabularyCount: configuration.vocabularyCount, nodeLimit: 16))
      while target.isPrefilling { try target.prefill(engine: pair.target, sources: &sources) }
      while !target.isFinished {
        _ = try session.step(
          target, engine: pair.target, sources: &sources, costs: costs, limit: 16)
      }
      return (target.machine.truth, target.machine.statistics.verifiedCount)
    }
    let free = try write(VerifyCosts(relative: []))
    let dear = try write(VerifyCosts(relative: [1, 9, 17, 25]))
    #expect(free.tokens == dear.tokens)
    #expect(free.drafted == dear.drafted && free.drafted > 0)
  }

  @Test func atTemperatureZeroNothingIsDrawn() throws {
    let pair = try RulePair(temperature: 0)
    for rule in VerifyRule.allCases {
      #expect(!rule.drawsDrafts(pair.configuration.sampling), "\(rule)")
    }
    #expect(
      RuledSession(
        .standard, sampling: pair.configuration.sampling, vocabularyCount: 24, nodeLimit: 4) == nil)
  }

  /// A tree for another root is dropped, and what cannot be judged is named.
  @Test func treesThatDoNotFitAreRefused() throws {
    let pair = try RulePair()
    var configuration = pair.configuration
    configuration.rule = .lossless(.ratio)
    let target = try TargetSession(configuration, engine: pair.target)
    let session = try #require(
      RuledSession(
        configuration.rule, sampling: configuration.sampling, vocabularyCount: 24, nodeLimit: 8))
    let anchor = configuration.prompt.count - 1
    func node(_ id: UInt32, below parent: UInt32 = 0, _ token: TokenID) -> DraftNode {
      DraftNode(
        id: NodeID(rawValue: id), parent: NodeID(rawValue: parent), token: token, score: -1)
    }
    var good = Nodes(anchor: anchor, nodes: [node(1, 3), node(2, below: 1, 5)])
    good.laws = [
      PlaceLaw(parent: .none, tokens: [3, 4], weights: [1, 2]),
      PlaceLaw(parent: NodeID(rawValue: 1), tokens: [5], weights: [9]),
    ]
    #expect(try session.receive(good, target: target))
    for wrong in [anchor - 1, anchor + 1, 0] {
      var nodes = good
      nodes.anchor = wrong
      #expect(try !session.receive(nodes, target: target), "anchor \(wrong)")
    }
    let changes: [(VerificationError, (inout Nodes) -> Void)] = [
      (.unknownParent(7, nodeCount: 2), { $0.nodes[1].parent = NodeID(rawValue: 7) }),
      (.unknownToken(24, vocabularyCount: 24), { $0.nodes[0].token = 24 }),
      (.unknownToken(99, vocabularyCount: 24), { $0.laws[0].tokens[1] = 99 }),
      (.tokenOutsideLaw(6, node: 2), { $0.nodes[1].token = 6 }),
      (.notAChain(.ratio, parent: 0), { $0.nodes.append(node(3, 4)) }),
    ]
    for (expected, change) in changes {
      var nodes = good
      change(&nodes)
      #expect(throws: expected) { _ = try session.receive(nodes, target: target) }
    }
  }
}

extension DraftStatistics {
  fileprivate func count(of origin: DraftOrigin) -> Int {
    (1...Self.depthMax).reduce(0) { $0 + verifiedCount(origin, depth: $1) }
  }
}

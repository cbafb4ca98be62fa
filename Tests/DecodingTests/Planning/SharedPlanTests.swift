import Decoding
import InferenceTypes
import Testing

/// Several session machines that share passes, planned by one planner.
private struct SharedSessions {
  var sessions: [VerifierSession]
  var sources: LocalSources
  let model: ToyModel
  let costs: VerifyCosts
  private(set) var drafted: [Int]
  /// Time of all passes, and of passes without drafts over as many steps.
  private(set) var time: Float = 0
  private(set) var plainTime: Float = 0

  init(_ sessions: [VerifierSession], sources: LocalSources, model: ToyModel, costs: VerifyCosts) {
    self.sessions = sessions
    self.sources = sources
    self.model = model
    self.costs = costs
    drafted = [Int](repeating: 0, count: sessions.count)
  }

  var running: [Int] { sessions.indices.filter { sessions[$0].finish == nil } }

  /// One pass over all sessions that run. Returns their batches.
  @discardableResult
  mutating func step(limit: Int) -> [VerifyBatch] {
    let running = running
    var planner = PassPlanner(nodeLimit: limit, rowLimit: 128)
    let pass = planner.next(
      running.map { _ in PassPlanner.Session(missingCount: 0, contextCount: 0) }, costs: costs
    ) { order, body in body(&sessions[running[order]], &sources) }
    time += costs.cost(pass.rowCount)
    plainTime += costs.cost(running.count)
    for (order, batch) in pass.batches {
      drafted[running[order]] += batch.count - 1
      _ = model.step(&sessions[running[order]], batch, sources: &sources)
    }
    return pass.batches.map(\.batch)
  }
}

@Suite struct SharedPlanTests {
  private let costs = VerifyCosts(relative: (0..<128).map { 1 + 0.05 * Float($0) })

  /// Whatever shares the passes, every text is what it would be alone.
  @Test(arguments: [0, 1] as [Float])
  func textsAreThoseOfDecodingAlone(temperature: Float) throws {
    let model = ToyModel(vocabularyCount: 7, memory: 2, seed: 11)
    var configurations: [VerifierSession.Configuration] = []
    for index in 0..<9 {
      var configuration = model.configuration(
        temperature: temperature, seed: UInt64(index), tokenLimit: 20 + 7 * index)
      configuration.prompt = [1, TokenID(UInt32(index % 7)), 2]
      configuration.stopTokens = index % 4 == 3 ? [5] : []
      configurations.append(configuration)
    }
    var shared = SharedSessions(
      try configurations.map { try VerifierSession($0) },
      sources: LocalSources(vocabularyCount: 7), model: model, costs: costs)
    while !shared.running.isEmpty { shared.step(limit: 16) }
    for (session, configuration) in zip(shared.sessions, configurations) {
      let expected = try model.plain(configuration)
      #expect(Array(session.truth.dropFirst(3)) == expected.tokens)
      #expect(session.finish == expected.finish)
    }
    let accepted = shared.sessions.reduce(0) { $0 + $1.statistics.acceptedCount }
    #expect(accepted > 30, "drafts were of use, \(accepted) of them")
  }

  /// A tree that grows by turns with others' is the tree that grows alone.
  @Test func treesThatGrowByTurnsAreThoseThatGrowAlone() throws {
    let model = ToyModel(vocabularyCount: 7, memory: 2, seed: 4)
    let configurations = (0..<4).map { model.configuration(seed: UInt64($0), tokenLimit: 200) }
    var shared = SharedSessions(
      try configurations.map { try VerifierSession($0) },
      sources: LocalSources(vocabularyCount: 7), model: model, costs: freeOfCost)
    for _ in 0..<25 {
      var sources = shared.sources
      let alone = shared.sessions.map { session in
        var session = session
        return session.nextBatch(sources: &sources, costs: freeOfCost, limit: 8)
      }
      let together = shared.step(limit: 8)
      for (one, other) in zip(alone, together) {
        #expect(one.tree == other.tree)
        #expect(one.expectedCount == other.expectedCount)
      }
    }
  }

  /// A drafter that promises everything and is never right: its session's share tends to nothing,
  /// and the time that all sessions lose together stays within the purses' credit and allowance.
  @Test func aHostileDrafterLosesItsBudget() throws {
    let model = ToyModel(vocabularyCount: 50, memory: 3, seed: 3)
    let stepCount = 600
    let sessions = try (0..<4).map { index in
      var configuration = model.configuration(
        temperature: 0, seed: UInt64(index), tokenLimit: stepCount + 1)
      configuration.prompt = [TokenID(UInt32(index)), 0, 2]
      return try VerifierSession(configuration)
    }
    var shared = SharedSessions(sessions, sources: .none, model: model, costs: costs)
    var nextID: UInt32 = 1
    var draftedBefore = 0
    for step in 0..<stepCount {
      let truth = shared.sessions[0].truth
      let row = model.row(truth[...])
      let right = row.indices.max { row[$0] < row[$1] } ?? 0
      for offset in 1..<8 {
        let node = DraftNode(
          id: NodeID(rawValue: nextID), parent: .none,
          token: TokenID(UInt32((right + offset) % 50)), score: -0.001)
        nextID += 1
        shared.sessions[0].receive([node], anchor: truth.count, link: 0)
      }
      shared.step(limit: 16)
      if step == stepCount / 2 { draftedBefore = shared.drafted[0] }
    }
    let lateShare = Float(shared.drafted[0] - draftedBefore) / Float(stepCount / 2)
    #expect(lateShare < 0.2, "\(lateShare) nodes for each step")
    #expect(shared.drafted[1...].allSatisfy { $0 == 0 })
    let regret = shared.time / shared.plainTime - 1
    #expect(regret < 0.01, "\(regret) of the time")
  }
}

/// Plans forward passes over all sessions of one target: stretches of new prompts beside the trees
/// of those that decode, which one ``StepPlanner`` grows.
///
/// The token ids of a session are those it would have alone: logits do not depend on what else is
/// in the pass.
package struct PassPlanner: Sendable {
  /// What a session has of its context. It is not finished.
  package struct Session: Sendable, Equatable {
    /// Tokens of the prompt whose keys and values are missing.
    package var missingCount: Int
    /// Positions with keys and values.
    package var contextCount: Int

    package init(missingCount: Int, contextCount: Int) {
      self.missingCount = missingCount
      self.contextCount = contextCount
    }
  }

  /// What a pass evaluates.
  package struct Pass: Sendable {
    /// How many tokens of their prompts these sessions read; none reads 0.
    package var prompts: [(session: Int, count: Int)] = []
    /// The trees of these sessions.
    package var batches: [(session: Int, batch: VerifyBatch)] = []
    /// What was planned for the trees, in their order; `nil` where no session decides.
    package var plan: StepPlanner.Plan?

    /// Tokens of all prompts.
    package var prefillCount: Int { prompts.reduce(0) { $0 + $1.count } }
    /// Nodes and prompt tokens.
    package var rowCount: Int { plan?.rowCount ?? prefillCount }
  }

  /// Lends a session and the sources that it drafts from, by its number.
  package typealias Lender = (
    Int, (inout VerifierSession, inout LocalSources) -> Void
  ) -> Void

  /// Rows kept for prompts where more sessions decode than a pass has room for.
  private static let prefillRoom = 16
  private let nodeLimit: Int
  private let rowLimit: Int
  /// Whose turn it is where not all sessions find room.
  private var turn = 0

  /// - Parameters:
  ///   - nodeLimit: most nodes of one session in a pass; 1 decodes without drafts.
  ///   - rowLimit: most nodes and prompt tokens of a pass, more than 16.
  package init(nodeLimit: Int, rowLimit: Int) {
    precondition(nodeLimit >= 1, "\(nodeLimit) nodes")
    precondition(rowLimit > Self.prefillRoom, "\(rowLimit) rows")
    self.nodeLimit = nodeLimit
    self.rowLimit = rowLimit
  }

  /// Plans the next pass.
  ///
  /// - Parameters:
  ///   - sessions: in the order of their age, at least one.
  ///   - costs: time of a pass by its size.
  ///   - use: lends the sessions that decode.
  /// - Returns: what to evaluate; every batch must be concluded.
  package mutating func next(
    _ sessions: [Session], costs: VerifyCosts, use: Lender
  ) -> Pass {
    let (reading, deciding) = choose(sessions)
    let shares = StepPlanner.prefillShares(
      missing: reading.map { sessions[$0].missingCount }, decodingCount: deciding.count,
      room: rowLimit - deciding.count, costs: costs)
    var pass = Pass()
    for (session, count) in zip(reading, shares) where count > 0 {
      pass.prompts.append((session, count))
    }
    if !deciding.isEmpty { grow(deciding, of: sessions, costs: costs, use: use, into: &pass) }
    return pass
  }

  /// Who reads its prompt and who decides a token: everybody where there is room, else by turns.
  private mutating func choose(_ sessions: [Session]) -> (reading: [Int], deciding: [Int]) {
    precondition(!sessions.isEmpty, "a pass of nobody")
    let reading = sessions.indices.filter { sessions[$0].missingCount > 0 }
    var deciding = sessions.indices.filter { sessions[$0].missingCount == 0 }
    let most = rowLimit - (reading.isEmpty ? 0 : Self.prefillRoom)
    if deciding.count > most {
      let first = turn % deciding.count
      deciding = Array((deciding[first...] + deciding[..<first]).prefix(most))
      turn = first + most
    }
    return (reading, deciding)
  }

  private func grow(
    _ deciding: [Int], of sessions: [Session], costs: VerifyCosts, use: Lender,
    into pass: inout Pass
  ) {
    let prefillCount = pass.prefillCount
    var planner = StepPlanner(
      costs: costs, sessionCount: deciding.count,
      limit: nodeLimit == 1
        ? deciding.count : min(rowLimit - prefillCount, deciding.count * nodeLimit),
      prefillCount: prefillCount)
    var growths: [BatchGrowth] = []
    for index in deciding {
      let context = sessions[index].contextCount
      use(index) { session, sources in
        let balance = session.draftBalance
        let growth = session.beginGrowth(
          sources: &sources, limit: nodeLimit,
          affordable: planner.affordable(balance: balance, context: context, limit: nodeLimit))
        planner.add(
          context: context, balance: balance, limit: growth.limit, best: growth.bestProbability)
        growths.append(growth)
      }
    }
    while let next = planner.next() {
      use(deciding[next]) { session, sources in
        let isEntered = session.grow(&growths[next], sources: &sources)
        let best = growths[next].bestProbability
        if isEntered { planner.enter(next, best: best) } else { planner.skip(next, best: best) }
      }
    }
    let plan = planner.plan()
    for (order, index) in deciding.enumerated() {
      use(index) { session, _ in
        let batch = session.endGrowth(
          growths[order], count: plan.counts[order], price: plan.prices[order],
          tokenValue: plan.tokenValues[order])
        pass.batches.append((index, batch))
      }
    }
    pass.plan = plan
  }
}

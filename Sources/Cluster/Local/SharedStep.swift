package import Decoding
package import Engine
package import InferenceTypes

/// Whoever keeps the local sources and lends them for a tenant's texts.
package protocol SourceLender {
  mutating func use<Result, Failure: Error>(
    _ tenant: TenantID?, _ body: (inout LocalSources) throws(Failure) -> Result
  ) throws(Failure) -> Result
}

/// One set of sources for all texts.
package struct OneForAll: SourceLender {
  package var sources: LocalSources

  package init(_ sources: LocalSources) { self.sources = sources }

  package mutating func use<Result, Failure: Error>(
    _ tenant: TenantID?, _ body: (inout LocalSources) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(&sources)
  }
}

/// Steps of many sessions of one target: each is one planned forward pass over all of them, with
/// stretches of new prompts beside the trees of those that decode.
///
/// The token ids of a session are those it would have alone: logits do not depend on what else is
/// in the pass.
package struct SharedStep {
  /// A session that takes part. It is not finished.
  package struct Member {
    package let target: TargetSession
    package let tenant: TenantID?

    package init(_ target: TargetSession, tenant: TenantID? = nil) {
      self.target = target
      self.tenant = tenant
    }
  }

  /// What a step did.
  package struct Result {
    /// Decided tokens, by the number of the member; those that read their prompts have none.
    package var outcomes: [(member: Int, outcome: VerifyOutcome)] = []
    package var report: StepReport
  }

  /// Rows kept for prompts where more sessions decode than a pass has room for.
  private static let prefillRoom = 16
  package private(set) var times: StepTimes
  package private(set) var statistics = StepStatistics()
  /// Most nodes of one session.
  private let nodeLimit: Int
  /// Whose turn it is where not all sessions find room.
  private var turn = 0
  private let clock = ContinuousClock()

  /// - Parameters:
  ///   - costs: as measured at the start.
  ///   - nodeLimit: most nodes of one session in a pass; 1 decodes without drafts.
  package init(costs: MeasuredCosts, nodeLimit: Int) {
    precondition(nodeLimit >= 1, "\(nodeLimit) nodes")
    times = StepTimes(costs: costs.costs, single: costs.single)
    self.nodeLimit = nodeLimit
  }

  /// What is evaluated for one member.
  private enum Work {
    case prefill
    case verify(VerifyBatch)
  }

  /// One pass. Members are in the order of their age, at least one.
  ///
  /// - Throws: ``ForwardFailure`` whose part is the number of the member at fault; then no member
  ///   has changed but for what it planned, and the same call may succeed later.
  package mutating func run(
    _ members: [Member], engine: InferenceEngine, sources: inout some SourceLender
  ) throws(ForwardFailure) -> Result {
    let start = clock.now
    let (reading, deciding) = choose(members)
    let costs = times.costs
    let room = InferenceEngine.batchLimit - deciding.count
    let shares = StepPlanner.prefillShares(
      missing: reading.map { members[$0].target.missingCount }, decodingCount: deciding.count,
      room: room, costs: costs)
    var parts: [ForwardPart] = []
    var works: [(member: Int, work: Work)] = []
    var positions = 0
    for (index, share) in zip(reading, shares) where share > 0 {
      let member = members[index]
      parts.append(member.target.prefillPart(limit: share))
      works.append((index, .prefill))
      positions += share * (member.target.contextCount + share / 2)
    }
    let prefillCount = parts.reduce(0) { $0 + $1.batch.tokens.count }
    var report = StepReport(
      sessionCount: deciding.count, prefillSessionCount: parts.count, prefillCount: prefillCount,
      expectedTokenCount: 0, expectedDuration: .zero)
    var rowCount = prefillCount
    if !deciding.isEmpty {
      let planned = plan(
        deciding, of: members, prefillCount: prefillCount, costs: costs, sources: &sources)
      for (index, batch) in zip(deciding, planned.batches) {
        parts.append(members[index].target.part(batch))
        works.append((index, .verify(batch)))
        for node in 1..<batch.count { report.draftCounts[Int(batch.origins[node].rawValue)] += 1 }
      }
      report.expectedTokenCount = planned.plan.expectedCount
      rowCount = planned.plan.rowCount
      positions += planned.plan.positionCount
    }
    report.expectedDuration = times.duration(count: rowCount, positions: positions)
    let passStart = clock.now
    do {
      try engine.forward(parts)
    } catch {
      throw ForwardFailure(
        part: works.indices.contains(error.part) ? works[error.part].member : 0,
        error: error.error)
    }
    report.duration = clock.now - passStart
    let logitCount = parts.reduce(0) { $0 + $1.batch.logitNodes.count }
    if logitCount == rowCount {
      times.observe(count: rowCount, positions: positions, duration: report.duration)
    }
    var result = Result(report: report)
    conclude(works, parts, members: members, engine: engine, sources: &sources, &result)
    let duration = clock.now - start
    for (index, work) in works {
      switch work {
      case .prefill: members[index].target.spendPromptTime(duration)
      case .verify: members[index].target.spendDecodeTime(duration)
      }
    }
    result.report.tokenCount = result.outcomes.reduce(0) { $0 + $1.outcome.tokens.count }
    result.report.overhead = duration - report.duration
    statistics.count(result.report)
    return result
  }

  /// Who reads its prompt and who decides a token: everybody where there is room, else by turns.
  private mutating func choose(_ members: [Member]) -> (reading: [Int], deciding: [Int]) {
    precondition(!members.isEmpty, "a step of nobody")
    let reading = members.indices.filter { members[$0].target.isPrefilling }
    var deciding = members.indices.filter { !members[$0].target.isPrefilling }
    let most = InferenceEngine.batchLimit - (reading.isEmpty ? 0 : Self.prefillRoom)
    if deciding.count > most {
      let first = turn % deciding.count
      deciding = Array((deciding[first...] + deciding[..<first]).prefix(most))
      turn = first + most
    }
    return (reading, deciding)
  }

  private func plan(
    _ deciding: [Int], of members: [Member], prefillCount: Int, costs: VerifyCosts,
    sources: inout some SourceLender
  ) -> (plan: StepPlanner.Plan, batches: [VerifyBatch]) {
    let room = InferenceEngine.batchLimit - prefillCount
    var planner = StepPlanner(
      costs: costs, sessionCount: deciding.count,
      limit: nodeLimit == 1 ? deciding.count : min(room, deciding.count * nodeLimit),
      prefillCount: prefillCount)
    var growths: [BatchGrowth] = []
    for index in deciding {
      let target = members[index].target
      let balance = target.machine.draftBalance
      let affordable = planner.affordable(
        balance: balance, context: target.contextCount, limit: nodeLimit)
      let growth = sources.use(members[index].tenant) { sources in
        target.beginGrowth(sources: &sources, limit: nodeLimit, affordable: affordable)
      }
      growths.append(growth)
      planner.add(
        context: target.contextCount, balance: balance, limit: growth.limit,
        best: growth.bestProbability)
    }
    while let next = planner.next() {
      let member = members[deciding[next]]
      let isEntered = sources.use(member.tenant) { sources in
        member.target.grow(&growths[next], sources: &sources)
      }
      let best = growths[next].bestProbability
      if isEntered { planner.enter(next, best: best) } else { planner.skip(next, best: best) }
    }
    let plan = planner.plan()
    let batches = deciding.indices.map { order in
      members[deciding[order]].target.endGrowth(
        growths[order], count: plan.counts[order], price: plan.prices[order],
        tokenValue: plan.tokenValues[order])
    }
    return (plan, batches)
  }

  private func conclude(
    _ works: [(member: Int, work: Work)], _ parts: [ForwardPart], members: [Member],
    engine: InferenceEngine, sources: inout some SourceLender, _ result: inout Result
  ) {
    var firstRow = 0
    for (order, (index, work)) in works.enumerated() {
      let target = members[index].target
      let rows = firstRow..<firstRow + parts[order].batch.logitNodes.count
      firstRow = rows.upperBound
      switch work {
      case .prefill:
        sources.use(members[index].tenant) { sources in
          target.concludePrefill(parts[order], engine: engine, sources: &sources)
        }
      case .verify(let batch):
        let outcome = sources.use(members[index].tenant) { sources in
          target.conclude(batch, engine: engine, rows: rows, sources: &sources)
        }
        result.outcomes.append((index, outcome))
      }
    }
  }
}

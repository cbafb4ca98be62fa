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

/// Steps of many sessions of one target: each is one forward pass over all of them, as a
/// ``PassPlanner`` plans it.
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

  package private(set) var times: StepTimes
  package private(set) var statistics = StepStatistics()
  private var planner: PassPlanner
  private let clock = ContinuousClock()

  /// - Parameters:
  ///   - costs: as measured at the start.
  ///   - nodeLimit: most nodes of one session in a pass; 1 decodes without drafts.
  package init(costs: MeasuredCosts, nodeLimit: Int) {
    times = StepTimes(costs: costs.costs, single: costs.single)
    planner = PassPlanner(nodeLimit: nodeLimit, rowLimit: InferenceEngine.batchLimit)
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
    let pass = planner.next(
      members.map {
        PassPlanner.Session(
          missingCount: $0.target.missingCount, contextCount: $0.target.contextCount)
      }, costs: times.costs
    ) { index, body in
      sources.use(members[index].tenant) { body(&members[index].target.machine, &$0) }
    }
    var parts: [ForwardPart] = []
    var works: [(member: Int, work: Work)] = []
    var positions = pass.plan?.positionCount ?? 0
    for (index, count) in pass.prompts {
      let target = members[index].target
      parts.append(target.prefillPart(limit: count))
      works.append((index, .prefill))
      positions += count * (target.contextCount + count / 2)
    }
    var report = StepReport(
      sessionCount: pass.batches.count, prefillSessionCount: pass.prompts.count,
      prefillCount: pass.prefillCount, expectedTokenCount: pass.plan?.expectedCount ?? 0,
      expectedDuration: times.duration(count: pass.rowCount, positions: positions))
    for (index, batch) in pass.batches {
      parts.append(members[index].target.part(batch))
      works.append((index, .verify(batch)))
      for node in 1..<batch.count { report.draftCounts[Int(batch.origins[node].rawValue)] += 1 }
    }
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
    if logitCount == pass.rowCount {
      times.observe(count: pass.rowCount, positions: positions, duration: report.duration)
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

import Decoding
import InferenceTypes

/// Random clusters in which random things go wrong, each by one seed.
package enum RandomSchedules {
  /// What one schedule came to.
  package struct Outcome: Sendable, Equatable {
    package var seed: UInt64
    package var requestCount = 0
    /// Texts that are whole.
    package var completeCount = 0
    /// Clients that got a named error because no verifier was there.
    package var failedCount = 0
    package var tokenCount = 0
    package var acceptedDraftCount = 0
    package var faultCount = 0
    package var eventCount = 0
    /// Equal where two runs did the same.
    package var traceHash: UInt64 = 0
    /// What must not happen and did.
    package var violations: [String] = []

    package init(seed: UInt64) { self.seed = seed }
  }

  /// When a schedule is given up as one that hangs.
  private static let deadline: SimulationTime = 300_000_000_000

  /// Runs a schedule and compares every text with that of the target alone.
  package static func run(seed: UInt64) -> Outcome {
    let scenario = scenario(seed: seed)
    var cluster = SimulatedCluster(scenario)
    let hasEnded = cluster.run(until: deadline)
    var outcome = Outcome(seed: seed)
    outcome.violations = cluster.violations
    if !hasEnded {
      outcome.violations.append("\(cluster.openClientCount) clients wait for ever")
    }
    outcome.requestCount = scenario.requests.count
    outcome.faultCount = scenario.faults.count
    outcome.eventCount = cluster.eventCount
    outcome.traceHash = cluster.traceHash
    for (index, client) in cluster.clients.enumerated() {
      outcome.tokenCount += client.delivered.count
      outcome.acceptedDraftCount += client.totals.acceptedTokenCount
      outcome.completeCount += client.finish == nil ? 0 : 1
      outcome.failedCount += client.failure == nil ? 0 : 1
      if let violation = check(client, of: scenario.requests[index], target: scenario.target) {
        outcome.violations.append("client \(index): \(violation)")
      }
    }
    return outcome
  }

  private static func check(
    _ client: SimulatedClient, of request: SimulatedRequest, target: ToyTarget
  ) -> String? {
    let expected: (tokens: [TokenID], finish: FinishReason)
    do {
      expected = try target.plainText(
        prompt: request.prompt, sampling: request.sampling, tokenLimit: request.tokenLimit,
        endTokens: request.endTokens)
    } catch {
      return "\(error)"
    }
    if let finish = client.finish {
      guard client.delivered == expected.tokens else {
        return "its text is \(client.delivered), not \(expected.tokens)"
      }
      return finish == expected.finish ? nil : "ended by \(finish), not \(expected.finish)"
    }
    guard client.delivered == Array(expected.tokens.prefix(client.delivered.count)) else {
      return "what it got is no beginning of its text"
    }
    return client.failure == nil ? "it has not ended" : nil
  }

  /// Draws a schedule. In half of them one verifier has no fault, so that every text must be whole.
  package static func scenario(seed: UInt64) -> Scenario {
    var random = SimulationRandom(seed ^ 0xfa17)
    func milliseconds(_ least: Int, _ most: Int) -> Duration {
      .microseconds(least * 1000 + random.below((most - least) * 1000 + 1))
    }
    var scenario = Scenario(
      times: ComputeTimes(
        draft: milliseconds(1, 10), single: milliseconds(10, 50),
        slope: .microseconds(200 + random.below(2000))))
    scenario.times.promptToken = milliseconds(0, 2)
    scenario.times.draftPromptToken = milliseconds(0, 1)
    scenario.seed = seed
    scenario.target = ToyTarget(seed: seed &* 31)
    let first = 0.3 + 0.65 * random.unit()
    scenario.hitRates = (0..<1 + random.below(3)).map { 1 - (1 - first) / Double($0 + 1) }
    scenario.network.delay = milliseconds(0, 30)
    scenario.network.jitter = random.below(2) == 0 ? .zero : milliseconds(0, 15)
    scenario.network.lossRate = random.below(3) == 0 ? 0.1 * random.unit() : 0
    scenario.network.bytesPerSecond = random.below(4) == 0 ? 20_000 + 1e6 * random.unit() : 0
    scenario.pipeline = [.streamed, .streamed, .streamed, .lockstep, .vanilla][random.below(5)]
    scenario.draftLength = 1 + random.below(6)
    scenario.window = random.below(3) == 0 ? 1 + random.below(20) : nil
    scenario.nodeLimit = 1 + random.below(16)
    // With few rows, sessions take turns.
    scenario.rowLimit = random.below(2) == 0 ? 17 + random.below(4) : 128
    scenario.verifierCount = 1 + random.below(3)
    scenario.drafterCount = random.below(4)
    scenario.drafterSlots = 1 + random.below(3)
    scenario.routing.recoveryMax = .seconds(3)
    scenario.routing.silenceMax = .seconds(5)
    scenario.routing.silenceAfterLossMax = .seconds(1)
    drawRequests(&scenario, &random)
    drawFaults(&scenario, &random)
    return scenario
  }

  private static func drawRequests(_ scenario: inout Scenario, _ random: inout SimulationRandom) {
    let vocabulary = scenario.target.vocabularyCount
    let count = 1 + random.below(4)
    scenario.verifierSlots = count + random.below(3)
    let endToken = TokenID(UInt32(random.below(vocabulary)))
    for _ in 0..<count {
      var sampling = SamplingParameters()
      sampling.temperature = [0, 0.7, 1.2][random.below(3)]
      sampling.seed = random.next()
      var request = SimulatedRequest(
        time: 800_000_000 + random.time(below: 1_500_000_000),
        prompt: (0..<1 + random.below(8)).map { _ in TokenID(UInt32(random.below(vocabulary))) },
        sampling: sampling, tokenLimit: 1 + random.below(40))
      request.endTokens = random.below(3) == 0 ? [endToken] : []
      scenario.requests.append(request)
    }
  }

  private static func drawFaults(_ scenario: inout Scenario, _ random: inout SimulationRandom) {
    let workers = 1..<1 + scenario.verifierCount + scenario.drafterCount
    // Node 1, where it is spared, is the verifier that must save every text.
    let isSpared = random.below(2) == 0
    let least = isSpared ? 2 : 1
    for node in scenario.drafterNodes where random.below(5) == 0 {
      scenario.hostileNodes.insert(node)
    }
    for node in workers where node >= least && random.below(5) == 0 {
      scenario.joinTimes[node] = random.time(below: 4_000_000_000)
    }
    for _ in 0..<random.below(7) {
      let start = random.time(below: 4_000_000_000)
      var end: SimulationTime? = start + 20_000_000 + random.time(below: 3_500_000_000)
      let isRouter = !isSpared && random.below(8) == 0
      guard workers.upperBound > least || isRouter else { continue }
      let node = isRouter ? 0 : least + random.below(workers.upperBound - least)
      if !isRouter, random.below(8) == 0 { end = nil }
      let kind: SimulatedFault.Kind
      switch random.below(isRouter ? 3 : 6) {
      case 0: kind = .stall(node: node)
      case 1: kind = .overflow(node: node)
      case 2: kind = isRouter ? .disconnect(node: 0) : .disconnect(node: node)
      case 3: kind = .crash(node: node, isSilent: random.below(2) == 0)
      case 4: kind = .slow(node: node, factor: 1 + 10 * random.unit())
      default:
        var cut = workers.filter { $0 >= least && random.below(2) == 0 }
        if cut.isEmpty { cut = [node] }
        kind = .partition(nodes: cut)
      }
      scenario.faults.append(SimulatedFault(kind, start: start, end: end))
    }
  }
}

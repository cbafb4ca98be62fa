import Decoding
package import InferenceTypes

/// Speed of one generation in one pipeline, beside decoding without drafts.
package enum SpeedTable {
  /// One place in the table.
  package struct Cell: Sendable, Equatable {
    /// Probability that a draft token is right.
    package var acceptance: Double
    package var roundTrip: Duration
    package var times: ComputeTimes

    package init(acceptance: Double, roundTrip: Duration, times: ComputeTimes) {
      self.acceptance = acceptance
      self.roundTrip = roundTrip
      self.times = times
    }
  }

  /// The scenario of a cell: one client, one verifier, one drafter, a network without jitter.
  package static func scenario(
    _ cell: Cell, pipeline: Pipeline, tokenCount: Int, seed: UInt64
  ) -> Scenario {
    var scenario = Scenario(times: cell.times)
    scenario.seed = seed
    scenario.target = ToyTarget(seed: seed)
    scenario.hitRates = [cell.acceptance]
    scenario.network.delay = cell.roundTrip / 2
    scenario.pipeline = pipeline
    scenario.draftLength = bestDraftLength(cell, pipeline: pipeline)
    // As far ahead as the drafter gets.
    scenario.window = 1024
    scenario.nodeLimit = 128
    // Heartbeats tell nothing here.
    scenario.routing.heartbeatInterval = .seconds(60)
    scenario.routing.silenceMax = .seconds(1_000_000)
    var sampling = SamplingParameters()
    sampling.temperature = 0
    scenario.requests = [
      SimulatedRequest(
        time: cell.roundTrip.simulated * 4 + 1_000_000, prompt: [1], sampling: sampling,
        tokenLimit: tokenCount)
    ]
    return scenario
  }

  /// Tokens per forward pass over one token that the simulated generation reaches.
  ///
  /// - Returns: `nil` where a text was not the target's own, which would be a defect.
  package static func speedUp(
    _ cell: Cell, pipeline: Pipeline, tokenCount: Int = 20_000, seed: UInt64 = 1,
    linger: Linger = .worthwhile
  ) -> Double? {
    var scenario = scenario(cell, pipeline: pipeline, tokenCount: tokenCount, seed: seed)
    scenario.linger = linger
    var cluster = SimulatedCluster(scenario)
    cluster.run(until: .max)
    guard cluster.violations.isEmpty, let client = cluster.clients.first,
      let first = client.firstTokenAt, let last = client.endedAt, client.finish == .length,
      last > first
    else { return nil }
    let single = Double(cell.times.pass(1).simulated)
    return Double(tokenCount - 1) * single / Double(last - first)
  }

  /// The best draft length of a pipeline in rounds, by its formula.
  package static func bestDraftLength(_ cell: Cell, pipeline: Pipeline) -> Int {
    (1...64).max {
      predicted(cell, pipeline: pipeline, draftLength: $0)
        < predicted(cell, pipeline: pipeline, draftLength: $1)
    } ?? 1
  }

  /// What the formulas promise, as a speed-up over decoding without drafts.
  ///
  /// With α the acceptance, γ the draft length, R the round trip: vanilla needs
  /// (γ t_d + R + t_v(γ + 1)) for (1 - α^(γ+1)) / (1 - α) tokens; lockstep needs
  /// P_pre max(γ t_d, t_1) + P_post max(γ t_d, t_v(γ)) + R for
  /// (1 - α^γ) / ((1 - α)(1 + α - α^γ)), with P_pre = (1 - α^γ) / (1 - α^γ + α). Streamed: after a
  /// miss the first m tokens come at the target's pace and later ones at the drafter's.
  package static func predicted(
    _ cell: Cell, pipeline: Pipeline, draftLength: Int = 1
  ) -> Double {
    let alpha = min(0.999_999, max(0, cell.acceptance))
    let roundTrip = Double(cell.roundTrip.simulated)
    let draft = Double(cell.times.draft.simulated)
    let single = Double(cell.times.pass(1).simulated)
    let length = Double(draftLength)
    let power = raised(alpha, draftLength)
    switch pipeline {
    case .vanilla:
      let time = length * draft + roundTrip + Double(cell.times.pass(draftLength + 1).simulated)
      return single * (1 - power * alpha) / (1 - alpha) / time
    case .lockstep:
      let pre = (1 - power) / (1 - power + alpha)
      let post = Double(cell.times.pass(draftLength).simulated)
      let time =
        pre * max(length * draft, single) + (1 - pre) * max(length * draft, post) + roundTrip
      return single * (1 - power) / ((1 - alpha) * (1 + alpha - power)) / time
    case .streamed:
      guard single > draft else { return 1 }
      let size = max(1, min(single / draft, 1 / (1 - alpha)))
      let below = Double(cell.times.pass(Int(size)).simulated)
      let above = Double(cell.times.pass(Int(size) + 1).simulated)
      let verify = 1.5 * (below + (above - below) * (size - size.rounded(.down)))
      let m = Int((roundTrip + verify) / (single - draft))
      let late = raised(alpha, m)
      let early = (1 - Double(m + 1) * late + Double(m) * late * alpha) / (1 - alpha)
      let rest = late * (roundTrip + verify + draft * (Double(m) + 1 / (1 - alpha)))
      return single / ((1 - alpha) * (single * early + rest))
    }
  }

  private static func raised(_ base: Double, _ power: Int) -> Double {
    var result = 1.0
    for _ in 0..<max(0, min(power, 100_000)) { result *= base }
    return result
  }
}

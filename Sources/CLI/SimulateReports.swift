import Decoding
import InferenceTypes
import Simulation

/// One line of `slipstream simulate`.
struct SimulatedSpeed: Encodable {
  let acceptance: Double
  let roundTripMs: Double
  let pipeline: String
  let draftLength: Int?
  /// Over decoding without drafts.
  let speedup: Double
  /// By the closed formula.
  let predicted: Double
}

/// What `slipstream simulate --schedules` prints.
struct SimulatedScheduleReport: Encodable {
  let firstSeed: UInt64
  let schedules: Int
  private(set) var requests = 0
  private(set) var complete = 0
  private(set) var failed = 0
  private(set) var tokens = 0
  private(set) var acceptedDrafts = 0
  private(set) var faults = 0
  private(set) var events = 0
  /// Of all traces together, in hexadecimal.
  private(set) var trace = ""
  private(set) var failedSeeds: [UInt64] = []
  private var hash: UInt64 = 0

  private enum CodingKeys: CodingKey {
    case firstSeed, schedules, requests, complete, failed, tokens, acceptedDrafts, faults, events
    case trace, failedSeeds
  }

  init(firstSeed: UInt64, schedules: Int) {
    self.firstSeed = firstSeed
    self.schedules = schedules
  }

  mutating func add(_ outcome: RandomSchedules.Outcome) {
    requests += outcome.requestCount
    complete += outcome.completeCount
    failed += outcome.failedCount
    tokens += outcome.tokenCount
    acceptedDrafts += outcome.acceptedDraftCount
    faults += outcome.faultCount
    events += outcome.eventCount
    hash = (hash &* 0x100_0000_01b3) ^ outcome.traceHash
    trace = String(hash, radix: 16)
    if !outcome.violations.isEmpty { failedSeeds.append(outcome.seed) }
  }

  var table: String {
    """
    schedules        \(schedules), from seed \(firstSeed)
    faults           \(faults)
    events           \(events)
    requests         \(requests): \(complete) whole texts, \(failed) named errors
    tokens           \(tokens), of which \(acceptedDrafts) were drafted
    went wrong       \(failedSeeds.count)
    trace            \(trace)

    """
  }
}

/// What `slipstream simulate --nodes` prints. Times are in milliseconds.
struct SimulatedPlanReport: Encodable {
  struct Row: Encodable {
    let verifiers: Int
    let drafters: Int
    let tokensPerSecond: Double
    let meanLatencyMs: Double
    let ttftMs: [String: Double]
    let tpotMs: [String: Double]
    let verifierUtilisation: Double
    let drafterUtilisation: Double
    let tokensPerPass: Double
    let failedRequests: Int
    let isBest: Bool
  }
  let nodes: Int
  let requestsPerSecond: Double
  let requests: Int
  let promptLength: Int
  let answerLength: Int
  let splits: [Row]

  init(nodes: Int, load: CapacityPlan.Load, rows: [CapacityPlan.Row]) {
    self.nodes = nodes
    requestsPerSecond = load.rate
    requests = load.requestCount
    promptLength = load.promptLength
    answerLength = load.answerLength
    let best = CapacityPlan.best(rows)
    func milliseconds(_ values: CapacityPlan.Percentiles) -> [String: Double] {
      // JSON has no word for what was not measured.
      let all = ["p50": values.p50, "p90": values.p90, "p99": values.p99]
      return all.filter(\.value.isFinite).mapValues { $0 * 1e3 }
    }
    splits = rows.map { row in
      Row(
        verifiers: row.verifierCount, drafters: row.drafterCount,
        tokensPerSecond: row.throughput,
        meanLatencyMs: row.meanLatency.isFinite ? row.meanLatency * 1e3 : -1,
        ttftMs: milliseconds(row.timeToFirstToken), tpotMs: milliseconds(row.timePerToken),
        verifierUtilisation: row.verifierUtilisation, drafterUtilisation: row.drafterUtilisation,
        tokensPerPass: row.tokensPerPass, failedRequests: row.failedCount, isBest: row == best)
    }
  }

  var table: String {
    var text =
      "\(nodes) workers, \(rounded(requestsPerSecond)) requests/s, prompts of \(promptLength) and "
      + "answers of \(answerLength) tokens\n\n" + padded("verify", 8) + padded("draft", 8)
      + padded("tokens/s", 11) + padded("TTFT ms p50/p90/p99", 28)
      + padded("ms/token p50/p90/p99", 24) + padded("per pass", 10) + padded("busy v/d", 13)
      + "failed\n"
    for row in splits {
      func triple(_ values: [String: Double]) -> String {
        ["p50", "p90", "p99"].map { values[$0].map { rounded($0) } ?? "-" }.joined(separator: "/")
      }
      text +=
        padded("\(row.verifiers)", 8) + padded("\(row.drafters)", 8)
        + padded(rounded(row.tokensPerSecond), 11) + padded(triple(row.ttftMs), 28)
        + padded(triple(row.tpotMs), 24) + padded(rounded(row.tokensPerPass), 10)
        + padded(
          "\(rounded(row.verifierUtilisation))/\(rounded(row.drafterUtilisation))", 13)
        + "\(row.failedRequests)" + (row.isBest ? "  best" : "") + "\n"
    }
    return text
  }

  var plot: Plot {
    func curve(_ name: String, _ value: (Row) -> Double?) -> Plot.Curve {
      Plot.Curve(
        name: name, points: splits.map { (Double($0.verifiers), value($0) ?? .nan) })
    }
    return Plot(
      title: "\(nodes) workers, \(rounded(requestsPerSecond)) requests/s",
      xLabel: "verifiers (the others draft)",
      panels: [
        Plot.Panel(label: "tokens/s", curves: [curve("throughput") { $0.tokensPerSecond }]),
        Plot.Panel(
          label: "ms to first token",
          curves: [curve("median") { $0.ttftMs["p50"] }, curve("p99") { $0.ttftMs["p99"] }]),
        Plot.Panel(
          label: "ms per token",
          curves: [curve("median") { $0.tpotMs["p50"] }, curve("p99") { $0.tpotMs["p99"] }]),
        Plot.Panel(
          label: "share of time",
          curves: [
            curve("verifiers busy") { $0.verifierUtilisation },
            curve("drafters busy") { $0.drafterUtilisation },
          ]),
      ])
  }
}

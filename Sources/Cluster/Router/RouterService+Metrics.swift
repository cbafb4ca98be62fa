import Decoding
import InferenceTypes
import Wire

/// What became of the requests so far.
struct RequestCounts: Sendable {
  /// Why a request ended; a closed set, for a label.
  enum Outcome: String, CaseIterable {
    case stop
    case length
    case cancelled
    /// Ended by an error on the way.
    case failed
    /// Never begun.
    case refused

    init(_ reason: FinishReason) {
      self =
        switch reason {
        case .stop: .stop
        case .length: .length
        case .cancelled: .cancelled
        }
    }
  }

  private(set) var outcomes: [Outcome: Int] = [:]
  private(set) var promptCount = 0
  private(set) var completionCount = 0

  mutating func ended(_ summary: GenerationSummary) {
    outcomes[Outcome(summary.finishReason), default: 0] += 1
    promptCount += summary.promptTokenCount
    completionCount += summary.completionTokenCount
  }

  mutating func ended(_ outcome: Outcome) { outcomes[outcome, default: 0] += 1 }
}

extension RouterService {
  /// Keeps what a worker tells of itself; what a stranger tells is not kept, nor what is not of the
  /// worker's role.
  func note(_ totals: WorkerTotals?, from number: Int) {
    switch (machine.registration(of: number)?.role, totals) {
    case (.verifier?, .verifier?), (.drafter?, .drafter?): peers[number]?.totals = totals
    default: break
    }
  }

  /// What there is to measure, of this router and, as far as they told, of its workers.
  package func metrics() async -> [MetricFamily] {
    typealias Label = MetricFamily.Label
    var requests = MetricFamily(
      "slipstream_router_requests_total", .counter, "Generations that ended, by outcome.")
    for outcome in RequestCounts.Outcome.allCases {
      requests.add(
        Double(requestCounts.outcomes[outcome] ?? 0), Label("outcome", outcome.rawValue))
    }
    var prompts = MetricFamily(
      "slipstream_router_prompt_tokens_total", .counter,
      "Prompt tokens of the generations that ended.")
    prompts.add(Double(requestCounts.promptCount))
    var completions = MetricFamily(
      "slipstream_router_completion_tokens_total", .counter,
      "Generated tokens of the generations that ended, as clients were told.")
    completions.add(Double(requestCounts.completionCount))
    var sessions = MetricFamily(
      "slipstream_router_sessions", .gauge, "Generations that have not ended.")
    sessions.add(Double(machine.sessionCount))
    var queued = MetricFamily(
      "slipstream_router_queued_sessions", .gauge,
      "New generations that wait for a slot at a verifier.")
    queued.add(Double(machine.queuedCount))
    var workers = MetricFamily(
      "slipstream_router_workers", .gauge, "Workers that take new sessions, by role.")
    for role in [WorkerRegistration.Role.verifier, .drafter] {
      workers.add(Double(machine.workerCount(role)), Label("role", "\(role)"))
    }
    var dropped = MetricFamily(
      "slipstream_router_dropped_frames_total", .counter,
      "Frames and events that were dropped, by reason.")
    for fault in FrameFault.allCases {
      dropped.add(Double(faultCounts[fault] ?? 0), Label("reason", fault.rawValue))
    }
    var told = WorkerMetrics()
    for (number, entry) in peers.entries.sorted(by: { $0.key < $1.key }) {
      guard let totals = entry.totals, let worker = machine.registration(of: number) else {
        continue
      }
      told.add(totals, of: worker.name)
    }
    return [requests, prompts, completions, sessions, queued, workers, dropped] + told.families
  }
}

import Decoding
import InferenceTypes
import Wire

/// What the workers told, as metrics with the name of the worker.
struct WorkerMetrics {
  private typealias Label = MetricFamily.Label

  private var steps = MetricFamily(
    "slipstream_verifier_steps_total", .counter, "Forward passes of the target model.")
  private var sessions = MetricFamily(
    "slipstream_verifier_step_sessions_total", .counter,
    "Sessions that decoded in the forward passes, added up.")
  private var promptTokens = MetricFamily(
    "slipstream_verifier_prompt_tokens_total", .counter, "Prompt tokens computed.")
  private var planned = MetricFamily(
    "slipstream_verifier_planned_draft_tokens_total", .counter,
    "Draft tokens that the planner put into forward passes.")
  private var expectedTokens = MetricFamily(
    "slipstream_verifier_expected_tokens_total", .counter,
    "Tokens that the planner expected of the forward passes.")
  private var tokens = MetricFamily(
    "slipstream_verifier_tokens_total", .counter, "Tokens that were decided.")
  private var expectedTime = MetricFamily(
    "slipstream_verifier_expected_pass_seconds_total", .counter,
    "Time that the planner expected of the forward passes.")
  private var time = MetricFamily(
    "slipstream_verifier_pass_seconds_total", .counter, "Time of the forward passes.")
  private var overhead = MetricFamily(
    "slipstream_verifier_overhead_seconds_total", .counter,
    "Time of planning and of conclusions.")
  private var waits = MetricFamily(
    "slipstream_verifier_waits_total", .counter,
    "Times that a step waited for drafts on their way.")
  private var waitTime = MetricFamily(
    "slipstream_verifier_wait_seconds_total", .counter, "Time of these waits.")
  private var drafted = MetricFamily(
    "slipstream_verifier_drafted_tokens_total", .counter,
    "Draft tokens that were verified, by source.")
  private var accepted = MetricFamily(
    "slipstream_verifier_accepted_tokens_total", .counter,
    "Verified draft tokens that were right, by source.")
  private var waiting = MetricFamily(
    "slipstream_verifier_waiting_sessions", .gauge,
    "Sessions that wait for memory of the KV cache.")
  private var passTime = MetricFamily(
    "slipstream_verifier_pass_seconds", .gauge,
    "Time of a forward pass over so many tokens, as the planner sees it now.")
  private var passes = MetricFamily(
    "slipstream_drafter_passes_total", .counter, "Forward passes of the draft model.")
  private var aborted = MetricFamily(
    "slipstream_drafter_aborted_passes_total", .counter,
    "Forward passes that ended early because truth made them useless.")
  private var resting = MetricFamily(
    "slipstream_drafter_resting_sessions", .gauge,
    "Sessions whose drafts come too late to help.")
  private var draftTime = MetricFamily(
    "slipstream_drafter_token_seconds", .gauge, "Time to draft a token, as measured now.")

  mutating func add(_ totals: WorkerTotals, of name: String) {
    switch totals {
    case .verifier(let totals): add(totals, Label("verifier", name))
    case .drafter(let totals): add(totals, Label("drafter", name))
    }
  }

  private mutating func add(_ totals: VerifierTotals, _ label: Label) {
    steps.add(Double(totals.stepCount), label)
    sessions.add(Double(totals.stepSessionCount), label)
    promptTokens.add(Double(totals.promptTokenCount), label)
    planned.add(Double(totals.plannedCount), label)
    expectedTokens.add(totals.expectedTokenCount, label)
    tokens.add(Double(totals.tokenCount), label)
    expectedTime.add(totals.expectedPassDuration.inSeconds, label)
    time.add(totals.passDuration.inSeconds, label)
    overhead.add(totals.overheadDuration.inSeconds, label)
    waits.add(Double(totals.waitCount), label)
    waitTime.add(totals.waitDuration.inSeconds, label)
    for origin in DraftOrigin.allCases where totals.drafted[origin] > 0 {
      drafted.add(Double(totals.drafted[origin]), label, Label("source", "\(origin)"))
      accepted.add(Double(totals.accepted[origin]), label, Label("source", "\(origin)"))
    }
    waiting.add(Double(totals.waitingSessionCount), label)
    passTime.add(totals.singleDuration.inSeconds, label, Label("tokens", "1"))
    passTime.add(totals.eightDuration.inSeconds, label, Label("tokens", "8"))
  }

  private mutating func add(_ totals: DrafterTotals, _ label: Label) {
    passes.add(Double(totals.passCount), label)
    aborted.add(Double(totals.abortedPassCount), label)
    resting.add(Double(totals.restingSessionCount), label)
    draftTime.add(totals.draftDuration.inSeconds, label)
  }

  var families: [MetricFamily] {
    [
      steps, sessions, promptTokens, planned, expectedTokens, tokens, expectedTime, time, overhead,
      waits, waitTime, drafted, accepted, waiting, passTime, passes, aborted, resting, draftTime,
    ]
  }
}

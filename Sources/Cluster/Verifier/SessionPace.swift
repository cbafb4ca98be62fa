import Decoding
import InferenceTypes

/// When one session of a verifier computes, and when its drafters hear of it.
struct SessionPace {
  /// A step that was computed.
  struct Step {
    var outcome: VerifyOutcome
    var duration: Duration
  }

  /// Waits in a row that ended without a word, after which a drafter is not waited for.
  private static let missMax = 3
  /// A round that takes longer than any shows a drafter that is gone.
  private static let basePatience = Duration.milliseconds(500)
  private static let roundTripMax = Duration.milliseconds(500)

  private var gate: StepGate
  private let step: Duration
  private var missCount = 0
  /// Truth of a step that waits for the meeting.
  private var held: Step?

  /// `step` is the time of one of the target's steps.
  init(_ pipeline: Pipeline, step: Duration) {
    self.step = step
    gate = StepGate(pipeline: pipeline, patience: Self.basePatience)
  }

  var pipeline: Pipeline { gate.pipeline }
  /// When the present wait ends in any case.
  var deadline: Duration? { gate.deadline }

  mutating func drafterCame(at now: Duration, roundTrip: Duration) {
    // The round trip is what the drafter says.
    let roundTrip = min(roundTrip, Self.roundTripMax)
    gate = StepGate(
      pipeline: gate.pipeline, patience: Self.basePatience + roundTrip * 4 + step * 8)
    gate.drafterCame(at: now)
    missCount = 0
  }

  mutating func drafterLeft() { gate.drafterLeft() }

  /// A message of a drafter.
  mutating func received(at now: Duration) {
    if missCount >= Self.missMax { gate.drafterCame(at: now) }
    missCount = 0
    gate.receive()
  }

  func mayStep(at now: Duration) -> Bool { held == nil && gate.mayStep(at: now) }

  mutating func stepBegins(at now: Duration) {
    if let deadline = gate.deadline, now >= deadline {
      missCount += 1
      if missCount == Self.missMax { gate.drafterLeft() }
    }
    gate.stepBegins(at: now)
  }

  /// Keeps the truth of a step until the drafter's round is over.
  ///
  /// - Returns: `false` where it may go down now.
  mutating func holds(_ step: Step, at now: Duration) -> Bool {
    guard !gate.mayPublish(at: now) else { return false }
    held = step
    return true
  }

  /// The truth that waited, where it need not any more.
  mutating func release(at now: Duration) -> Step? {
    guard held != nil, gate.mayPublish(at: now) else { return nil }
    return held.take()
  }

  mutating func published(at now: Duration) { gate.published(at: now) }

  /// Most nodes of a step: a round is verified whole.
  func limit(_ limit: Int, pendingCount: Int) -> Int {
    pipeline == .streamed ? limit : min(limit, pendingCount + 1)
  }

  /// What the planner shall believe that nodes cost.
  func costs(_ costs: VerifyCosts) -> VerifyCosts {
    pipeline == .streamed ? costs : VerifyCosts(relative: [])
  }
}

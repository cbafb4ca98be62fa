package import InferenceTypes

/// The drafter's half of a pipeline: says when to draft, and when the drafts go up.
///
/// A round begins with truth and ends with a message to the verifier. In ``Pipeline/lockstep`` an
/// empty message opens it, so that the verifier begins to compute at the same time.
/// ``Pipeline/streamed`` knows no rounds.
package struct DraftPacer: Sendable, Equatable {
  package let pipeline: Pipeline
  /// Draft tokens of a round.
  package let draftLength: Int
  /// Tokens by which the chain grew in this round.
  private var draftedCount = 0
  private var isRoundOpen = false
  private var held: DraftUpdate?

  /// `draftLength` is at least 1; it means nothing in ``Pipeline/streamed``.
  package init(pipeline: Pipeline, draftLength: Int) {
    precondition(draftLength >= 1, "draft length \(draftLength)")
    self.pipeline = pipeline
    self.draftLength = draftLength
  }

  /// The ``DrafterSession/window`` that the rounds need; `nil` where any will do.
  package var window: Int? {
    switch pipeline {
    case .streamed: nil
    case .lockstep: 2 * draftLength
    case .vanilla: draftLength
    }
  }

  /// Whether the draft model may compute now.
  package var mayDraft: Bool { pipeline == .streamed || isRoundOpen }

  /// Truth has arrived, the first one included: a round begins. Drafts of a round that was not over
  /// are dropped, the verifier did not wait for them.
  ///
  /// - Returns: the message that opens the round, where there is one.
  package mutating func begin(truthCount: Int) -> DraftUpdate? {
    guard pipeline != .streamed else { return nil }
    isRoundOpen = true
    draftedCount = 0
    held = DraftUpdate(anchor: truthCount, nodes: [])
    return pipeline == .lockstep ? DraftUpdate(anchor: truthCount, nodes: []) : nil
  }

  /// Takes what the session drafted.
  ///
  /// - Parameters:
  ///   - update: of one forward pass.
  ///   - growth: tokens by which it extended the chain, 0 or 1.
  /// - Returns: what to send now.
  package mutating func add(_ update: DraftUpdate, growth: Int) -> DraftUpdate? {
    guard pipeline != .streamed else { return update.nodes.isEmpty ? nil : update }
    guard isRoundOpen else { return nil }
    held?.nodes += update.nodes
    draftedCount += growth
    return draftedCount >= draftLength ? close() : nil
  }

  /// The session has nothing to draft: the round ends with what there is.
  package mutating func close() -> DraftUpdate? {
    guard isRoundOpen else { return nil }
    isRoundOpen = false
    defer { held = nil }
    return held
  }
}

/// The verifier's half of a pipeline: says when to compute, and when the truth goes down.
///
/// | state | ``Pipeline/vanilla`` | ``Pipeline/lockstep`` |
/// |---|---|---|
/// | waiting | a message of drafts makes it ready | the opening message makes it ready |
/// | ready | the step may begin | the step may begin |
/// | meeting | | the round's drafts make it ready to publish |
///
/// Nobody waits longer than ``patience``, and not at all without a drafter. A message that comes
/// late counts for the wrong round, which costs time and nothing else.
package struct StepGate: Sendable, Equatable {
  private enum State: Sendable, Equatable {
    case waiting
    case ready
    case met
  }

  package let pipeline: Pipeline
  /// Longest wait for the drafter.
  package let patience: Duration
  private var state = State.waiting
  private var hasDrafter = false
  private var since = Duration.zero

  package init(pipeline: Pipeline, patience: Duration) {
    self.pipeline = pipeline
    self.patience = patience
  }

  /// When the present wait ends in any case; `nil` where there is none.
  package var deadline: Duration? {
    hasDrafter && pipeline != .streamed ? since + patience : nil
  }

  package mutating func drafterCame(at now: Duration) {
    hasDrafter = true
    state = .waiting
    since = now
  }

  package mutating func drafterLeft() { hasDrafter = false }

  /// A message of the drafter, with nodes or without.
  package mutating func receive() { state = state == .waiting ? .ready : .met }

  package func mayStep(at now: Duration) -> Bool {
    guard let deadline else { return true }
    return state != .waiting || now >= deadline
  }

  /// A step begins: the wait for the meeting counts from here.
  package mutating func stepBegins(at now: Duration) {
    if state == .waiting { state = .met }
    since = now
  }

  /// Whether the truth of the finished step goes down now.
  package func mayPublish(at now: Duration) -> Bool {
    guard pipeline == .lockstep, let deadline else { return true }
    return state == .met || now >= deadline
  }

  /// The truth went down.
  package mutating func published(at now: Duration) {
    state = .waiting
    since = now
  }
}

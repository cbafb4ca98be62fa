import InferenceTypes

/// The router's decisions: which workers there are, who runs which session, and what happens when
/// one of them fails.
///
/// A session is waiting (for a slot at a verifier), running (at one verifier, with at most one
/// drafter) or stopping (its text is complete, the verifier was told, its counters are awaited).
///
/// | event | waiting | running | stopping |
/// |---|---|---|---|
/// | tokens of its verifier | dropped | delivered | dropped |
/// | ending of its verifier | dropped | finished | finished |
/// | verifier lost or failed | waits on | waiting | finished |
/// | deadline | failed | waiting, if silent for too long | finished |
/// | cancelled | finished | finished | finished |
///
/// Three sorts of bad input. Our bug traps: a session id that is used twice. A peer's fault takes
/// the session away from it: a gap in the tokens, a token outside the vocabulary, more tokens than
/// asked for. Legitimately ignored: tokens that are known already, and whatever comes from a worker
/// that does not own the session, which is told to cancel it.
///
/// Time is the time since any fixed moment. ``Event/tick`` is due at least once per heartbeat
/// interval.
package struct RouterMachine: Sendable, Equatable {
  package struct Configuration: Sendable, Equatable {
    /// A worker is suspect, and gets nothing new, when one heartbeat is late by half an interval;
    /// it is lost when three are.
    package var heartbeatInterval = Duration.milliseconds(200)
    /// New requests that wait for a slot; more are refused.
    package var queueCountMax = 64
    package var workerCountMax = 1024
    /// How long a session that lost its verifier waits for another, and how long new requests wait
    /// for a verifier to come back.
    package var recoveryMax = Duration.seconds(10)
    /// Verifiers that a session may lose without a token in between, if that takes longer than
    /// ``recoveryMax``.
    package var lossCountMax = 4
    /// How long a verifier that failed a session is not asked again for the same session.
    package var retryDelay = Duration.milliseconds(250)
    /// How long the answer to a cancel is waited for before the worker may have the session again.
    package var closingMax = Duration.seconds(2)
    /// How long the counters of a stopped session are waited for.
    package var stoppingMax = Duration.seconds(1)
    /// A running session that is silent for longer is taken away from its verifier. A verifier gives a
    /// sign of life of each session about once a second, unless a single pass takes longer.
    package var silenceMax = Duration.seconds(300)
    /// The same, once messages may have been lost.
    package var silenceAfterLossMax = Duration.seconds(5)

    /// How long ago a session spoke last that may be silent for ``silenceAfterLossMax`` yet.
    var silenceSpent: Duration { silenceMax - silenceAfterLossMax }

    package init() {}
  }

  let configuration: Configuration
  let expected: ExpectedModel
  /// By peer.
  var workers: [Int: RoutedWorker] = [:]
  var sessions: [SessionID: RoutedSession] = [:]
  /// Sessions that had a verifier and lost it, in the order of the loss; they go first.
  var orphans: [SessionID] = []
  /// New sessions, in the order of their arrival.
  var queue: [SessionID] = []
  package private(set) var isDraining = false
  /// When a verifier was last lost or began to drain.
  var verifierLostAt: Duration?
  /// Whether a session may have found a place since the last look.
  var needsPlacement = false
  private var lastTick: Duration?
  private var orderCount = 0

  package init(configuration: Configuration, expected: ExpectedModel) {
    self.configuration = configuration
    self.expected = expected
  }

  /// Sessions that have not ended.
  package var sessionCount: Int { sessions.count }
  /// New sessions that wait for a slot at a verifier.
  package var queuedCount: Int { queue.count }
  /// Sessions that wait for a slot, those that lost their verifier included.
  package var waitingCount: Int { orphans.count + queue.count }

  /// Registered workers that take new sessions.
  package func workerCount(_ role: WorkerRegistration.Role) -> Int {
    workers.values.count { $0.registration.role == role && !$0.isDraining }
  }

  /// Sessions that take a slot at `peer`.
  package func sessionCount(at peer: Int) -> Int { workers[peer]?.sessions.count ?? 0 }

  package func registration(of peer: Int) -> WorkerRegistration? { workers[peer]?.registration }

  /// - Parameters:
  ///   - event: what happened.
  ///   - now: never earlier than in the call before.
  ///   - effects: what is to be done about it is appended, in this order.
  package mutating func handle(
    _ event: Event, at now: Duration, into effects: inout [Effect]
  ) {
    switch event {
    case .registered(let peer, let registration):
      register(peer, registration, at: now, into: &effects)
    case .heartbeat(let peer, let isDraining):
      guard hear(peer, at: now, into: &effects) else { return }
      markDraining(peer, isDraining, at: now)
    case .left(let peer):
      remove(peer, at: now, into: &effects)
    case .tokens(
      let peer, let session, let firstIndex, let tokens, let ending, let mirostatLimit):
      guard hear(peer, at: now, into: &effects) else { return }
      receive(
        tokens, firstIndex: firstIndex, ending, mirostatLimit, of: session, from: peer, at: now,
        into: &effects)
    case .failed(let peer, let session, let isRetryable, let message):
      guard hear(peer, at: now, into: &effects) else { return }
      workerFailed(
        peer, session, isRetryable: isRetryable, .workerFailed(message), at: now, into: &effects)
    case .refused(let peer, let session, let message):
      guard hear(peer, at: now, into: &effects) else { return }
      workerFailed(
        peer, session, isRetryable: false, .refused(message), at: now, into: &effects)
    case .requested(let session, let request):
      admit(session, request, at: now, into: &effects)
    case .stopped(let session):
      stop(session, at: now, into: &effects)
    case .cancelled(let session):
      cancel(session, at: now, into: &effects)
    case .messagesLost:
      expectSilence(at: now)
    case .drain:
      drain(into: &effects)
    case .tick:
      tick(at: now, into: &effects)
    }
    guard needsPlacement else { return }
    needsPlacement = false
    placeWaiting(at: now, into: &effects)
    assignDrafters(at: now, into: &effects)
  }

  private mutating func tick(at now: Duration, into effects: inout [Effect]) {
    // A router that did not run cannot tell who was silent.
    let overslept = lastTick.map { now - $0 - configuration.heartbeatInterval } ?? .zero
    lastTick = now
    removeSilent(overslept: overslept, at: now, into: &effects)
    expireSessions(at: now, into: &effects)
    needsPlacement = true
  }

  private mutating func drain(into effects: inout [Effect]) {
    isDraining = true
    for id in queue { end(id, .fail(id, .draining), into: &effects) }
  }

  mutating func nextOrder() -> Int {
    orderCount += 1
    return orderCount
  }
}

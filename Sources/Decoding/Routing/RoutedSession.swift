import InferenceTypes

/// The journal of one generation: enough to go on at any verifier.
struct RoutedSession: Sendable, Equatable {
  enum Phase: Sendable, Equatable {
    case waiting
    case running(verifier: Int)
    case stopping(verifier: Int, until: Duration)
  }

  let request: RoutedRequest
  /// Rises with every session.
  let order: Int
  var decided: [TokenID] = []
  /// Of Mirostat, behind `decided`.
  var mirostatLimit: Double?
  var phase = Phase.waiting
  var drafter: Int?
  /// A drafter was refused for good: a collaboration has begun without one, and would refuse others.
  var isClosedToDraftModels = false
  /// When the present wait began, where the session had a verifier before.
  var orphanedAt: Duration?
  /// When the first verifier since the last token was lost.
  var lostAt: Duration?
  /// Verifiers lost since the last token.
  var lossCount = 0
  /// What the client is told where no other verifier takes over.
  var failure = RouteFailure.noVerifier
  /// Workers that failed in this session, and until when they are not asked again.
  var avoided: [WorkerIncarnation: Duration] = [:]
  /// Verifiers that were sent the session and have not said that they ended it.
  var holders: Set<WorkerIncarnation> = []
  /// Of everything but the present attempt.
  var totals = RoutedTotals()
  var attempt = Attempt()

  init(request: RoutedRequest, order: Int) {
    self.request = request
    self.order = order
  }

  var verifier: Int? {
    switch phase {
    case .waiting: nil
    case .running(let verifier), .stopping(let verifier, _): verifier
    }
  }

  /// A collaboration that may still begin with a draft model: none joins once there is text.
  var awaitsDraftModel: Bool {
    guard case .running = phase else { return false }
    return request.collaboration != nil && drafter == nil && !isClosedToDraftModels
      && !attempt.hasText && decided.isEmpty
  }
}

/// What the router itself sees of a session at one verifier; stands in for counters that a lost
/// verifier never sent.
struct Attempt: Sendable, Equatable {
  private var openedAt = Duration.zero
  private var firstTokenAt: Duration?
  private var lastTokenAt = Duration.zero
  private var messageCount = 0
  private(set) var silentSince = Duration.zero

  init() {}

  /// Whether the verifier has sent tokens.
  var hasText: Bool { firstTokenAt != nil }

  init(openedAt: Duration) {
    self.openedAt = openedAt
    silentSince = openedAt
  }

  /// The verifier says that the session lives: it reads its prompt, or waits for memory.
  mutating func hearSign(at now: Duration) { silentSince = now }

  /// A message with tokens, or the last one.
  mutating func hear(at now: Duration) {
    if firstTokenAt == nil { firstTokenAt = now }
    lastTokenAt = now
    messageCount += 1
    silentSince = now
  }

  /// Counts the silence as if it had begun at `moment`, or earlier.
  mutating func backdateSilence(to moment: Duration) { silentSince = min(silentSince, moment) }

  /// Every message of tokens is taken for one forward pass, but the first, which ends the prompt.
  var totals: RoutedTotals {
    var totals = RoutedTotals()
    guard let firstTokenAt else { return totals }
    totals.promptDuration = firstTokenAt - openedAt
    totals.decodeDuration = lastTokenAt - firstTokenAt
    totals.verifyStepCount = messageCount - 1
    return totals
  }
}

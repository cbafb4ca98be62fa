import Decoding
import InferenceTypes

/// A router machine, a clock, and what it has asked for.
struct RouterBench {
  static let model = ExpectedModel(
    modelFingerprint: [1], tokenizerFingerprint: [2], vocabularyCount: 100, contextLength: 64)

  var machine: RouterMachine
  var now = Duration.seconds(1)
  /// Of the last event.
  private(set) var effects: [RouterMachine.Effect] = []

  init(_ configuration: RouterMachine.Configuration = RouterMachine.Configuration()) {
    machine = RouterMachine(configuration: configuration, expected: Self.model)
  }

  @discardableResult
  mutating func handle(_ event: RouterMachine.Event) -> [RouterMachine.Effect] {
    effects.removeAll()
    machine.handle(event, at: now, into: &effects)
    return effects
  }

  /// Advances time in ticks; the peers in `alive` send heartbeats in between.
  @discardableResult
  mutating func advance(
    _ duration: Duration, alive: [Int] = []
  ) -> [RouterMachine.Effect] {
    var all: [RouterMachine.Effect] = []
    let end = now + duration
    while now < end {
      now = min(end, now + .milliseconds(50))
      for peer in alive { all += handle(.heartbeat(peer: peer, isDraining: false)) }
      all += handle(.tick)
    }
    return all
  }

  /// Registers under the name of its number.
  @discardableResult
  mutating func register(
    _ peer: Int, _ role: WorkerRegistration.Role = .verifier, name: String? = nil,
    epoch: UInt64? = nil, slots: Int = 1
  ) -> [RouterMachine.Effect] {
    handle(
      .registered(
        peer: peer, Self.registration(peer, role, name: name, epoch: epoch, slots: slots)))
  }

  static func registration(
    _ peer: Int, _ role: WorkerRegistration.Role, name: String? = nil, epoch: UInt64? = nil,
    slots: Int = 1
  ) -> WorkerRegistration {
    var registration = WorkerRegistration(
      role: role, name: name ?? "w\(peer)", epoch: epoch ?? UInt64(peer), modelFingerprint: [1],
      tokenizerFingerprint: [2], vocabularyCount: 100, contextLength: 64, slotCount: slots)
    if role == .verifier { registration.endpoint = "tcp://w\(peer):1" }
    return registration
  }

  static func request(limit: Int = 8) -> RoutedRequest {
    RoutedRequest(prompt: [5, 6], sampling: SamplingParameters(), tokenLimit: limit)
  }

  @discardableResult
  mutating func request(_ id: SessionID, limit: Int = 8) -> [RouterMachine.Effect] {
    handle(.requested(id, Self.request(limit: limit)))
  }

  @discardableResult
  mutating func tokens(
    from peer: Int, _ id: SessionID, _ firstIndex: Int, _ tokens: [TokenID],
    ending: FinishReason? = nil
  ) -> [RouterMachine.Effect] {
    handle(
      .tokens(
        peer: peer, session: id, firstIndex: firstIndex, tokens,
        ending: ending.map { RoutedEnding(reason: $0, totals: RoutedTotals()) }))
  }

  @discardableResult
  mutating func fail(
    from peer: Int, _ id: SessionID, isRetryable: Bool = true
  ) -> [RouterMachine.Effect] {
    handle(.failed(peer: peer, session: id, isRetryable: isRetryable, message: "no"))
  }
}

extension SessionID {
  static let a = SessionID(rawValue: 1)
  static let b = SessionID(rawValue: 2)
  static let c = SessionID(rawValue: 3)
  static let d = SessionID(rawValue: 4)
}

extension RouterMachine.Effect {
  static func open(
    _ verifier: Int, _ id: SessionID, limit: Int = 8, decided: [TokenID] = []
  ) -> RouterMachine.Effect {
    .openSession(verifier: verifier, id, RouterBench.request(limit: limit), decided: decided)
  }

  static func announce(_ drafter: Int, to verifier: Int, _ id: SessionID) -> RouterMachine.Effect {
    .announceDrafter(
      verifier: verifier, id, drafterName: "w\(drafter)", drafterEpoch: UInt64(drafter))
  }

  static func assign(_ drafter: Int, at verifier: Int, _ id: SessionID) -> RouterMachine.Effect {
    .assignDraft(
      drafter: drafter, id, verifierEndpoint: "tcp://w\(verifier):1",
      verifierName: "w\(verifier)", verifierEpoch: UInt64(verifier))
  }
}

import Decoding
import Engine
import InferenceTypes
import Logging
import Tokenizer
import Transport
import Wire

/// The collaborations of one verifier, on the thread of its target model beside the exact sessions.
final class CollaborationHost {
  /// Sends for the host.
  struct Outlets: Sendable {
    var sendToRouter: @Sendable (Envelope) -> Void
    var sendToPeer: @Sendable (PeerID, Envelope) -> Void
  }

  private let engine: InferenceEngine
  private let costs: MeasuredCosts
  private let tokenizer: BytePairTokenizer?
  private let activeCount: ActiveCount
  private let traffic: DraftTraffic
  private let outlets: Outlets
  private let signInterval: Duration
  private let logger: Logger
  private let clock = ContinuousClock()
  private var sessions: [HostedCollaboration] = []
  private var turn = 0
  /// Whether a session has ended that nobody was told of.
  private var hasEnded = false

  /// Without a tokenizer, which tells where sentences end, every session is refused.
  init(
    engine: InferenceEngine, costs: MeasuredCosts, tokenizer: BytePairTokenizer?,
    activeCount: ActiveCount, traffic: DraftTraffic, outlets: Outlets, signInterval: Duration,
    logger: Logger
  ) {
    self.engine = engine
    self.costs = costs
    self.tokenizer = tokenizer
    self.activeCount = activeCount
    self.traffic = traffic
    self.outlets = outlets
    self.signInterval = signInterval
    self.logger = logger
  }

  var count: Int { sessions.count }
  /// Sessions that have something to compute here.
  var workingCount: Int { sessions.count { $0.hasWork } }
  /// Whether any session holds memory of the KV cache.
  var isRunning: Bool { sessions.contains { !$0.isWaiting } }
  /// How long nothing has to be done here; `nil` where nothing is waited for.
  var patience: Duration? {
    sessions.compactMap(\.deadline).min().map { max(.milliseconds(1), $0 - clock.now) }
  }

  // MARK: messages; each says whether the session is one of these

  func open(_ id: SessionID, _ request: OpenSession, parameters: CollaborationParameters) {
    guard let tokenizer else {
      return fail(id, .internal, "this verifier was started without a tokenizer")
    }
    do {
      let session = try HostedCollaboration(
        id: id, request: request, parameters: parameters, engine: engine, costs: costs,
        tokenizer: tokenizer)
      sessions.append(session)
      traffic.begin(id)
      activeCount.store(sessions.count)
      publish(session)
    } catch {
      let code: RefusalCode
      if case .promptTooLong = error { code = .promptTooLong } else { code = .invalidMessage }
      fail(id, code, "\(error)")
    }
  }

  /// Forgets a session that is opened anew.
  func forget(_ id: SessionID) { if let session = session(id) { remove(session) } }

  func cancel(_ id: SessionID) -> Bool {
    guard let session = session(id) else { return false }
    end(session, reason: .cancelled)
    return true
  }

  func assigned(_ id: SessionID, _ drafter: DraftAssigned) -> Bool {
    guard let session = session(id) else { return false }
    session.assigned.append(drafter)
    return true
  }

  /// `register` is what the peer, which is known, said of itself.
  func attach(
    _ peer: PeerID, _ register: Register, _ id: SessionID, _ message: AttachDraft
  ) -> Bool {
    guard let session = session(id) else { return false }
    func refuse(_ code: RefusalCode, _ text: String) {
      let refusal = Refusal(code: code, message: text)
      outlets.sendToPeer(peer, Envelope(session: id, message: .attachReply(.refused(refusal))))
    }
    let drafter = DraftAssigned(
      drafterName: message.drafterName, drafterEpoch: message.drafterEpoch)
    guard session.assigned.contains(drafter) else {
      refuse(.notAssigned, "the router has not assigned this drafter to the session")
      return true
    }
    guard session.wantsDrafter else {
      refuse(.unexpectedMessage, "this collaboration has begun, and takes no other drafter")
      return true
    }
    var acceptance = AttachAcceptance(
      sampling: session.sampling, promptLength: session.promptCount, truthLength: 0)
    var parameters = session.parameters
    parameters.catchUpLag = nil
    acceptance.collaboration = parameters
    outlets.sendToPeer(peer, Envelope(session: id, message: .attachReply(.accepted(acceptance))))
    session.attach(
      peer, contextLength: register.contextLength, draftDuration: register.draftDuration)
    publish(session)
    return true
  }

  func receive(_ peer: PeerID, _ id: SessionID, _ answer: CollaborateAnswer) {
    guard let session = session(id), session.peer == peer else { return }
    if let fault = session.receive(answer) { lose(session, because: fault) }
    publish(session)
  }

  func endDraft(_ peer: PeerID, _ id: SessionID) -> Bool {
    guard let session = session(id) else { return false }
    if session.peer == peer { lose(session, because: "the drafter left the session") }
    publish(session)
    return true
  }

  func unlink(_ peer: PeerID) {
    for session in sessions where session.peer == peer {
      lose(session, because: "the connection to the drafter ended")
      publish(session)
    }
  }

  func reset() {
    for session in sessions {
      finishLink(session)
      traffic.end(session.id)
    }
    sessions.removeAll()
    activeCount.store(0)
  }

  // MARK: work

  /// One pass of one session; gives up drafters whose time is over.
  ///
  /// - Parameter othersRun: whether exact sessions hold memory that they may give back.
  /// - Returns: whether a session has ended since the last call, and its memory is free.
  func advance(othersRun: Bool) -> Bool {
    let now = clock.now
    for session in sessions where session.deadline.map({ $0 <= now }) ?? false {
      logger.info("drafter is silent", metadata: ["session.id": "\(session.id)"])
      session.expire(at: now)
      publish(session)
    }
    for _ in sessions.indices {
      turn = (turn + 1) % sessions.count
      let session = sessions[turn]
      guard session.hasWork else { continue }
      step(session, othersRun: othersRun)
      break
    }
    for session in sessions where session.life.isDue(at: clock.now, interval: signInterval) {
      let message = SessionTokens(firstIndex: session.generatedCount, tokens: [])
      outlets.sendToRouter(Envelope(session: session.id, message: .sessionTokens(message)))
    }
    defer { hasEnded = false }
    return hasEnded
  }

  /// Memory is free again.
  func wake() { for session in sessions { session.isWaiting = false } }

  private func step(_ session: HostedCollaboration, othersRun: Bool) {
    do {
      try session.advance()
      publish(session)
    } catch EngineError.keyValueMemoryFull where othersRun || isAnotherRunning(session) {
      logger.info(
        "session waits for memory of the KV cache",
        metadata: ["session.id": "\(session.id)"])
      session.releaseCache()
      session.isWaiting = true
    } catch {
      logger.error(
        "session failed", metadata: ["session.id": "\(session.id)", "error": "\(error)"])
      fail(session.id, .internal, "\(error)")
      finishLink(session)
      remove(session)
    }
  }

  private func isAnotherRunning(_ session: HostedCollaboration) -> Bool {
    sessions.contains { $0 !== session && !$0.isWaiting }
  }

  private func lose(_ session: HostedCollaboration, because reason: String) {
    logger.info(
      "drafter lost, the target goes on alone",
      metadata: ["session.id": "\(session.id)", "reason": "\(reason)"])
    // It may be there still, and is of no more use.
    finishLink(session)
    session.lose()
  }

  /// Sends what a session has to say.
  private func publish(_ session: HostedCollaboration) {
    for ingest in session.takeOutgoing() {
      guard let peer = session.peer else { break }
      outlets.sendToPeer(
        peer, Envelope(session: session.id, message: .collaborateIngest(ingest)))
    }
    if let reason = session.finish {
      end(session, reason: reason)
    } else if !session.fresh.isEmpty {
      let (firstIndex, tokens) = session.takeFresh()
      outlets.sendToRouter(
        Envelope(
          session: session.id,
          message: .sessionTokens(SessionTokens(firstIndex: firstIndex, tokens: tokens))))
      session.life.told(at: clock.now)
    }
  }

  private func end(_ session: HostedCollaboration, reason: FinishReason) {
    finishLink(session)
    let (firstIndex, tokens) = session.takeFresh()
    var statistics = session.statistics
    traffic.describe(
      session.id, peers: session.peer.map { [$0] } ?? [], in: &statistics)
    let ending = SessionEnding(finishReason: reason, statistics: statistics)
    outlets.sendToRouter(
      Envelope(
        session: session.id,
        message: .sessionTokens(
          SessionTokens(firstIndex: firstIndex, tokens: tokens, ending: ending))))
    remove(session)
  }

  /// Tells the drafter that nothing follows.
  private func finishLink(_ session: HostedCollaboration) {
    guard let peer = session.peer else { return }
    var truth = Truth(from: session.truth.count, tokens: [])
    truth.isFinished = true
    outlets.sendToPeer(peer, Envelope(session: session.id, message: .truth(truth)))
  }

  private func remove(_ session: HostedCollaboration) {
    sessions.removeAll { $0 === session }
    traffic.end(session.id)
    hasEnded = true
    activeCount.store(sessions.count)
    wake()
  }

  private func session(_ id: SessionID) -> HostedCollaboration? {
    sessions.first { $0.id == id }
  }

  private func fail(_ id: SessionID, _ code: RefusalCode, _ message: String) {
    outlets.sendToRouter(
      Envelope(
        session: id,
        message: .sessionFailed(
          Refusal(code: code, message: String(message.prefix(Limits.textBytesMax / 4))))))
  }
}

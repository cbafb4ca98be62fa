import Decoding
import Engine
import InferenceTypes
import Logging
import Transport
import Wire

/// What reaches the thread of the target model.
enum VerifierMail: Sendable {
  case open(SessionID, OpenSession)
  case cancel(SessionID)
  case assigned(SessionID, DraftAssigned)
  case peerRegistered(PeerID, Register)
  case peerGone(PeerID)
  case attach(PeerID, SessionID, AttachDraft)
  case nodes(PeerID, SessionID, Nodes, arrival: ContinuousClock.Instant)
  case endDraft(PeerID, SessionID)
  /// The router forgot all sessions.
  case reset
  case stop
}

/// The sessions of one target model, on the thread that computes. Between two forward passes it
/// takes in whatever has arrived; it never waits long for a drafter.
final class VerifierCore {
  /// A drafter that follows one session.
  private struct Link {
    var number: Int
    var peer: PeerID
    var arrivals = DraftArrivals()
  }

  private struct Entry {
    var id: SessionID
    var target: TargetSession
    var sampling: SamplingParameters
    var allowedOrigins: Set<DraftOrigin>
    var tenant: TenantID?
    /// Drafters that may attach.
    var assigned: [DraftAssigned] = []
    var links: [Link] = []
    var nextLink = 0
    var pace: SessionPace
    /// Gave its memory to older sessions and goes on when one of them has ended.
    var isWaiting = false
  }

  private let engine: InferenceEngine
  private let costs: MeasuredCosts
  /// Most nodes of a session's step.
  private let nodeLimit: Int
  private let slotCount: Int
  private let pipeline: Pipeline
  private let traffic: DraftTraffic
  private let start = ContinuousClock().now
  private let tokenizerFingerprint: Fingerprint
  private let vocabularyCount: Int
  private let mailbox: Mailbox<VerifierMail>
  private let sendToRouter: @Sendable (Envelope) -> Void
  private let sendToPeer: @Sendable (PeerID, Envelope) -> Void
  private let logger: Logger
  private let activeCount: ActiveCount
  private let clock = ContinuousClock()
  private var sources: KeptSources
  private var entries: [Entry] = []
  private var shared: SharedStep
  private var log: StepLog
  private var meter: VerifierMeter
  private var peers: [PeerID: Register] = [:]

  init(
    engine: InferenceEngine, costs: MeasuredCosts, sources: KeptSources,
    configuration: VerifierWorker.Configuration, mailbox: Mailbox<VerifierMail>,
    activeCount: ActiveCount, traffic: DraftTraffic, totals: TotalsBox, logger: Logger,
    sendToRouter: @escaping @Sendable (Envelope) -> Void,
    sendToPeer: @escaping @Sendable (PeerID, Envelope) -> Void
  ) {
    self.engine = engine
    self.costs = costs
    shared = SharedStep(costs: costs, nodeLimit: configuration.nodeLimit)
    log = StepLog(logger: logger)
    meter = VerifierMeter(totals)
    nodeLimit = configuration.nodeLimit
    slotCount = configuration.slotCount
    pipeline = configuration.pipeline
    self.traffic = traffic
    tokenizerFingerprint = configuration.identity.tokenizerFingerprint
    vocabularyCount = engine.model.shape.vocabularyCount
    self.sources = sources
    self.mailbox = mailbox
    self.activeCount = activeCount
    self.logger = logger
    self.sendToRouter = sendToRouter
    self.sendToPeer = sendToPeer
  }

  /// Works until told to stop.
  func run() {
    while true {
      meter.publishIfDue(
        shared, live: entries.map { $0.target.machine.statistics },
        waitingCount: entries.count(where: { $0.isWaiting }))
      let mail = idleTime().map { mailbox.take(timeout: $0) } ?? mailbox.take()
      for message in mail {
        if case .stop = message {
          log.write(shared.statistics)
          return sources.finish()
        }
        handle(message)
      }
      sources.saveIfDue()
      publishHeld()
      guard !entries.isEmpty else { continue }
      advance()
      log.writeIfDue(shared.statistics)
    }
  }

  // MARK: messages

  private func handle(_ mail: VerifierMail) {
    switch mail {
    case .open(let id, let message): open(id, message)
    case .cancel(let id): cancel(id)
    case .assigned(let id, let drafter):
      guard let index = index(of: id) else { return }
      entries[index].assigned.append(drafter)
    case .peerRegistered(let peer, let register): self.register(peer, register)
    case .peerGone(let peer):
      peers[peer] = nil
      for index in entries.indices { unlink(peer, from: index) }
    case .attach(let peer, let id, let message): attach(peer, id, message)
    case .nodes(let peer, let id, let nodes, let arrival):
      receive(peer, id, nodes, arrival: arrival)
    case .endDraft(let peer, let id):
      if let index = index(of: id) { unlink(peer, from: index) }
    case .reset:
      for entry in entries {
        finishLinks(entry)
        traffic.end(entry.id)
        meter.ended(entry.target.machine.statistics)
      }
      entries.removeAll()
      activeCount.store(0)
    case .stop: return
    }
  }

  private func open(_ id: SessionID, _ message: OpenSession) {
    if let old = index(of: id) { remove(old) }
    guard entries.count < slotCount else {
      fail(id, .tooManySessions, "all \(slotCount) sessions of this verifier are in use")
      return
    }
    var configuration = VerifierSession.Configuration(
      prompt: message.prompt, sampling: message.sampling, contextLength: engine.contextLength,
      vocabularyCount: vocabularyCount)
    configuration.decided = message.decided
    configuration.tokenLimit = message.tokenLimit
    configuration.stopTokens = message.endTokens
    configuration.ignoresEndOfSequence = message.ignoresEnd
    do {
      let target = try TargetSession(configuration, engine: engine, sharesPrefixes: true)
      entries.append(
        Entry(
          id: id, target: target, sampling: message.sampling,
          allowedOrigins: message.draftOrigins, tenant: message.tenant,
          pace: SessionPace(message.pipeline ?? pipeline, step: costs.single)))
      traffic.begin(id)
      activeCount.store(entries.count)
      if target.isFinished { finish(entries.count - 1) }
    } catch let error as DecodingError {
      let code: RefusalCode
      if case .promptTooLong = error { code = .promptTooLong } else { code = .invalidMessage }
      fail(id, code, "\(error)")
    } catch {
      fail(id, .internal, "\(error)")
    }
  }

  private func cancel(_ id: SessionID) {
    guard let index = index(of: id) else {
      fail(id, .unknownSession, "no such session here")
      return
    }
    end(index, reason: .cancelled, tokens: [], firstIndex: entries[index].target.generatedCount)
  }

  private func register(_ peer: PeerID, _ register: Register) {
    guard register.tokenizerFingerprint == tokenizerFingerprint,
      register.vocabularyCount == vocabularyCount
    else {
      let refusal = Refusal(
        code: .tokenizersDiffer,
        message: "the drafter's tokenizer differs from the target's: drafts are token ids, so both "
          + "need files with the same vocabulary")
      sendToPeer(peer, Envelope(message: .registered(.refused(refusal))))
      return
    }
    peers[peer] = register
    let epoch = InstanceEpoch(rawValue: 1)
    sendToPeer(
      peer, Envelope(message: .registered(.accepted(heartbeatInterval: .seconds(1), epoch: epoch))))
  }

  private func attach(_ peer: PeerID, _ id: SessionID, _ message: AttachDraft) {
    func refuse(_ code: RefusalCode, _ text: String) {
      let refusal = Refusal(code: code, message: text)
      sendToPeer(peer, Envelope(session: id, message: .attachReply(.refused(refusal))))
    }
    guard let register = peers[peer], register.name == message.drafterName,
      register.epoch == message.drafterEpoch
    else { return refuse(.unexpectedMessage, "register first, under the same name and epoch") }
    guard let index = index(of: id) else { return refuse(.unknownSession, "no such session here") }
    let drafter = DraftAssigned(
      drafterName: message.drafterName, drafterEpoch: message.drafterEpoch)
    guard entries[index].assigned.contains(drafter) else {
      return refuse(.notAssigned, "the router has not assigned this drafter to the session")
    }
    unlink(peer, from: index)
    let truth = entries[index].target.truth
    let known = message.truthLength <= truth.count ? message.truthLength : 0
    var hash = TruthHash()
    hash.absorb(truth[..<known])
    let start = hash.value == message.truthHash ? known : 0
    entries[index].links.append(Link(number: entries[index].nextLink, peer: peer))
    entries[index].nextLink += 1
    entries[index].pace.drafterCame(
      at: time, roundTrip: traffic.roundTrip(of: peer) ?? .zero)
    var acceptance = AttachAcceptance(
      sampling: entries[index].sampling, promptLength: entries[index].target.promptCount,
      truthLength: start)
    acceptance.tenant = entries[index].tenant
    acceptance.pipeline = entries[index].pace.pipeline
    acceptance.relativeVerifyCosts = Array(
      costs.costs.relative.prefix(Limits.verifyCostCountMax))
    acceptance.verifyDuration = costs.single
    sendToPeer(peer, Envelope(session: id, message: .attachReply(.accepted(acceptance))))
    sendTruth(peer, id, from: start, tokens: Array(truth[start...]))
  }

  /// A whole truth may be longer than one message holds.
  private func sendTruth(_ peer: PeerID, _ id: SessionID, from start: Int, tokens: [TokenID]) {
    var first = 0
    while first < tokens.count {
      let last = min(tokens.count, first + Limits.truthTokenCountMax)
      let truth = Truth(from: start + first, tokens: Array(tokens[first..<last]))
      sendToPeer(peer, Envelope(session: id, message: .truth(truth)))
      first = last
    }
  }

  private func receive(
    _ peer: PeerID, _ id: SessionID, _ message: Nodes, arrival: ContinuousClock.Instant
  ) {
    guard let index = index(of: id),
      let link = entries[index].links.firstIndex(where: { $0.peer == peer }),
      entries[index].allowedOrigins.contains(.remote)
    else { return }
    let before = entries[index].target.machine.liveReceptionCount
    // On the wire the anchor is the token continued, here the place guessed.
    entries[index].target.receive(
      message.nodes, anchor: message.anchor + 1, link: entries[index].links[link].number)
    if !message.nodes.isEmpty {
      entries[index].links[link].arrivals.received(
        liveCount: entries[index].target.machine.liveReceptionCount - before, at: arrival - start)
    }
    entries[index].pace.received(at: time)
  }

  private func unlink(_ peer: PeerID, from index: Int) {
    for link in entries[index].links where link.peer == peer {
      entries[index].target.removeLink(link.number)
    }
    entries[index].links.removeAll { $0.peer == peer }
    if entries[index].links.isEmpty { entries[index].pace.drafterLeft() }
  }

  private func index(of id: SessionID) -> Int? { entries.firstIndex { $0.id == id } }

  // MARK: work

  /// One forward pass for all sessions that run, and one for each session that works in rounds with
  /// its drafter and may go on.
  private func advance() {
    for id in entries.filter({ $0.pace.pipeline != .streamed }).map(\.id) {
      if let index = index(of: id) { advanceRound(index) }
    }
    linger()
    // The mail taken while lingering may have ended sessions.
    let running = entries.filter { !$0.isWaiting && $0.pace.pipeline == .streamed }
    guard !running.isEmpty else { return }
    let start = clock.now
    for entry in running {
      if let index = index(of: entry.id) { entries[index].pace.stepBegins(at: time) }
    }
    do throws(ForwardFailure) {
      let members = running.map { SharedStep.Member($0.target, tenant: $0.tenant) }
      let result = try shared.run(members, engine: engine, sources: &sources)
      let duration = clock.now - start
      for (member, outcome) in result.outcomes {
        guard let index = index(of: running[member].id) else { continue }
        publish(outcome, index: index, duration: duration)
      }
    } catch {
      guard let index = index(of: running[error.part].id) else { return }
      stop(index, error.error)
    }
  }

  /// One pass for one session.
  private func advanceRound(_ index: Int) {
    guard !entries[index].isWaiting, mayAdvance(index) else { return }
    let mark = meter.mark(entries[index].target)
    do throws(EngineError) {
      guard !entries[index].target.isPrefilling else {
        let entry = entries[index]
        try sources.use(entry.tenant) { sources throws(EngineError) in
          try entry.target.prefill(engine: engine, sources: &sources)
        }
        meter.countPass(of: entry.target, since: mark, times: shared.times)
        return
      }
      let start = clock.now
      entries[index].pace.stepBegins(at: time)
      let entry = entries[index]
      let limit = entry.pace.limit(nodeLimit, pendingCount: entry.target.pendingCount)
      let outcome = try sources.use(entry.tenant) { sources throws(EngineError) in
        try entry.target.step(
          engine: engine, sources: &sources, costs: entry.pace.costs(costs.costs), limit: limit)
      }
      meter.countPass(of: entry.target, since: mark, times: shared.times)
      publish(outcome, index: index, duration: clock.now - start)
    } catch {
      stop(index, error)
    }
  }

  /// Ends a session whose pass failed, or lets one wait where memory is short.
  private func stop(_ index: Int, _ error: EngineError) {
    // Goes on in a later pass.
    if case .keyValueMemoryFull = error, yield(for: index) { return }
    logger.error(
      "session failed",
      metadata: ["session.id": "\(entries[index].id)", "error": "\(error)"])
    fail(entries[index].id, .internal, "\(error)")
    finishLinks(entries[index])
    remove(index)
  }

  /// The youngest session that runs gives its memory to the others and waits until one has ended;
  /// its keys and values are computed again then.
  ///
  /// - Returns: whether there was one beside the session that wants memory, or it can wait itself.
  private func yield(for index: Int) -> Bool {
    let running = entries.indices.filter { !entries[$0].isWaiting }
    guard running.count > 1, let youngest = running.last else { return false }
    logger.info(
      "session waits for memory of the KV cache",
      metadata: ["session.id": "\(entries[youngest].id)", "wanted.by": "\(entries[index].id)"])
    entries[youngest].target.releaseCache(engine: engine)
    entries[youngest].isWaiting = true
    return true
  }

  private func remove(_ index: Int) {
    let entry = entries.remove(at: index)
    traffic.end(entry.id)
    meter.ended(entry.target.machine.statistics)
    activeCount.store(entries.count)
    for index in entries.indices { entries[index].isWaiting = false }
  }

  /// Waits a quarter of a step at most for drafts of a drafter that is known to be busy: one that
  /// is silent or gone costs nothing.
  private func linger() {
    guard entries.count == 1, let entry = entries.first, !entry.target.isPrefilling,
      entry.target.pendingCount == 0, entry.pace.pipeline == .streamed
    else { return }
    let now = time
    let isExpected = entry.links.contains { link in
      link.arrivals.isExpected(within: costs.single / 4, silence: costs.single * 4, at: now)
    }
    guard isExpected else { return }
    let mail = mailbox.take(timeout: costs.single / 4)
    meter.waited(time - now)
    for message in mail {
      if case .stop = message {
        mailbox.post(.stop)
        continue
      }
      handle(message)
    }
  }

  private func publish(_ outcome: VerifyOutcome, index: Int, duration: Duration) {
    let entry = entries[index]
    let step = SessionPace.Step(outcome: outcome, duration: duration)
    if outcome.finish != nil || !entries[index].pace.holds(step, at: time) {
      sendDown(step, index: index)
    }
    let firstIndex = outcome.fromPosition - entry.target.promptCount
    if let reason = outcome.finish {
      end(index, reason: reason, tokens: outcome.tokens, firstIndex: firstIndex)
    } else {
      sendToRouter(
        Envelope(
          session: entry.id,
          message: .sessionTokens(SessionTokens(firstIndex: firstIndex, tokens: outcome.tokens))))
    }
  }

  /// Tells the drafters what a step decided.
  private func sendDown(_ step: SessionPace.Step, index: Int) {
    entries[index].pace.published(at: time)
    for number in entries[index].links.indices {
      entries[index].links[number].arrivals.published(at: time)
      let link = entries[index].links[number]
      let update = step.outcome.update(forLink: link.number)
      var truth = Truth(
        from: update.fromPosition, tokens: update.tokens, nodeIDs: update.nodeIDs)
      truth.verifyDuration = step.duration
      truth.usedNodeCount = step.outcome.usedNodeCount
      truth.isFinished = step.outcome.finish != nil
      sendToPeer(link.peer, Envelope(session: entries[index].id, message: .truth(truth)))
    }
  }

  /// Sends the truth of steps whose meeting has come.
  private func publishHeld() {
    for index in entries.indices {
      if let step = entries[index].pace.release(at: time) { sendDown(step, index: index) }
    }
  }

  /// Since this verifier began.
  private var time: Duration { clock.now - start }

  private func mayAdvance(_ index: Int) -> Bool {
    entries[index].target.isPrefilling || entries[index].pace.mayStep(at: time)
  }

  /// How long there is nothing to compute unless a message comes; `nil` where there is something.
  private func idleTime() -> Duration? {
    var idle = Duration.seconds(60)
    for index in entries.indices where !entries[index].isWaiting {
      guard !mayAdvance(index) else { return nil }
      let deadline = entries[index].pace.deadline ?? time
      idle = min(idle, max(.microseconds(100), deadline - time))
    }
    return idle
  }

  private func finish(_ index: Int) {
    end(
      index, reason: entries[index].target.finish ?? .length, tokens: [],
      firstIndex: entries[index].target.generatedCount)
  }

  private func end(_ index: Int, reason: FinishReason, tokens: [TokenID], firstIndex: Int) {
    let entry = entries[index]
    var statistics = entry.target.statistics
    traffic.describe(entry.id, peers: entry.links.map(\.peer), in: &statistics)
    remove(index)
    if reason == .cancelled { finishLinks(entry) }
    let ending = SessionEnding(finishReason: reason, statistics: statistics)
    sendToRouter(
      Envelope(
        session: entry.id,
        message: .sessionTokens(
          SessionTokens(firstIndex: firstIndex, tokens: tokens, ending: ending))))
  }

  private func finishLinks(_ entry: Entry) {
    for link in entry.links {
      var truth = Truth(from: entry.target.truth.count, tokens: [])
      truth.isFinished = true
      sendToPeer(link.peer, Envelope(session: entry.id, message: .truth(truth)))
    }
  }

  private func fail(_ id: SessionID, _ code: RefusalCode, _ message: String) {
    sendToRouter(
      Envelope(
        session: id,
        message: .sessionFailed(
          Refusal(code: code, message: String(message.prefix(Limits.textBytesMax / 4))))))
  }
}

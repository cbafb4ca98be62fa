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
  case nodes(PeerID, SessionID, Nodes)
  case answer(PeerID, SessionID, CollaborateAnswer)
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
    var lastNodes: ContinuousClock.Instant?
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
    /// Gave its memory to older sessions and goes on when one of them has ended.
    var isWaiting = false
  }

  private let engine: InferenceEngine
  private let costs: MeasuredCosts
  private let nodeLimit: Int
  private let slotCount: Int
  private let tokenizerFingerprint: Fingerprint
  private let vocabularyCount: Int
  private let mailbox: Mailbox<VerifierMail>
  private let sendToRouter: @Sendable (Envelope) -> Void
  private let sendToPeer: @Sendable (PeerID, Envelope) -> Void
  private let logger: Logger
  private let activeCount: ActiveCount
  private let clock = ContinuousClock()
  /// Texts that two models write together; all others are `entries`.
  private let collaborations: CollaborationHost
  private var sources: KeptSources
  private var entries: [Entry] = []
  private var turn = 0
  private var peers: [PeerID: Register] = [:]

  init(
    engine: InferenceEngine, costs: MeasuredCosts, sources: KeptSources,
    configuration: VerifierWorker.Configuration, mailbox: Mailbox<VerifierMail>,
    activeCount: ActiveCount, collaborationCount: ActiveCount, logger: Logger,
    sendToRouter: @escaping @Sendable (Envelope) -> Void,
    sendToPeer: @escaping @Sendable (PeerID, Envelope) -> Void
  ) {
    self.engine = engine
    self.costs = costs
    nodeLimit = configuration.nodeLimit
    slotCount = configuration.slotCount
    tokenizerFingerprint = configuration.identity.tokenizerFingerprint
    vocabularyCount = engine.model.shape.vocabularyCount
    self.sources = sources
    self.mailbox = mailbox
    self.activeCount = activeCount
    self.logger = logger
    self.sendToRouter = sendToRouter
    self.sendToPeer = sendToPeer
    collaborations = CollaborationHost(
      engine: engine, costs: costs, tokenizer: configuration.tokenizer,
      activeCount: collaborationCount,
      outlets: CollaborationHost.Outlets(sendToRouter: sendToRouter, sendToPeer: sendToPeer),
      logger: logger)
  }

  /// Works until told to stop.
  func run() {
    while true {
      let isIdle = entries.allSatisfy(\.isWaiting) && collaborations.workingCount == 0
      let mail =
        isIdle
        ? mailbox.take(timeout: collaborations.patience ?? .seconds(60)) : mailbox.take()
      for message in mail {
        if case .stop = message { return sources.finish() }
        handle(message)
      }
      sources.saveIfDue()
      if collaborations.advance(othersRun: entries.contains { !$0.isWaiting }) { wakeEntries() }
      guard !entries.isEmpty else { continue }
      turn = turn % entries.count
      advance(turn)
      turn += 1
    }
  }

  // MARK: messages

  private func handle(_ mail: VerifierMail) {
    switch mail {
    case .open(let id, let message): open(id, message)
    case .cancel(let id): cancel(id)
    case .assigned(let id, let drafter):
      if collaborations.assigned(id, drafter) { return }
      guard let index = index(of: id) else { return }
      entries[index].assigned.append(drafter)
    case .peerRegistered(let peer, let register): self.register(peer, register)
    case .peerGone(let peer):
      peers[peer] = nil
      collaborations.unlink(peer)
      for index in entries.indices { unlink(peer, from: index) }
    case .attach(let peer, let id, let message): attach(peer, id, message)
    case .nodes(let peer, let id, let nodes): receive(peer, id, nodes)
    case .answer(let peer, let id, let answer): collaborations.receive(peer, id, answer)
    case .endDraft(let peer, let id):
      if collaborations.endDraft(peer, id) { return }
      if let index = index(of: id) { unlink(peer, from: index) }
    case .reset:
      for entry in entries { finishLinks(entry) }
      entries.removeAll()
      activeCount.store(0)
      collaborations.reset()
    case .stop: return
    }
  }

  private func open(_ id: SessionID, _ message: OpenSession) {
    if let old = index(of: id) { remove(old) }
    collaborations.forget(id)
    guard entries.count + collaborations.count < slotCount else {
      fail(id, .tooManySessions, "all \(slotCount) sessions of this verifier are in use")
      return
    }
    if let parameters = message.collaboration {
      return collaborations.open(id, message, parameters: parameters)
    }
    var configuration = VerifierSession.Configuration(
      prompt: message.prompt, sampling: message.sampling, contextLength: engine.contextLength,
      vocabularyCount: vocabularyCount)
    configuration.decided = message.decided
    configuration.mirostatLimit = message.mirostatLimit
    configuration.tokenLimit = message.tokenLimit
    configuration.stopTokens = message.endTokens
    configuration.ignoresEndOfSequence = message.ignoresEnd
    do {
      let target = try TargetSession(configuration, engine: engine, sharesPrefixes: true)
      entries.append(
        Entry(
          id: id, target: target, sampling: message.sampling,
          allowedOrigins: message.draftOrigins, tenant: message.tenant))
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
    if collaborations.cancel(id) { return wakeEntries() }
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
    if collaborations.attach(peer, register, id, message) { return }
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
    var acceptance = AttachAcceptance(
      sampling: entries[index].sampling, promptLength: entries[index].target.promptCount,
      truthLength: start)
    acceptance.tenant = entries[index].tenant
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

  private func receive(_ peer: PeerID, _ id: SessionID, _ message: Nodes) {
    guard let index = index(of: id),
      let link = entries[index].links.firstIndex(where: { $0.peer == peer }),
      entries[index].allowedOrigins.contains(.remote)
    else { return }
    entries[index].links[link].lastNodes = clock.now
    // On the wire the anchor is the token continued, here the place guessed.
    entries[index].target.receive(
      message.nodes, anchor: message.anchor + 1, link: entries[index].links[link].number)
  }

  private func unlink(_ peer: PeerID, from index: Int) {
    for link in entries[index].links where link.peer == peer {
      entries[index].target.removeLink(link.number)
    }
    entries[index].links.removeAll { $0.peer == peer }
  }

  private func index(of id: SessionID) -> Int? { entries.firstIndex { $0.id == id } }

  // MARK: work

  private func advance(_ index: Int) {
    guard !entries[index].isWaiting else { return }
    do {
      guard !entries[index].target.isPrefilling else {
        let entry = entries[index]
        try sources.use(entry.tenant) { sources throws(EngineError) in
          try entry.target.prefill(engine: engine, sources: &sources)
        }
        return
      }
      linger(for: index)
      // The mail taken while lingering may have ended the session.
      guard index < entries.count, !entries[index].target.isPrefilling else { return }
      let start = clock.now
      let entry = entries[index]
      let outcome = try sources.use(entry.tenant) { sources throws(EngineError) in
        try entry.target.step(
          engine: engine, sources: &sources, costs: costs.costs, limit: nodeLimit)
      }
      publish(outcome, index: index, duration: clock.now - start)
    } catch EngineError.keyValueMemoryFull where yield(for: index) {
      // Goes on in a later turn.
    } catch {
      logger.error(
        "session failed",
        metadata: ["session.id": "\(entries[index].id)", "error": "\(error)"])
      fail(entries[index].id, .internal, "\(error)")
      finishLinks(entries[index])
      remove(index)
    }
  }

  /// The youngest session that runs gives its memory to the others and waits until one has ended;
  /// its keys and values are computed again then.
  ///
  /// - Returns: whether there was one beside the session that wants memory, or it can wait itself.
  private func yield(for index: Int) -> Bool {
    let running = entries.indices.filter { !entries[$0].isWaiting }
    guard running.count > 1 || collaborations.isRunning, let youngest = running.last else {
      return false
    }
    logger.info(
      "session waits for memory of the KV cache",
      metadata: ["session.id": "\(entries[youngest].id)", "wanted.by": "\(entries[index].id)"])
    entries[youngest].target.releaseCache(engine: engine)
    entries[youngest].isWaiting = true
    return true
  }

  @discardableResult
  private func remove(_ index: Int) -> Entry {
    let entry = entries.remove(at: index)
    activeCount.store(entries.count)
    wakeEntries()
    collaborations.wake()
    return entry
  }

  /// Memory of the KV cache is free again.
  private func wakeEntries() {
    for index in entries.indices { entries[index].isWaiting = false }
  }

  /// Waits a quarter of a step at most for drafts of a drafter that is known to be busy: one that
  /// is silent or gone costs nothing.
  private func linger(for index: Int) {
    guard entries.count == 1, entries[index].target.pendingCount == 0 else { return }
    let now = clock.now
    let isExpected = entries[index].links.contains { link in
      link.lastNodes.map { now - $0 < costs.single * 4 } ?? false
    }
    guard isExpected else { return }
    for message in mailbox.take(timeout: costs.single / 4) {
      if case .stop = message {
        mailbox.post(.stop)
        continue
      }
      handle(message)
    }
  }

  private func publish(_ outcome: VerifyOutcome, index: Int, duration: Duration) {
    let entry = entries[index]
    for link in entry.links {
      let update = outcome.update(forLink: link.number)
      var truth = Truth(
        from: update.fromPosition, tokens: update.tokens, nodeIDs: update.nodeIDs)
      truth.verifyDuration = duration
      truth.isFinished = outcome.finish != nil
      sendToPeer(link.peer, Envelope(session: entry.id, message: .truth(truth)))
    }
    let firstIndex = outcome.fromPosition - entry.target.promptCount
    if let reason = outcome.finish {
      end(index, reason: reason, tokens: outcome.tokens, firstIndex: firstIndex)
    } else {
      var message = SessionTokens(firstIndex: firstIndex, tokens: outcome.tokens)
      message.mirostatLimit = entry.target.machine.mirostatLimit
      sendToRouter(Envelope(session: entry.id, message: .sessionTokens(message)))
    }
  }

  private func finish(_ index: Int) {
    end(
      index, reason: entries[index].target.finish ?? .length, tokens: [],
      firstIndex: entries[index].target.generatedCount)
  }

  private func end(_ index: Int, reason: FinishReason, tokens: [TokenID], firstIndex: Int) {
    let entry = remove(index)
    if reason == .cancelled { finishLinks(entry) }
    let ending = SessionEnding(finishReason: reason, statistics: entry.target.statistics)
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

extension TargetSession {
  var truth: [TokenID] { machine.truth }
  var promptCount: Int { machine.promptCount }
  var generatedCount: Int { machine.generatedCount }
  var pendingCount: Int { machine.pendingCount }
  var finish: FinishReason? { machine.finish }

  /// Counters as they travel.
  var statistics: SessionStatistics {
    var statistics = SessionStatistics()
    statistics.promptDuration = promptDuration
    statistics.decodeDuration = decodeDuration
    statistics.cachedTokenCount = cachedCount
    statistics.verifyStepCount = machine.statistics.stepCount
    for origin in DraftOrigin.allCases {
      for depth in 1...DraftStatistics.depthMax {
        statistics.drafted[origin] += machine.statistics.verifiedCount(origin, depth: depth)
        statistics.accepted[origin] += machine.statistics.acceptedCount(origin, depth: depth)
      }
    }
    return statistics
  }
}

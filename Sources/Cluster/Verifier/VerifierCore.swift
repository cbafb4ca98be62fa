import Decoding
import Engine
import InferenceTypes
import Logging
import Transport
import Wire

/// The sessions of one target model, on the thread that computes. Between two forward passes it
/// takes in whatever has arrived; it never waits long for a drafter.
final class VerifierCore {
  /// A drafter that follows one session.
  struct Link {
    var number: Int
    var peer: PeerID
    var arrivals: DraftArrivals
  }

  struct Entry {
    var id: SessionID
    var target: TargetSession
    var sampling: SamplingParameters
    var tenant: TenantID?
    /// Drafters that may attach.
    var assigned: [DraftAssigned] = []
    var links: [Link] = []
    var nextLink = 0
    var pace: SessionPace
    var linger = DraftLinger()
    var patience: DrafterPatience
    /// Where drafts are judged by another rule than equality under shared noise.
    var rules: RuledSession?
    /// Gave its memory to older sessions and goes on when one of them has ended.
    var isWaiting = false
    var life: SignOfLife
  }

  let engine: InferenceEngine
  let costs: MeasuredCosts
  /// Most nodes of a session's step.
  let nodeLimit: Int
  let slotCount: Int
  let pipeline: Pipeline
  let verifyRules: Set<VerifyRule>
  private let signInterval: Duration
  let traffic: DraftTraffic
  let start = ContinuousClock().now
  let tokenizerFingerprint: Fingerprint
  let vocabularyCount: Int
  let mailbox: Mailbox<VerifierMail>
  let sendToRouter: @Sendable (Envelope) -> Void
  let sendToPeer: @Sendable (PeerID, Envelope) -> Void
  let logger: Logger
  let activeCount: ActiveCount
  let clock = ContinuousClock()
  /// Texts that two models write together; all others are `entries`.
  let collaborations: CollaborationHost
  var sources: KeptSources
  var entries: [Entry] = []
  var shared: SharedStep
  private var log: StepLog
  var meter: VerifierMeter
  var peers: [PeerID: Register] = [:]

  init(
    engine: InferenceEngine, costs: MeasuredCosts, sources: KeptSources,
    configuration: VerifierWorker.Configuration, mailbox: Mailbox<VerifierMail>,
    activeCount: ActiveCount, collaborationCount: ActiveCount, traffic: DraftTraffic,
    totals: TotalsBox, logger: Logger, sendToRouter: @escaping @Sendable (Envelope) -> Void,
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
    signInterval = configuration.signInterval
    verifyRules = configuration.verifyRules.union([.gumbelMatch])
    self.traffic = traffic
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
      activeCount: collaborationCount, traffic: traffic,
      outlets: CollaborationHost.Outlets(sendToRouter: sendToRouter, sendToPeer: sendToPeer),
      signInterval: configuration.signInterval, logger: logger)
  }

  /// Works until told to stop.
  func run() {
    while true {
      meter.publishIfDue(
        shared, live: entries.map { $0.target.machine.statistics },
        waitingCount: entries.count { $0.isWaiting })
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
      if collaborations.advance(othersRun: entries.contains { !$0.isWaiting }) { wakeEntries() }
      guard !entries.isEmpty else { continue }
      advance()
      giveSigns()
      log.writeIfDue(shared.statistics)
    }
  }

  // MARK: messages

  func handle(_ mail: VerifierMail) {
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
    case .nodes(let peer, let id, let nodes, let arrival):
      receive(peer, id, nodes, arrival: arrival)
    case .answer(let peer, let id, let answer): collaborations.receive(peer, id, answer)
    case .endDraft(let peer, let id):
      if collaborations.endDraft(peer, id) { return }
      if let index = index(of: id) { unlink(peer, from: index) }
    case .reset:
      for entry in entries {
        finishLinks(entry)
        traffic.end(entry.id)
        meter.ended(entry.target.machine.statistics)
      }
      entries.removeAll()
      activeCount.store(0)
      collaborations.reset()
    case .stop: return
    }
  }

  func index(of id: SessionID) -> Int? { entries.firstIndex { $0.id == id } }

  /// Sessions without new text say that they live.
  private func giveSigns() {
    let now = clock.now
    for index in entries.indices
    where entries[index].life.isDue(at: now, interval: signInterval) {
      let message = SessionTokens(firstIndex: entries[index].target.generatedCount, tokens: [])
      sendToRouter(Envelope(session: entries[index].id, message: .sessionTokens(message)))
    }
  }

  /// Since this verifier began.
  var time: Duration { clock.now - start }

  func mayAdvance(_ index: Int) -> Bool {
    entries[index].target.isPrefilling || entries[index].pace.mayStep(at: time)
  }

  /// How long there is nothing to compute unless a message comes; `nil` where there is something.
  private func idleTime() -> Duration? {
    guard collaborations.workingCount == 0 else { return nil }
    var idle = collaborations.patience ?? .seconds(60)
    // Who waits says so from time to time.
    if !entries.isEmpty || collaborations.count > 0 { idle = min(idle, signInterval) }
    for index in entries.indices where !entries[index].isWaiting {
      guard !mayAdvance(index) else { return nil }
      let deadline = entries[index].pace.deadline ?? time
      idle = min(idle, max(.microseconds(100), deadline - time))
    }
    return idle
  }
}

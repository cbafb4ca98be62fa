import Decoding
import Engine
import InferenceTypes
import Logging
import Wire

/// The sessions of one drafter, on the thread that drafts. A model drafts trees or chains,
/// training-free sources draft trees; either way nodes leave as soon as they exist.
final class DrafterCore {
  /// What the shell does for the core.
  struct Outlets: Sendable {
    var sendToVerifier: @Sendable (_ endpoint: String, Envelope) -> Void
    /// Makes sure that there is a connection; ``DrafterMail/linked(endpoint:)`` follows.
    var connect: @Sendable (_ endpoint: String) -> Void
    var sendToRouter: @Sendable (Envelope) -> Void
  }

  enum Drafting {
    case model(LocalDrafter)
    case sources(DrafterSession)
    case collaboration(CollaborationAnswerer)
    case draws(DrawDrafting)
  }

  struct Entry {
    var id: SessionID
    var endpoint: String
    var acceptance: AttachAcceptance?
    var truth: [TokenID] = []
    var truthHash = TruthHash()
    var drafting: Drafting?
    var attachAt: ContinuousClock.Instant?
    var refusalCount = 0
    var pacing = DraftPacing()
    /// Guesses of earlier sessions that its acceptance began with.
    var sampleCount = 0
    /// Whether a model has to go on, or sources have new truth to start from.
    var hasWork = false
  }

  private static let refusalMax = 100
  private static let retryDelayMin = Duration.microseconds(500)
  private static let retryDelayMax = Duration.milliseconds(20)
  /// Nodes below the truth that training-free sources send.
  private static let sourceNodeMax = 24
  let engine: InferenceEngine?
  /// Passes of the draft model by their size.
  private let draftCosts: VerifyCosts
  private let methods: DraftMethods
  private let identity: WorkerIdentity
  let stopTokens: [TokenID]
  private let slotCount: Int
  private let mailbox: Mailbox<DrafterMail>
  let activeCount: ActiveCount
  let outlets: Outlets
  let logger: Logger
  private let clock = ContinuousClock()
  private var sources: KeptSources
  var entries: [Entry] = []
  /// Verifiers that have taken this drafter's registration.
  private(set) var linkedEndpoints: Set<String> = []
  private var turn = 0
  /// Of one token.
  private var draftDuration = Duration.milliseconds(5)
  private var roundTrips: [String: RoundTripEstimate] = [:]
  /// What the latest session with each verifier left behind.
  var records: [String: DraftRecord] = [:]
  private var meter: DrafterMeter

  init(
    engine: InferenceEngine?, draftCosts: VerifyCosts, sources: KeptSources,
    configuration: DrafterWorker.Configuration, mailbox: Mailbox<DrafterMail>,
    activeCount: ActiveCount, totals: TotalsBox, outlets: Outlets, logger: Logger
  ) {
    self.engine = engine
    self.draftCosts = draftCosts
    methods = configuration.methods
    identity = configuration.identity
    stopTokens = configuration.stopTokens
    slotCount = configuration.slotCount
    self.sources = sources
    self.mailbox = mailbox
    self.activeCount = activeCount
    meter = DrafterMeter(totals)
    self.outlets = outlets
    self.logger = logger
  }

  /// Works until told to stop.
  func run() {
    while true {
      if engine != nil {
        let restingCount = entries.count { $0.pacing.isResting }
        meter.tell(restingCount: restingCount, draftDuration: draftDuration)
      }
      let mail =
        entries.contains { $0.hasWork }
        ? mailbox.take() : mailbox.take(timeout: nextRetry() ?? .seconds(60))
      for message in mail {
        if case .stop = message { return sources.finish() }
        handle(message)
      }
      sources.saveIfDue()
      retryAttachments()
      guard !entries.isEmpty else { continue }
      for _ in entries.indices {
        turn = (turn + 1) % entries.count
        if entries[turn].hasWork {
          draft(turn)
          break
        }
      }
    }
  }

  // MARK: messages

  private func handle(_ mail: DrafterMail) {
    switch mail {
    case .assign(let id, let message): assign(id, message)
    case .endDraft(let id): if let index = index(of: id) { remove(index) }
    case .linked(let endpoint):
      linkedEndpoints.insert(endpoint)
      for index in entries.indices where entries[index].endpoint == endpoint { attach(index) }
    case .unlinked(let endpoint):
      linkedEndpoints.remove(endpoint)
      for index in entries.indices where entries[index].endpoint == endpoint {
        entries[index].hasWork = false
        entries[index].drafting = nil
      }
      roundTrips[endpoint] = nil
      records[endpoint] = nil
    case .attachReply(let id, let reply): receive(reply, id)
    case .truth(let id, let truth): receive(truth, id)
    case .roundTrip(let endpoint, let sample):
      roundTrips[endpoint, default: RoundTripEstimate()].add(sample)
    case .ingest(let id, let ingest): receive(ingest, id)
    case .reset: while !entries.isEmpty { remove(entries.count - 1) }
    case .stop: return
    }
  }

  private func assign(_ id: SessionID, _ message: AssignDraft) {
    if let old = index(of: id) { remove(old) }
    guard entries.count < slotCount else {
      let refusal = Refusal(
        code: .tooManySessions, message: "all \(slotCount) sessions of this drafter are in use")
      outlets.sendToRouter(Envelope(session: id, message: .sessionFailed(refusal)))
      return
    }
    entries.append(Entry(id: id, endpoint: message.verifierEndpoint))
    activeCount.store(entries.count)
    // The other sessions of the verifier stay as they are: what they hold would be lost.
    guard linkedEndpoints.contains(message.verifierEndpoint) else {
      return outlets.connect(message.verifierEndpoint)
    }
    attach(entries.count - 1)
  }

  private func attach(_ index: Int) {
    entries[index].attachAt = nil
    let message = AttachDraft(
      drafterName: identity.name, drafterEpoch: identity.epoch,
      truthLength: entries[index].truth.count, truthHash: entries[index].truthHash.value)
    outlets.sendToVerifier(
      entries[index].endpoint, Envelope(session: entries[index].id, message: .attachDraft(message)))
  }

  private func nextRetry() -> Duration? {
    entries.compactMap(\.attachAt).min().map { max(.microseconds(100), $0 - clock.now) }
  }

  private func retryAttachments() {
    let now = clock.now
    for index in entries.indices {
      if let at = entries[index].attachAt, at <= now { attach(index) }
    }
  }

  private func receive(_ reply: AttachReply, _ id: SessionID) {
    guard let index = index(of: id) else { return }
    switch reply {
    case .accepted(let acceptance):
      guard acceptance.truthLength <= entries[index].truth.count else { return }
      entries[index].acceptance = acceptance
      if acceptance.truthLength < entries[index].truth.count {
        entries[index].truth = []
        entries[index].truthHash = TruthHash()
      }
      entries[index].drafting = nil
      entries[index].pacing = DraftPacing(
        acceptance, record: records[entries[index].endpoint])
      entries[index].refusalCount = 0
      if let parameters = acceptance.collaboration {
        startAnswering(index, parameters)
      } else {
        startDrafting(index)
      }
    case .refused(let refusal):
      entries[index].refusalCount += 1
      // The router's word to the verifier may still be on its way, the session itself included: it
      // takes another connection than this. Mostly it comes in a moment.
      let mayChange = refusal.code.isRetryable || refusal.code == .unknownSession
      if mayChange, entries[index].refusalCount < Self.refusalMax {
        let doubled = Self.retryDelayMin * (1 << min(entries[index].refusalCount - 1, 8))
        entries[index].attachAt = clock.now + min(Self.retryDelayMax, doubled)
        return
      }
      leave(index, because: "the verifier refuses drafts: \(refusal.message)", refusal.code)
    }
  }

  private func receive(_ message: Truth, _ id: SessionID) {
    guard let index = index(of: id), entries[index].acceptance != nil else { return }
    guard !message.isFinished else {
      learn(message, index: index)
      remember(index)
      remove(index)
      return
    }
    guard message.from == entries[index].truth.count else {
      // Something was lost on the way: ask for the rest.
      if message.from > entries[index].truth.count { attach(index) }
      return
    }
    guard message.tokens.allSatisfy({ $0.rawValue < identity.vocabularyCount }) else {
      return leave(index, because: "a token of the truth is not in the vocabulary")
    }
    learn(message, index: index)
    let update = TruthUpdate(
      fromPosition: message.from, tokens: message.tokens, nodeIDs: message.nodeIDs)
    switch entries[index].drafting {
    case .model(var drafter):
      let reception = drafter.receive(update)
      entries[index].pacing.heard(stepOf: message.usedNodeCount + 1, message.verifyDuration)
      entries[index].drafting = .model(drafter)
      switch reception {
      case .followed, .diverged: beginRound(index)
      case .gap, .malformed: leave(index, because: "the truth contradicts itself")
      }
    case .sources(var machine):
      // Taken out meanwhile, so that its index of the text is not copied.
      entries[index].drafting = nil
      // Either way the next tree starts from the truth.
      _ = machine.receive(update)
      entries[index].drafting = .sources(machine)
      entries[index].hasWork = true
    case .collaboration: return
    case .draws: entries[index].hasWork = true
    case nil: startDrafting(index)
    }
  }

  private func learn(_ message: Truth, index: Int) {
    guard message.from == entries[index].truth.count, !message.tokens.isEmpty else { return }
    entries[index].truth += message.tokens
    entries[index].truthHash.absorb(message.tokens)
    guard engine == nil else { return }
    let truth = entries[index].truth
    sources.use(entries[index].acceptance?.tenant) { sources in
      if message.from == 0 {
        sources.observe(prompt: truth)
      } else {
        sources.observe(tokensOf: truth, newCount: message.tokens.count)
      }
    }
  }

  /// Learns from a text that ended, for the sessions to come.
  private func remember(_ index: Int) {
    guard engine == nil, let acceptance = entries[index].acceptance else { return }
    let answer = entries[index].truth.dropFirst(acceptance.promptLength)
    sources.use(acceptance.tenant) { $0.remember(answer) }
  }

  /// Begins once the prompt is complete.
  private func startDrafting(_ index: Int) {
    guard let acceptance = entries[index].acceptance, entries[index].drafting == nil,
      !entries[index].truth.isEmpty, entries[index].truth.count >= acceptance.promptLength
    else { return }
    var configuration = DrafterSession.Configuration(
      truth: entries[index].truth, sampling: acceptance.rule.guessed(acceptance.sampling),
      contextLength: engine?.contextLength ?? identity.contextLength,
      vocabularyCount: identity.vocabularyCount)
    configuration.stopTokens = stopTokens
    if let record = records[entries[index].endpoint] {
      entries[index].sampleCount = record.acceptance.sampleCount
      configuration.acceptance = record.acceptance.faded
    }
    do {
      if let engine, acceptance.rule.drawsDrafts(acceptance.sampling) {
        entries[index].drafting = .draws(
          try DrawDrafting(acceptance, stopTokens: stopTokens, engine: engine))
      } else if let engine {
        entries[index].drafting = .model(
          try LocalDrafter(
            configuration, stopTokens: stopTokens,
            plan: entries[index].pacing.plan(methods.shape, draftCosts: draftCosts), engine: engine)
        )
        sources.use(acceptance.tenant) { $0.observe(prompt: configuration.truth) }
      } else {
        entries[index].drafting = .sources(try DrafterSession(configuration))
      }
      beginRound(index)
    } catch {
      let isTooLong = if case .promptTooLong = error as? DecodingError { true } else { false }
      leave(index, because: "cannot draft: \(error)", isTooLong ? .promptTooLong : .internal)
    }
  }

  /// New truth is there: the window is chosen anew, and in a pipeline with rounds one begins.
  private func beginRound(_ index: Int) {
    entries[index].hasWork = true
    guard case .model(var drafter) = entries[index].drafting else {
      // Training-free trees cost nothing to make: each is a round, as soon as truth comes.
      if entries[index].acceptance?.pipeline == .lockstep {
        let opening = DraftUpdate(anchor: entries[index].truth.count, nodes: [])
        send(opening, index: index, evenEmpty: true)
      }
      return
    }
    let wasResting = entries[index].pacing.isResting
    let opening = entries[index].pacing.begin(
      &drafter, roundTrip: roundTrips[entries[index].endpoint]?.value,
      draftDuration: draftDuration)
    entries[index].drafting = .model(drafter)
    if entries[index].pacing.isResting != wasResting { noteRest(index) }
    if let opening { send(opening, index: index, evenEmpty: true) }
  }

  private func noteRest(_ index: Int) {
    let pacing = entries[index].pacing
    let conditions = pacing.conditions
    logger.info(
      pacing.isResting ? "drafts come too late to help: resting" : "drafting again",
      metadata: [
        "session.id": "\(entries[index].id)", "round.trip": "\(conditions.roundTrip)",
        "step": "\(conditions.step)", "draft": "\(conditions.draft)",
        "acceptance": "\(conditions.acceptance)", "gain": "\(conditions.streamedGain)",
      ])
  }

  func index(of id: SessionID) -> Int? { entries.firstIndex { $0.id == id } }

  // MARK: work

  private func draft(_ index: Int) {
    do {
      switch entries[index].drafting {
      case .model(var drafter):
        let start = clock.now
        guard entries[index].pacing.mayDraft else {
          entries[index].hasWork = false
          return
        }
        let (id, endpoint) = (entries[index].id, entries[index].endpoint)
        let progress = try sources.use(entries[index].acceptance?.tenant) {
          sources throws(EngineError) in
          try drafter.advance(sources: &sources) { pass in
            { [mailbox] in mailbox.contains { $0.voids(pass, id: id, endpoint: endpoint) } }
          }
        }
        entries[index].drafting = .model(drafter)
        guard let progress else {
          entries[index].hasWork = false
          if let rest = entries[index].pacing.close() {
            send(rest, index: index, evenEmpty: true)
          }
          return
        }
        meter.count(progress)
        if !progress.update.nodes.isEmpty {
          let single = (clock.now - start) / Double(draftCosts.cost(progress.tokenCount))
          draftDuration = (draftDuration * 7 + single) / 8
        }
        if let message = entries[index].pacing.add(progress) {
          send(message, index: index, evenEmpty: true)
        }
      case .sources(var machine):
        entries[index].drafting = nil
        let update = sources.use(entries[index].acceptance?.tenant) {
          machine.propose(sources: &$0, limit: Self.sourceNodeMax)
        }
        entries[index].drafting = .sources(machine)
        entries[index].hasWork = false
        send(update, index: index, evenEmpty: entries[index].acceptance?.pipeline != .streamed)
      case .collaboration(let answerer): try answer(answerer, index: index)
      case .draws(var drawing):
        let (id, endpoint) = (entries[index].id, entries[index].endpoint)
        let nodes = try drawing.draft(below: entries[index].truth) {
          mailbox.contains { $0.voidsDraws(of: id, endpoint: endpoint) }
        }
        entries[index].drafting = .draws(drawing)
        entries[index].hasWork = false
        guard let nodes else { return }
        outlets.sendToVerifier(endpoint, Envelope(session: id, message: .nodes(nodes)))
      case nil: entries[index].hasWork = false
      }
    } catch {
      leave(index, because: "drafting failed: \(error)")
    }
  }

  private func send(_ update: DraftUpdate, index: Int, evenEmpty: Bool) {
    var first = 0
    while first < update.nodes.count || first == 0 && evenEmpty {
      let last = min(update.nodes.count, first + Limits.nodeCountMax)
      // On the wire the anchor is the token continued, here the place guessed.
      let nodes = Nodes(anchor: update.anchor - 1, nodes: Array(update.nodes[first..<last]))
      outlets.sendToVerifier(
        entries[index].endpoint, Envelope(session: entries[index].id, message: .nodes(nodes)))
      guard last > first else { return }
      first = last
    }
  }
}

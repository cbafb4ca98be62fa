import Decoding
package import Engine
package import InferenceTypes
package import Logging
import Synchronization
package import Tokenizer
package import Transport
import Wire

/// The daemon that owns the target model: the only one that decides tokens.
///
/// The model lives on a thread of its own; this shell moves frames between the sockets and that
/// thread's mailbox.
package final class VerifierWorker: Sendable {
  /// How a verifier is set up.
  package struct Configuration: Sendable {
    package var identity: WorkerIdentity
    /// Where the router listens for workers.
    package var routerEndpoint: String
    /// Where drafters dial in; a port of `*` lets the system choose.
    package var dataEndpoint = "tcp://127.0.0.1:*"
    /// What drafters are told to dial where it differs from what is bound.
    package var advertisedEndpoint: String?
    package var allowsPlaintextOffLoopback = false
    /// Sessions at a time.
    package var slotCount = 8
    package var threadCount = 1
    /// Local drafts made here.
    package var methods: DraftMethods
    /// Most nodes of one verification.
    package var nodeLimit = 32
    /// How drafting and verifying share the time of sessions that do not say it.
    package var pipeline = Pipeline.streamed
    /// Sessions that are taken, by the rule that judges their drafts, beside ``VerifyRule/gumbelMatch``.
    /// All but these two trust the drafters with the law of the text, or change it.
    package var verifyRules: Set<VerifyRule> = [.gumbelMatch, .match]
    /// Bytes of all KV caches; `nil` has room for eight contexts.
    package var keyValueMemoryBytes: Int?
    /// What becomes of that which the local drafts learn.
    package var stores = DraftStoreSettings()
    /// Between two messages of a session that has no new text.
    package var signInterval = Duration.seconds(1)
    /// Of the model; without it collaborations are refused.
    package var tokenizer: BytePairTokenizer?
    /// What passes of the model take, which is measured at the start unless it is known.
    package var costs: MeasuredCosts?

    package init(identity: WorkerIdentity, routerEndpoint: String, methods: DraftMethods) {
      self.identity = identity
      self.routerEndpoint = routerEndpoint
      self.methods = methods
    }
  }

  private let configuration: Configuration
  private let model: Model
  private let context: ZeroMQContext
  private let logger: Logger
  private let mailbox = Mailbox<VerifierMail>(limit: 8192)
  private let activeCount = ActiveCount()
  private let collaborationCount = ActiveCount()
  private let traffic = DraftTraffic()
  private let totals = TotalsBox()
  private let start = ContinuousClock().now
  private let link = Mutex<RouterLink?>(nil)

  package init(
    configuration: Configuration, model: Model, context: ZeroMQContext, logger: Logger
  ) {
    self.configuration = configuration
    self.model = model
    self.context = context
    self.logger = logger
  }

  /// Runs until the task is cancelled; then running sessions end as the router sees fit.
  ///
  /// - Throws: ``EngineError`` or `TransportError` at the start, ``WorkerError`` when the router
  ///   refuses this verifier.
  package func run(onRegistered: @escaping @Sendable () -> Void = {}) async throws {
    let data = try ZeroMQRouter(
      context, bind: [configuration.dataEndpoint],
      allowsPlaintextOffLoopback: configuration.allowsPlaintextOffLoopback)
    let (started, startup) = AsyncThrowingStream.makeStream(of: MeasuredCosts.self)
    let thread = try PinnedThread(name: "target-model") { [self] in
      compute(data: data, startup: startup)
    }
    var measured: MeasuredCosts?
    for try await costs in started { measured = costs }
    guard let measured else { throw CancellationError() }
    logger.info(
      "target model ready",
      metadata: [
        "isa": "\(model.kernels.name)", "threads": "\(configuration.threadCount)",
        "step.ms": "\(measured.single)", "v8": "\(measured.costs.cost(8))",
        "v16": "\(measured.costs.cost(16))", "data.endpoint": "\(data.endpoints)",
      ])
    let control = try ZeroMQDealer(context, connect: configuration.routerEndpoint)
    let routerLink = RouterLink(
      transport: control, registration: registration(measured, data: data), logger: logger)
    link.withLock { $0 = routerLink }
    defer { mailbox.post(.stop) }
    do {
      try await serve(routerLink, data: data, onRegistered: onRegistered)
    } catch is CancellationError {
      routerLink.send(Envelope(message: .goodbye))
    }
    mailbox.post(.stop)
    await thread.join()
    await control.close()
    await data.close()
  }

  /// Takes no new sessions and returns when the running ones are done or the time is over.
  package func drain(timeout: Duration) async {
    link.withLock { $0 }?.drain()
    let deadline = ContinuousClock().now + timeout
    while activeSessionCount > 0, ContinuousClock().now < deadline {
      do { try await Task.sleep(for: .milliseconds(20)) } catch { return }
    }
  }

  /// Exact and collaborative ones.
  private var activeSessionCount: Int { activeCount.value + collaborationCount.value }

  private func serve(
    _ routerLink: RouterLink, data: ZeroMQRouter, onRegistered: @escaping @Sendable () -> Void
  ) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { [self] in
        try await routerLink.run(
          activeSessionCount: { self.activeSessionCount }, totals: { self.totals.value },
          onRegistered: onRegistered,
          onReset: { self.mailbox.post(.reset) },
          onMessage: { self.routeControl($0) })
      }
      group.addTask { [self] in
        for await event in data.events { routeData(event, data: data) }
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  /// The body of the model's thread.
  private func compute(
    data: ZeroMQRouter, startup: AsyncThrowingStream<MeasuredCosts, any Error>.Continuation
  ) {
    let engine: InferenceEngine
    let costs: MeasuredCosts
    do {
      engine = try InferenceEngine(
        model: model, threadCount: configuration.threadCount,
        contextLength: configuration.identity.contextLength,
        keyValueMemoryBytes: configuration.keyValueMemoryBytes)
      costs = try configuration.costs ?? MeasuredCosts(engine: engine, sizeMax: 128)
    } catch {
      startup.finish(throwing: error)
      return
    }
    let sources = KeptSources(
      configuration.stores.fitting(slotCount: configuration.slotCount),
      methods: configuration.methods, identity: configuration.identity,
      logger: logger)
    startup.yield(costs)
    startup.finish()
    let logger = self.logger
    VerifierCore(
      engine: engine, costs: costs, sources: sources, configuration: configuration,
      mailbox: mailbox, activeCount: activeCount, collaborationCount: collaborationCount,
      traffic: traffic, totals: totals, logger: logger,
      sendToRouter: { [self] envelope in link.withLock { $0 }?.send(envelope) },
      sendToPeer: { [traffic] peer, envelope in
        do {
          let frame = try envelope.encoded()
          // A peer that is gone or slow is dealt with where its connection ends.
          if data.send(frame, to: peer) == .queued {
            traffic.send(frame.count, in: envelope.session)
          }
        } catch {
          logger.error("message cannot be encoded", metadata: ["error": "\(error)"])
        }
      }
    ).run()
  }

  private func registration(_ measured: MeasuredCosts, data: ZeroMQRouter) -> Register {
    let identity = configuration.identity
    var register = Register(
      role: .verifier, name: identity.name, epoch: identity.epoch, modelID: identity.modelID,
      modelFingerprint: identity.modelFingerprint,
      tokenizerFingerprint: identity.tokenizerFingerprint,
      vocabularyCount: identity.vocabularyCount, contextLength: identity.contextLength,
      slotCount: configuration.slotCount)
    register.dataEndpoint = configuration.advertisedEndpoint ?? data.endpoints.first ?? ""
    register.draftMethods = configuration.methods.list
    register.relativeVerifyCosts = Array(
      measured.costs.relative.prefix(Limits.verifyCostCountMax))
    register.verifyDuration = measured.single
    register.verifyRules = configuration.verifyRules.union([.gumbelMatch])
    return register
  }

  private func routeControl(_ envelope: Envelope) {
    switch envelope.message {
    case .openSession(let message): mailbox.post(.open(envelope.session, message))
    case .cancelSession: mailbox.post(.cancel(envelope.session))
    case .draftAssigned(let message): mailbox.post(.assigned(envelope.session, message))
    default:
      logger.debug("ignored", metadata: ["message.type": "\(envelope.message.name)"])
    }
  }

  private func routeData(_ event: TransportEvent, data: ZeroMQRouter) {
    switch event {
    case .connected: return
    case .disconnected(let peer):
      traffic.forget(peer)
      mailbox.post(.peerGone(peer))
    case .message(let peer, let frame):
      do {
        let envelope = try Envelope(decoding: frame)
        traffic.receive(frame.count, in: envelope.session)
        if case .heartbeat(let heartbeat) = envelope.message {
          try echo(heartbeat, to: peer, over: data)
        } else {
          routeData(envelope, from: peer)
        }
      } catch {
        logger.info("malformed frame from a drafter", metadata: ["error": "\(error)"])
      }
    case .undelivered, .refused, .overflow:
      logger.info("data link", metadata: ["event": "\(event)"])
    }
  }

  /// Answers at once, beside the thread that computes: the drafter measures the network.
  private func echo(_ heartbeat: Heartbeat, to peer: PeerID, over data: ZeroMQRouter) throws {
    traffic.note(roundTrip: heartbeat.roundTrip, of: peer)
    var answer = Heartbeat(
      sequence: heartbeat.sequence, activeSessionCount: activeSessionCount,
      sentAtNanoseconds: UInt64(max(1, (ContinuousClock().now - start).nanoseconds)))
    answer.echoNanoseconds = heartbeat.sentAtNanoseconds
    // A peer that is gone or slow needs no answer.
    _ = data.send(try Envelope(message: .heartbeat(answer)).encoded(), to: peer)
  }

  private func routeData(_ envelope: Envelope, from peer: PeerID) {
    switch envelope.message {
    case .register(let message) where message.role == .drafter:
      mailbox.offer(.peerRegistered(peer, message))
    case .attachDraft(let message): mailbox.offer(.attach(peer, envelope.session, message))
    case .nodes(let message):
      mailbox.offer(.nodes(peer, envelope.session, message, arrival: ContinuousClock().now))
    case .collaborateAnswer(let message):
      mailbox.offer(.answer(peer, envelope.session, message))
    case .endDraft: mailbox.offer(.endDraft(peer, envelope.session))
    case .goodbye: mailbox.offer(.peerGone(peer))
    default:
      logger.debug("ignored", metadata: ["message.type": "\(envelope.message.name)"])
    }
  }
}

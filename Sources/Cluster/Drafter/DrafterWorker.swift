import Decoding
package import Engine
package import InferenceTypes
package import Logging
import Synchronization
package import Transport
import Wire

/// The daemon that guesses tokens for verifiers. It may die at any moment: nothing depends on it
/// but speed.
package final class DrafterWorker: Sendable {
  /// How a drafter is set up.
  package struct Configuration: Sendable {
    package var identity: WorkerIdentity
    package var routerEndpoint: String
    package var methods: DraftMethods
    /// End tokens of the vocabulary: nothing is drafted after them.
    package var stopTokens: [TokenID] = []
    /// Sessions at a time.
    package var slotCount = 8
    package var threadCount = 1
    /// Bytes of all KV caches; `nil` has room for eight contexts.
    package var keyValueMemoryBytes: Int?
    /// `nil` for those of the model's backend.
    package var cacheTypes: CacheTypes?
    /// What becomes of that which training-free sources learn.
    package var stores = DraftStoreSettings()

    package init(identity: WorkerIdentity, routerEndpoint: String, methods: DraftMethods) {
      self.identity = identity
      self.routerEndpoint = routerEndpoint
      self.methods = methods
    }
  }

  private let configuration: Configuration
  private let model: Model?
  private let context: ZeroMQContext
  private let logger: Logger
  private let mailbox = Mailbox<DrafterMail>(limit: 8192)
  private let activeCount = ActiveCount()
  private let totals = TotalsBox()
  private let router = Mutex<RouterLink?>(nil)
  /// Time of a pass of the model over one token; zero without a model.
  private let draftDuration = Mutex<Duration>(.zero)
  private let dealers = Mutex<[String: ZeroMQDealer]>([:])
  /// Of the links to verifiers.
  private let roundTrips = Mutex<[String: RoundTripEstimate]>([:])
  private let start = ContinuousClock().now
  /// Endpoints that sessions need.
  private let requests: AsyncStream<String>
  private let requestSink: AsyncStream<String>.Continuation

  /// Without a model it drafts with training-free sources.
  package init(
    configuration: Configuration, model: Model?, context: ZeroMQContext, logger: Logger
  ) {
    self.configuration = configuration
    self.model = model
    self.context = context
    self.logger = logger
    // One request for each assignment, which the router paces.
    (requests, requestSink) = AsyncStream.makeStream(
      of: String.self, bufferingPolicy: .bufferingOldest(65_536))
  }

  /// Runs until the task is cancelled.
  ///
  /// - Throws: ``EngineError`` or `TransportError` at the start, ``WorkerError`` when the router
  ///   refuses this drafter.
  package func run(onRegistered: @escaping @Sendable () -> Void = {}) async throws {
    let (started, startup) = AsyncThrowingStream.makeStream(of: Duration.self)
    let thread = try PinnedThread(name: "draft") { [self] in compute(startup: startup) }
    var draftDuration = Duration.zero
    for try await duration in started { draftDuration = duration }
    self.draftDuration.withLock { [draftDuration] in $0 = draftDuration }
    let control = try ZeroMQDealer(context, connect: configuration.routerEndpoint)
    let link = RouterLink(transport: control, registration: registration(), logger: logger)
    router.withLock { $0 = link }
    defer { mailbox.post(.stop) }
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { [self] in
          try await link.run(
            activeSessionCount: { self.activeCount.value }, totals: { self.totals.value },
            onRegistered: onRegistered,
            onReset: { self.mailbox.post(.reset) },
            onMessage: { self.routeControl($0) })
        }
        group.addTask { [self] in await keepConnections() }
        defer { group.cancelAll() }
        try await group.next()
      }
    } catch is CancellationError {
      link.send(Envelope(message: .goodbye))
    }
    mailbox.post(.stop)
    await thread.join()
    await control.close()
    for dealer in dealers.withLock({ Array($0.values) }) { await dealer.close() }
  }

  /// The body of the thread that drafts.
  private func compute(startup: AsyncThrowingStream<Duration, any Error>.Continuation) {
    var engine: InferenceEngine?
    var draftCosts = VerifyCosts.assumed
    if let model {
      do {
        let drafting = try InferenceEngine(
          model: model, threadCount: configuration.threadCount,
          contextLength: min(configuration.identity.contextLength, model.shape.contextLength),
          keyValueMemoryBytes: configuration.keyValueMemoryBytes,
          cacheTypes: configuration.cacheTypes)
        // The levels of a tree are as wide as pays; a chain has one token in each.
        let isTree = configuration.methods.shape == .tree
        let measured = try MeasuredCosts(engine: drafting, sizeMax: isTree ? 32 : 1)
        if isTree { draftCosts = measured.costs }
        engine = drafting
        startup.yield(measured.single)
      } catch {
        startup.finish(throwing: error)
        return
      }
    }
    var methods = configuration.methods
    if engine != nil { methods.sources = methods.foresight }
    let sources = KeptSources(
      configuration.stores.fitting(slotCount: configuration.slotCount), methods: methods,
      identity: configuration.identity, logger: logger)
    startup.finish()
    DrafterCore(
      engine: engine, draftCosts: draftCosts, sources: sources, configuration: configuration,
      mailbox: mailbox, activeCount: activeCount, totals: totals,
      outlets: DrafterCore.Outlets(
        sendToVerifier: { [self] endpoint, envelope in send(envelope, to: endpoint) },
        connect: { [self] endpoint in requestSink.yield(endpoint) },
        sendToRouter: { [self] envelope in router.withLock { $0 }?.send(envelope) }),
      logger: logger
    ).run()
  }

  private func registration() -> Register {
    let identity = configuration.identity
    var register = Register(
      role: .drafter, name: identity.name, epoch: identity.epoch, modelID: identity.modelID,
      modelFingerprint: identity.modelFingerprint,
      tokenizerFingerprint: identity.tokenizerFingerprint,
      vocabularyCount: identity.vocabularyCount, contextLength: identity.contextLength,
      slotCount: configuration.slotCount)
    register.draftMethods = configuration.methods.list
    register.draftDuration = draftDuration.withLock { $0 }
    return register
  }

  private func routeControl(_ envelope: Envelope) {
    switch envelope.message {
    case .assignDraft(let message): mailbox.post(.assign(envelope.session, message))
    case .endDraft, .cancelSession: mailbox.post(.endDraft(envelope.session))
    default:
      logger.debug("ignored", metadata: ["message.type": "\(envelope.message.name)"])
    }
  }

  // MARK: verifiers

  private func send(_ envelope: Envelope, to endpoint: String) {
    guard let dealer = dealers.withLock({ $0[endpoint] }) else { return }
    do {
      // A verifier that is gone or slow shows where its connection ends, or drafts expire.
      _ = dealer.send(try envelope.encoded())
    } catch {
      logger.error("message cannot be encoded", metadata: ["error": "\(error)"])
    }
  }

  /// Opens connections to verifiers as sessions need them; they stay for later ones.
  private func keepConnections() async {
    await withDiscardingTaskGroup { group in
      for await endpoint in requests {
        // A second session on the same verifier: both attach when the link stands.
        if dealers.withLock({ $0[endpoint] }) != nil { continue }
        do {
          let dealer = try ZeroMQDealer(context, connect: endpoint)
          dealers.withLock { $0[endpoint] = dealer }
          group.addTask { [self] in await listen(to: dealer, endpoint: endpoint) }
          group.addTask { [self] in await probe(endpoint) }
        } catch {
          logger.warning(
            "verifier endpoint", metadata: ["endpoint": "\(endpoint)", "error": "\(error)"])
        }
      }
      group.cancelAll()
    }
  }

  private func listen(to dealer: ZeroMQDealer, endpoint: String) async {
    for await event in dealer.events {
      switch event {
      case .connected: send(Envelope(message: .register(registration())), to: endpoint)
      case .disconnected: mailbox.post(.unlinked(endpoint: endpoint))
      case .message(_, let frame):
        do {
          routeData(try Envelope(decoding: frame), endpoint: endpoint)
        } catch {
          logger.info("malformed frame from a verifier", metadata: ["error": "\(error)"])
        }
      case .undelivered, .refused, .overflow:
        logger.info("data link", metadata: ["event": "\(event)"])
      }
    }
  }

  /// Sends heartbeats, which the verifier echoes at once: several soon, then one a second. While
  /// there is no connection they go nowhere.
  private func probe(_ endpoint: String) async {
    var sequence: UInt64 = 0
    while !Task.isCancelled {
      sequence += 1
      var heartbeat = Heartbeat(
        sequence: sequence, activeSessionCount: activeCount.value,
        sentAtNanoseconds: UInt64(max(1, (ContinuousClock().now - start).nanoseconds)))
      heartbeat.roundTrip = roundTrips.withLock { $0[endpoint]?.value } ?? .zero
      send(Envelope(message: .heartbeat(heartbeat)), to: endpoint)
      do {
        try await Task.sleep(for: sequence < 8 ? .milliseconds(125) : .seconds(1))
      } catch { return }
    }
  }

  private func receive(_ heartbeat: Heartbeat, endpoint: String) {
    guard heartbeat.echoNanoseconds > 0 else { return }
    let sentAt = Duration.nanoseconds(Int64(clamping: heartbeat.echoNanoseconds))
    let sample = ContinuousClock().now - start - sentAt - heartbeat.echoDelay
    // An echo of what was never sent, or of another life of this process.
    guard sample >= .zero else { return }
    roundTrips.withLock { $0[endpoint, default: RoundTripEstimate()].add(sample) }
    mailbox.offer(.roundTrip(endpoint: endpoint, sample))
  }

  private func routeData(_ envelope: Envelope, endpoint: String) {
    switch envelope.message {
    case .heartbeat(let heartbeat): receive(heartbeat, endpoint: endpoint)
    case .registered(.accepted): mailbox.post(.linked(endpoint: endpoint))
    case .registered(.refused(let refusal)):
      logger.warning("verifier refuses this drafter", metadata: ["reason": "\(refusal.message)"])
    case .attachReply(let reply): mailbox.offer(.attachReply(envelope.session, reply))
    case .truth(let truth): mailbox.offer(.truth(envelope.session, truth))
    case .collaborateIngest(let ingest): mailbox.offer(.ingest(envelope.session, ingest))
    default:
      logger.debug("ignored", metadata: ["message.type": "\(envelope.message.name)"])
    }
  }
}

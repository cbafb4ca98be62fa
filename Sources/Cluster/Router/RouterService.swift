package import Decoding
import InferenceTypes
package import Logging
import Synchronization
package import Tokenizer
package import Transport
package import Wire

/// Settings of a ``RouterService``.
package struct RouterConfiguration: Sendable {
  package var routing = RouterMachine.Configuration()
  /// How often deadlines are looked at; at most ``RouterMachine/Configuration/heartbeatInterval``.
  package var tickInterval = Duration.milliseconds(50)
  /// How long running sessions may take to finish after ``RouterService/run()`` is cancelled.
  package var drainMax = Duration.seconds(30)
  /// Peers that sent more bad frames are not listened to any more.
  package var badFrameCountMax = 100

  package init() {}
}

/// The router's process: a ``RouterMachine`` with a transport, a clock and clients.
///
/// ```swift
/// let transport = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:7070"])
/// let router = RouterService(
///   configuration: RouterConfiguration(), tokenizer: tokenizer, served: model,
///   modelFingerprint: fingerprint, transport: transport, logger: logger)
/// async let _ = router.run()
/// for try await event in try await router.generate(request) { … }
/// ```
///
/// The actor is the inbox: transport events, requests and ticks come in one at a time, each call
/// runs to its end, and nothing in between waits. Events that effects cause wait in `inbox`.
package actor RouterService: GenerationService {
  package nonisolated let model: ServedModel
  let configuration: RouterConfiguration
  let tokenizer: BytePairTokenizer
  let transport: any FrameTransport
  let logger: Logger
  /// Name of this process on the wire.
  let epoch: InstanceEpoch
  var machine: RouterMachine
  var peers = PeerBook()
  var generations: [SessionID: Generation] = [:]
  /// What `generate` throws, where a session fails before it returns.
  private var admissionFailures: [SessionID: ServiceError] = [:]
  /// Frames and events dropped so far, by reason.
  package internal(set) var faultCounts: [FrameFault: Int] = [:]
  var requestCounts = RequestCounts()

  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  /// Events that wait while the effects of another are performed.
  var inbox: [RouterMachine.Event] = []
  private var isPerforming = false
  /// Sessions whose clients went away; each live session at most once.
  private let cancellations: AsyncStream<SessionID>
  private let cancel: AsyncStream<SessionID>.Continuation
  // Relaxed: carries nothing but itself.
  private let wantsShutdown = Atomic(false)
  private var drainDeadline: Duration?
  private var isRunning = false

  /// - Parameters:
  ///   - configuration: settings.
  ///   - tokenizer: of the model; workers must have the same.
  ///   - served: what verifiers must hold: at least its context, exactly its vocabulary.
  ///   - modelFingerprint: of the model file; verifiers must have the same.
  ///   - transport: the binding side of the control links. The router closes it.
  ///   - logger: told of workers at `info`, never of texts.
  package init(
    configuration: RouterConfiguration, tokenizer: BytePairTokenizer, served: ServedModel,
    modelFingerprint: Fingerprint, transport: any FrameTransport, logger: Logger
  ) {
    precondition(
      configuration.tickInterval <= configuration.routing.heartbeatInterval,
      "a tick of \(configuration.tickInterval) is longer than a heartbeat interval")
    self.configuration = configuration
    self.tokenizer = tokenizer
    self.transport = transport
    self.logger = logger
    model = served
    epoch = InstanceEpoch(rawValue: .random(in: 1 ... .max))
    machine = RouterMachine(
      configuration: configuration.routing,
      expected: ExpectedModel(
        modelFingerprint: modelFingerprint.bytes, tokenizerFingerprint: tokenizer.fingerprint,
        vocabularyCount: served.vocabularyCount,
        contextLength: min(served.contextLength, Limits.contextLengthMax)))
    start = clock.now
    (cancellations, cancel) = AsyncStream.makeStream(of: SessionID.self)
  }

  /// Time since this router was made.
  var now: Duration { start.duration(to: clock.now) }

  /// Tokens of the prompt and the text together.
  private var contextLength: Int { min(model.contextLength, Limits.contextLengthMax) }

  package func health() async -> ServiceHealth {
    ServiceHealth(
      verifierCount: machine.workerCount(.verifier), drafterCount: machine.workerCount(.drafter),
      isDraining: machine.isDraining)
  }

  /// Serves until the task is cancelled; then lets running sessions finish, for
  /// ``RouterConfiguration/drainMax`` at most, takes leave of the workers and closes the transport.
  /// Called once.
  package func run() async {
    precondition(!isRunning, "the router runs")
    isRunning = true
    // Not a child task: draining goes on after this task is cancelled.
    let work = Task { await self.serve() }
    await withTaskCancellationHandler {
      await work.value
    } onCancel: {
      wantsShutdown.store(true, ordering: .relaxed)
    }
  }

  private func serve() async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        for await event in self.transport.events { await self.receive(event) }
      }
      group.addTask {
        for await session in self.cancellations { await self.submit(.cancelled(session)) }
      }
      while tick() {
        // It throws where the task is cancelled, and this one never is.
        try? await Task.sleep(for: configuration.tickInterval)
      }
      group.cancelAll()
    }
    for (session, generation) in generations {
      generation.continuation.finish(throwing: ServiceError.draining)
      submit(.cancelled(session))
    }
    for number in peers.entries.keys where machine.registration(of: number) != nil {
      send(.goodbye, to: number)
    }
    await transport.close()
  }

  /// - Returns: whether to go on.
  private func tick() -> Bool {
    submit(.tick)
    noteLostWorkers()
    if drainDeadline == nil, wantsShutdown.load(ordering: .relaxed) {
      logger.info("draining", metadata: ["session.count": "\(machine.sessionCount)"])
      drainDeadline = now + configuration.drainMax
      submit(.drain)
    }
    return drainDeadline.map { machine.sessionCount > 0 && now < $0 } ?? true
  }

  /// - Throws: ``ServiceError`` where the prompt cannot be continued, nothing can run it, or the
  ///   queue is full.
  /// - Returns: the events of the generation. They are kept until they are read: a slow reader never
  ///   slows the cluster, and a context has room for no more events than this buffers.
  package func generate(
    _ request: GenerationRequest
  ) async throws(ServiceError) -> AsyncThrowingStream<GenerationEvent, any Error> {
    let routed = try routedRequest(request)
    let (stream, continuation) = AsyncThrowingStream.makeStream(
      of: GenerationEvent.self, bufferingPolicy: .bufferingOldest(contextLength + 1))
    let session = freshSessionID()
    continuation.onTermination = { [cancel] termination in
      if case .cancelled = termination { cancel.yield(session) }
    }
    generations[session] = Generation(
      continuation: continuation,
      output: TextOutput(
        tokenizer: tokenizer, prompt: request.prompt, stopStrings: request.stopStrings),
      promptCount: request.prompt.count)
    submit(.requested(session, routed))
    generations[session]?.isAdmitted = true
    if let failure = admissionFailures.removeValue(forKey: session) { throw failure }
    return stream
  }

  private func routedRequest(_ request: GenerationRequest) throws(ServiceError) -> RoutedRequest {
    guard !request.prompt.isEmpty else { throw .emptyPrompt }
    guard request.prompt.count < contextLength else {
      throw .promptTooLong(
        promptTokenCount: request.prompt.count, contextLength: contextLength)
    }
    guard request.prediction.count <= Limits.predictionCountMax else {
      throw .predictionTooLong(
        tokenCount: request.prediction.count, limit: Limits.predictionCountMax)
    }
    for token in request.prompt + request.prediction
    where Int(token.rawValue) >= model.vocabularyCount {
      throw .unknownToken(token, vocabularyCount: model.vocabularyCount)
    }
    if request.collaboration?.method == .proxy { throw .noAntiexpert }
    if request.collaboration?.method == .contrastive, model.vocabularyCount > Limits.rowCountMax {
      throw .rowsTooLarge(vocabularyCount: model.vocabularyCount, limit: Limits.rowCountMax)
    }
    let room = contextLength - request.prompt.count
    var routed = RoutedRequest(
      prompt: request.prompt, sampling: request.sampling,
      tokenLimit: max(0, min(room, request.tokenLimit ?? room)))
    routed.endTokens = tokenizer.endOfGeneration
    routed.ignoresEnd = request.ignoresEndOfSequence
    routed.tenant = request.tenant
    routed.collaboration = request.collaboration
    routed.rule = request.rule
    routed.prediction = request.prediction
    return routed
  }

  private func freshSessionID() -> SessionID {
    while true {
      let id = SessionID(rawValue: .random(in: 1 ... .max))
      if generations[id] == nil { return id }
    }
  }

  /// Hands an event to the machine and does what it says.
  func submit(_ event: RouterMachine.Event) {
    inbox.append(event)
    guard !isPerforming else { return }
    isPerforming = true
    defer { isPerforming = false }
    var effects: [RouterMachine.Effect] = []
    while !inbox.isEmpty {
      effects.removeAll(keepingCapacity: true)
      machine.handle(inbox.removeFirst(), at: now, into: &effects)
      for effect in effects { perform(effect) }
    }
  }

  /// Ends a generation without a text.
  func fail(_ session: SessionID, _ error: ServiceError) {
    guard let generation = generations.removeValue(forKey: session) else { return }
    if !generation.isAdmitted { admissionFailures[session] = error }
    requestCounts.ended(generation.isAdmitted ? .failed : .refused)
    generation.continuation.finish(throwing: error)
  }
}

/// What a client waits for.
struct Generation {
  let continuation: AsyncThrowingStream<GenerationEvent, any Error>.Continuation
  var output: TextOutput
  let promptCount: Int
  var completionCount = 0
  /// Whether the client has its stream.
  var isAdmitted = false

  init(
    continuation: AsyncThrowingStream<GenerationEvent, any Error>.Continuation,
    output: TextOutput, promptCount: Int
  ) {
    self.continuation = continuation
    self.output = output
    self.promptCount = promptCount
  }
}

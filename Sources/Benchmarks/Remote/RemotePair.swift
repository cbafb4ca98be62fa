package import Cluster
package import Foundation
package import InferenceTypes
import Transport
import Wire

/// A verifier and a drafter in processes of their own, each on one CPU, and what a router does for
/// them: one generation at a time, in the pipeline that the caller wants.
package final class RemotePair {
  /// What to start, and where.
  package struct Configuration: Sendable {
    package var executable: URL
    package var target: String
    package var draft: String
    /// Of the verifier and of the drafter.
    package var processors: [Int]
    package var contextLength: Int?
    /// Added between the two; zero leaves them on the loopback of this host.
    package var roundTrip = Duration.zero
    /// Methods by which the verifier drafts beside the drafter, as its --spec-type; "none" for none.
    package var localMethods = "none"
    /// Every generation begins with the rows of this draft store that come from no text.
    package var draftStore: String?
    package var logLevel = "warning"
    /// What the drafter's model writes.
    package var shape = DraftShape.tree

    package init(executable: URL, target: String, draft: String, processors: [Int]) {
      precondition(processors.count == 2, "\(processors.count) processors for two workers")
      self.executable = executable
      self.target = target
      self.draft = draft
      self.processors = processors
    }
  }

  /// What a generation took.
  package struct Run: Sendable {
    package var tokens: [TokenID] = []
    /// From the first tokens to the last, those that came first not counted.
    package var tokensPerSecond = 0.0
    package var stepCount = 0
    /// The planner's expectation of tokens, and what came of it.
    package var expectedTokenCount = 0.0
    package var draftCount = 0
    package var acceptedCount = 0
    package var acceptance = AcceptanceCounts()
    /// Bytes of messages between the two, in both directions.
    package var linkBytes = 0
    /// As the drafter measured it; zero where nothing was drafted.
    package var roundTrip = Duration.zero
  }

  private static let startTimeout = Duration.seconds(180)
  private static let runTimeout = Duration.seconds(600)
  private let folder: URL
  private let context: ZeroMQContext
  private let transport: ZeroMQRouter
  private let hosts: DistantHosts?
  private let workers: [WorkerProcess]
  private let epoch = InstanceEpoch(rawValue: UInt64.random(in: 1 ... .max))
  private let start = ContinuousClock().now
  private var verifier: (peer: PeerID, registration: Register)?
  private var drafter: (peer: PeerID, registration: Register)?
  private var sessionCount: UInt64 = 0

  /// Starts both and returns when they can be used.
  ///
  /// - Throws: ``RemoteFailure`` where they do not start, or namespaces are not permitted.
  package init(_ configuration: Configuration) async throws {
    hosts =
      configuration.roundTrip > .zero
      ? try DistantHosts(roundTrip: configuration.roundTrip) : nil
    folder = FileManager.default.temporaryDirectory
      .appending(path: "slipstream-bench-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    context = try ZeroMQContext()
    // Through the file system, which namespaces share: only the drafts are far away.
    let endpoint = "ipc://\(folder.path())/control"
    let transport = try ZeroMQRouter(context, bind: [endpoint])
    self.transport = transport
    let common =
      ["--router", endpoint, "--threads", "1", "--lifeline"]
      // Every generation is a tenant of its own, so that none learns from those before it.
      + ["--store-isolation", "tenant", "--store-tenants", "1"]
      + ["--log-level", configuration.logLevel]
      + (configuration.contextLength.map { ["--ctx-size", "\($0)"] } ?? [])
    // A copy, because the verifier will write there.
    let store = folder.appending(path: "verifier.store").path()
    if let from = configuration.draftStore {
      try FileManager.default.copyItem(atPath: from, toPath: store)
    }
    let address = hosts == nil ? "127.0.0.1" : DistantHosts.addresses[0]
    let arguments = [
      ["verifier", "-m", configuration.target, "--spec-type", configuration.localMethods]
        + ["--name", "bench-verifier"]
        + ["--draft-store", configuration.draftStore == nil ? "none" : store]
        + ["--bind", "tcp://\(address):*", "--insecure-plaintext"],
      ["drafter", "-m", configuration.draft, "--name", "bench-drafter", "--draft-store", "none"]
        + ["--spec-type", configuration.shape == .tree ? "draft" : "draft-chain"],
    ]
    workers = zip(arguments, configuration.processors).map { arguments, processor in
      WorkerProcess(
        executable: configuration.executable,
        arguments: arguments + common + ["--cpu-range", "\(processor)"]
      ) {
        // Ends the wait for whatever was expected.
        Task { await transport.close() }
      }
    }
    for (host, worker) in workers.enumerated() { try await worker.start(on: hosts, host: host) }
    let watch = deadline(Self.startTimeout)
    defer { watch.cancel() }
    while verifier == nil || drafter == nil { _ = try await nextTokens() }
  }

  /// Ends both.
  package func stop() async {
    for worker in workers { await worker.stop() }
    await transport.close()
    await context.close()
    // What is left behind is in the folder for temporary files.
    try? FileManager.default.removeItem(at: folder)
  }

  /// Decodes a prompt; without a pipeline the target decodes alone.
  ///
  /// - Throws: ``RemoteFailure`` where a worker ends or refuses.
  package func generate(
    _ prompt: [TokenID], sampling: SamplingParameters, tokenLimit: Int?, stopTokens: [TokenID],
    pipeline: Pipeline?
  ) async throws -> Run {
    guard let verifier, let drafter else { throw RemoteFailure("the workers are gone") }
    sessionCount += 1
    let id = SessionID(rawValue: sessionCount)
    var open = OpenSession(prompt: prompt, sampling: sampling)
    open.tokenLimit = tokenLimit
    open.endTokens = stopTokens
    open.draftOrigins = pipeline == nil ? [] : Set(DraftOrigin.allCases)
    open.pipeline = pipeline
    open.tenant = TenantID(
      bytes: (0..<TenantID.byteCount).map { UInt8(id.rawValue >> ($0 % 8 * 8) & 255) })
    try send(.openSession(open), in: id, to: verifier.peer)
    if pipeline != nil {
      let (target, draft) = (verifier.registration, drafter.registration)
      try send(
        .draftAssigned(DraftAssigned(drafterName: draft.name, drafterEpoch: draft.epoch)), in: id,
        to: verifier.peer)
      try send(
        .assignDraft(
          AssignDraft(
            verifierEndpoint: target.dataEndpoint, verifierName: target.name,
            verifierEpoch: target.epoch)), in: id, to: drafter.peer)
    }
    let watch = deadline(Self.runTimeout)
    defer { watch.cancel() }
    let clock = ContinuousClock()
    var run = Run()
    var first: (at: ContinuousClock.Instant, count: Int)?
    while true {
      guard let (session, message) = try await nextTokens(), session == id else { continue }
      run.tokens += message.tokens
      let now = clock.now
      if first == nil { first = (now, run.tokens.count) }
      guard let ending = message.ending, let first else { continue }
      let seconds = (now - first.at) / .seconds(1)
      run.tokensPerSecond = Double(run.tokens.count - first.count) / max(seconds, 1e-9)
      run.add(ending.statistics)
      return run
    }
  }

  /// What comes in next: tokens of a session, or something that was dealt with.
  private func nextTokens() async throws -> (SessionID, SessionTokens)? {
    // An iterator for each event: one that is kept could not wait outside of this object.
    var iterator = transport.events.makeAsyncIterator()
    let event = await iterator.next(isolation: #isolation)
    guard let event else {
      throw RemoteFailure("a worker ended or did not answer in time; see its message above")
    }
    guard case .message(let peer, let frame) = event else { return nil }
    let envelope = try Envelope(decoding: frame)
    switch envelope.message {
    case .register(let registration):
      if registration.role == .verifier {
        verifier = (peer, registration)
      } else {
        drafter = (peer, registration)
      }
      try send(
        .registered(.accepted(heartbeatInterval: .milliseconds(500), epoch: epoch)), to: peer)
    case .heartbeat(let heartbeat):
      var answer = Heartbeat(
        sequence: heartbeat.sequence, activeSessionCount: 0,
        sentAtNanoseconds: UInt64(max(1, (ContinuousClock().now - start) / .nanoseconds(1))))
      answer.echoNanoseconds = heartbeat.sentAtNanoseconds
      try send(.heartbeat(answer), to: peer)
    case .sessionTokens(let tokens): return (envelope.session, tokens)
    case .sessionFailed(let refusal): throw RemoteFailure("a worker refuses: \(refusal.message)")
    default: break
    }
    return nil
  }

  private func send(
    _ message: WireMessage, in session: SessionID = Envelope.noSession, to peer: PeerID
  ) throws {
    // One that is gone shows as the end of its process.
    _ = transport.send(try Envelope(session: session, message: message).encoded(), to: peer)
  }

  private func deadline(_ timeout: Duration) -> Task<Void, any Error> {
    Task { [transport] in
      try await Task.sleep(for: timeout)
      await transport.close()
    }
  }
}

extension RemotePair.Run {
  fileprivate mutating func add(_ statistics: SessionStatistics) {
    stepCount = statistics.verifyStepCount
    expectedTokenCount = Double(statistics.expectedTokenCount)
    draftCount = statistics.drafted.total
    acceptedCount = statistics.accepted.total
    acceptance = AcceptanceCounts(drafted: statistics.draftedAt, accepted: statistics.acceptedAt)
    linkBytes = statistics.draftBytes.inbound + statistics.draftBytes.outbound
    roundTrip = statistics.roundTrip
  }
}

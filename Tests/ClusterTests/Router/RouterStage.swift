import Cluster
import Decoding
import InferenceTypes
import Logging
import Testing
import Tokenizer
import Transport
import Wire

/// A router that runs, and the network around it.
final class RouterStage: Sendable {
  let network = InMemoryNetwork()
  let service: RouterService
  private let running: Task<Void, Never>

  /// The default settings, but that workers need no heartbeats, as no test lasts for a minute, and
  /// that stopping does not wait for sessions that a test left open.
  init(_ configure: (inout RouterConfiguration) -> Void = { _ in }) throws {
    var configuration = RouterConfiguration()
    configuration.routing.heartbeatInterval = .seconds(60)
    configuration.tickInterval = .milliseconds(5)
    configuration.drainMax = .zero
    configure(&configuration)
    let service = RouterService(
      configuration: configuration, tokenizer: try ByteVocabulary.tokenizer(),
      served: Self.model, modelFingerprint: try Self.fingerprint(1),
      transport: try network.bind("router"), logger: Self.logger)
    self.service = service
    running = Task { await service.run() }
  }

  func stop() async {
    running.cancel()
    await running.value
  }

  func connect() -> ScriptedWorker { ScriptedWorker(network.connect(to: "router")) }

  /// - Returns: a worker that the router has accepted.
  func join(
    _ role: WorkerRole, _ name: String, slots: Int = 4
  ) async throws -> ScriptedWorker {
    var worker = connect()
    try worker.send(.register(Self.registration(role, name, slots: slots)))
    let envelope = try await worker.next()
    guard case .registered(.accepted) = envelope.message else {
      throw ScriptedWorker.Surprise(envelope)
    }
    return worker
  }

  func generate(
    _ prompt: String = "hi", limit: Int? = nil, stops: [String] = []
  ) async throws(ServiceError) -> AsyncThrowingStream<GenerationEvent, any Error> {
    var request = GenerationRequest(
      prompt: ByteVocabulary.tokens(prompt), sampling: SamplingParameters(), tokenLimit: limit)
    request.stopStrings = stops
    return try await service.generate(request)
  }

  static func registration(
    _ role: WorkerRole, _ name: String, slots: Int = 4
  ) throws -> Register {
    var register = Register(
      role: role, name: name, epoch: InstanceEpoch(rawValue: 1), modelID: "m",
      modelFingerprint: try fingerprint(1),
      tokenizerFingerprint: try #require(
        Fingerprint(bytes: ByteVocabulary.tokenizer().fingerprint)),
      vocabularyCount: ByteVocabulary.count, contextLength: 100, slotCount: slots)
    if role == .verifier { register.dataEndpoint = "tcp://\(name):1" }
    return register
  }

  static func fingerprint(_ byte: UInt8) throws -> Fingerprint {
    try #require(Fingerprint(bytes: [UInt8](repeating: byte, count: Fingerprint.byteCount)))
  }

  static let model = ServedModel(
    id: "m", created: 0, vocabularyCount: ByteVocabulary.count, contextLength: 100,
    embeddingLength: 8, parameterCount: 1, sizeBytes: 1)
  static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
}

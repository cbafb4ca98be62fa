package import Cluster
package import Engine
package import Logging
package import Tokenizer
import Transport

/// Starts a router and a verifier in this process: the daemons' own services on one loaded model,
/// with frames over the loopback between them.
package struct ClusterHost: Sendable {
  private let model: Model
  private let tokenizer: BytePairTokenizer
  private let identity: WorkerIdentity
  private let served: ServedModel
  private let threadCount: Int
  private let keyValueMemoryBytes: Int?
  private let logger: Logger

  /// `keyValueMemoryBytes`: of all KV caches of the verifier, room for eight contexts unless told.
  package init(
    model: Model, tokenizer: BytePairTokenizer, identity: WorkerIdentity, served: ServedModel,
    threadCount: Int, keyValueMemoryBytes: Int?, logger: Logger
  ) {
    self.model = model
    self.tokenizer = tokenizer
    self.identity = identity
    self.served = served
    self.threadCount = threadCount
    self.keyValueMemoryBytes = keyValueMemoryBytes
    self.logger = logger
  }

  /// Calls `body` with a service whose one verifier has these local drafts, knows no text and has
  /// measured its costs. All of it has ended on return.
  ///
  /// - Throws: what the verifier throws at its start, and what `body` throws.
  package func withCluster<Result: Sendable>(
    methods: DraftMethods, slotCount: Int,
    _ body: @Sendable (any GenerationService) async throws -> Result
  ) async throws -> Result {
    let context = try ZeroMQContext()
    let transport = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
    guard let endpoint = transport.endpoints.first else {
      throw RemoteFailure("the router listens nowhere")
    }
    let router = RouterService(
      configuration: RouterConfiguration(), tokenizer: tokenizer, served: served,
      modelFingerprint: identity.modelFingerprint, transport: transport, logger: logger)
    var configuration = VerifierWorker.Configuration(
      identity: identity, routerEndpoint: endpoint, methods: methods)
    configuration.slotCount = slotCount
    configuration.threadCount = threadCount
    configuration.keyValueMemoryBytes = keyValueMemoryBytes
    let verifier = VerifierWorker(
      configuration: configuration, model: model, context: context, logger: logger)
    let (registered, registration) = AsyncThrowingStream.makeStream(of: Void.self)
    let routing = Task { await router.run() }
    let verifying = Task {
      do {
        try await verifier.run { registration.yield() }
        registration.finish()
      } catch { registration.finish(throwing: error) }
    }
    let outcome: Swift::Result<Result, any Error>
    do {
      var hasBegun = false
      for try await _ in registered {
        hasBegun = true
        break
      }
      guard hasBegun else { throw RemoteFailure("the verifier ended before it was ready") }
      outcome = .success(try await body(router))
    } catch { outcome = .failure(error) }
    verifying.cancel()
    await verifying.value
    routing.cancel()
    await routing.value
    await context.close()
    return try outcome.get()
  }
}

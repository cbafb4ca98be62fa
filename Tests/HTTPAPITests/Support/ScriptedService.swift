import Cluster
import HTTPAPI
import InferenceTypes
import Synchronization

/// A service whose generations a test writes.
final class ScriptedService: GenerationService {
  typealias Continuation = AsyncThrowingStream<GenerationEvent, any Error>.Continuation
  typealias Script = @Sendable (GenerationRequest, Continuation) throws(ServiceError) -> Void

  let model = ServedModel(
    id: "toy/model", created: 1_700_000_000, vocabularyCount: 300, contextLength: 4096,
    embeddingLength: 8, parameterCount: 1000, sizeBytes: 4000)
  /// One element for each generation that was cancelled before its end.
  let cancellations: AsyncStream<Void>

  private let script: Script
  private let cancellation: AsyncStream<Void>.Continuation
  private let state: Mutex<(requests: [GenerationRequest], health: ServiceHealth)>

  /// The script fills the stream of a request, at once or later, or refuses it.
  init(
    health: ServiceHealth = ServiceHealth(verifierCount: 1, drafterCount: 2, isDraining: false),
    _ script: @escaping Script
  ) {
    self.script = script
    state = Mutex(([], health))
    (cancellations, cancellation) = AsyncStream.makeStream()
  }

  /// Says `pieces`, one token each, and ends.
  convenience init(saying pieces: [String], summary: GenerationSummary = .sample) {
    self.init { _, continuation in
      for (index, piece) in pieces.enumerated() {
        continuation.yield(.tokens(ids: [TokenID(UInt32(index + 1))], text: piece))
      }
      continuation.yield(.finished(summary, text: ""))
      continuation.finish()
    }
  }

  /// Refuses everything.
  convenience init(refusing error: ServiceError) {
    self.init { _, _ throws(ServiceError) in throw error }
  }

  var requests: [GenerationRequest] { state.withLock { $0.requests } }

  func health() async -> ServiceHealth { state.withLock { $0.health } }

  func metrics() async -> [MetricFamily] {
    var requests = MetricFamily("toy_requests_total", .counter, "Requests.")
    requests.add(Double(self.requests.count))
    return [requests]
  }

  func generate(
    _ request: GenerationRequest
  ) async throws(ServiceError) -> AsyncThrowingStream<GenerationEvent, any Error> {
    state.withLock { $0.requests.append(request) }
    let (stream, continuation) = AsyncThrowingStream<GenerationEvent, any Error>.makeStream()
    continuation.onTermination = { [cancellation] reason in
      if case .cancelled = reason { cancellation.yield() }
    }
    try script(request, continuation)
    return stream
  }
}

extension GenerationSummary {
  /// Two prompt tokens of seven were cached, two drafts of three were right.
  static var sample: GenerationSummary {
    var summary = GenerationSummary()
    summary.promptTokenCount = 7
    summary.cachedTokenCount = 2
    summary.completionTokenCount = 4
    summary.promptDuration = .milliseconds(10)
    summary.decodeDuration = .milliseconds(8)
    summary.verifyStepCount = 2
    summary.draftTokenCount = 3
    summary.acceptedTokenCount = 2
    return summary
  }
}

/// One token for each byte; ids from 256 are control tokens.
struct ByteCodec: TextCodec {
  func encode(_ text: String) -> [TokenID] { encode(continuation: text) }

  func encode(continuation text: String) -> [TokenID] { text.utf8.map { TokenID(UInt32($0)) } }

  func encode(chat: [ChatTurn]) throws(ChatTemplateFailure) -> [TokenID] {
    guard chat.first?.role != .assistant else { throw .refused("the first turn is the user's") }
    return encode(chat.map { "\($0.role.rawValue)=\($0.content);" }.joined())
  }

  func text(of token: TokenID) -> [UInt8] { UInt8(exactly: token.rawValue).map { [$0] } ?? [] }
}

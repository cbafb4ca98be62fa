import Cluster
import HTTPAPI
import InferenceTypes
import Testing

@Suite(.timeLimit(.minutes(1)))
struct DisconnectTests {
  /// Ends at once if asked "ok"; else speaks once and never ends.
  private static func endless(onStart: @escaping @Sendable () -> Void = {}) -> ScriptedService {
    ScriptedService { request, continuation in
      if request.prompt == ByteCodec().encode("ok") {
        continuation.yield(.finished(.sample, text: "answered"))
        continuation.finish()
      } else {
        continuation.yield(.tokens(ids: [1], text: "first"))
      }
      onStart()
    }
  }

  @Test func leavingAStreamCancelsTheGeneration() async throws {
    let service = Self.endless()
    try await withServer(service) { port in
      let answer = try await RawConnection(port: port).leave(
        after: httpRequest("POST", "/v1/completions", #"{"prompt":"x","stream":true}"#),
        until: "first")
      #expect(answer.contains("first"))
      var cancellations = service.cancellations.makeAsyncIterator()
      #expect(await cancellations.next() != nil)
    }
  }

  @Test func leavingAWholeAnswerCancelsTheGeneration() async throws {
    let (starts, started) = AsyncStream<Void>.makeStream()
    let service = Self.endless(onStart: { started.yield() })
    try await withServer(service) { port in
      let request = httpRequest("POST", "/v1/completions", #"{"prompt":"x"}"#)
      try await RawConnection(port: port).exchange(request) { _, _ in
        var iterator = starts.makeAsyncIterator()
        await iterator.next()
      }
      var cancellations = service.cancellations.makeAsyncIterator()
      #expect(await cancellations.next() != nil)
    }
  }

  @Test func clientThatTakesNothingIsCut() async throws {
    let flood = String(repeating: "x", count: 1 << 20)
    let service = ScriptedService { _, continuation in
      for _ in 0..<64 { continuation.yield(.tokens(ids: [1], text: flood)) }
    }
    try await withServer(service, with: .stallTimeout(.milliseconds(50))) { port in
      let request = httpRequest("POST", "/v1/completions", #"{"prompt":"x","stream":true}"#)
      try await RawConnection(port: port).exchange(request) { _, _ in
        var cancellations = service.cancellations.makeAsyncIterator()
        #expect(await cancellations.next() != nil)
      }
    }
  }

  @Test func stormOfDisconnectsLeavesTheServerAnswering() async throws {
    let service = Self.endless()
    try await withServer(service) { port in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for index in 0..<60 { group.addTask { try await Self.visit(port: port, index: index) } }
        try await group.waitForAll()
      }
      #expect(try await send("GET", "/health", to: port).status == 200)
      let answer = try await send("POST", "/v1/completions", #"{"prompt":"ok"}"#, to: port)
      #expect(answer.body.contains("answered"))
      // Every generation that began is over.
      var cancellations = service.cancellations.makeAsyncIterator()
      for _ in 1..<service.requests.count { await cancellations.next() }
    }
  }

  /// One client that leaves: within its own request, right after it, or after the first text.
  private static func visit(port: Int, index: Int) async throws {
    let path = index % 2 == 0 ? "/v1/completions" : "/v1/chat/completions"
    let streams = index % 3 > 0
    let body = #"{"prompt":"x","messages":[{"role":"user","content":"x"}],"stream":\#(streams)}"#
    let request = httpRequest("POST", path, body)
    let connection = try await RawConnection(port: port)
    switch index % 5 {
    case 0: try await connection.exchange(String(request.dropLast(5))) { _, _ in }
    case 1, 2: try await connection.exchange(request) { _, _ in }
    default:
      if streams {
        let answer = try await connection.leave(after: request, until: "first")
        #expect(answer.contains("first"))
      } else {
        try await connection.exchange(request) { _, _ in }
      }
    }
  }
}

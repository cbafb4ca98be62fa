import Cluster
import HTTPAPI
import InferenceTypes
import NIOCore
import NIOPosix
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ClientTests {
  @Test(arguments: [true, false])
  func clientGetsTextTokensCountersAndSeed(_ streams: Bool) async throws {
    let service = ScriptedService(saying: ["Hé", "", "llo\n\n"])
    try await withServer(service, keys: ["k"]) { port in
      let client = try CompletionClient(url: "http://127.0.0.1:\(port)/v1/", apiKey: "k")
      for prompt in [
        CompletionQuery.Prompt.text("ab"), .tokens([97, 98]),
        .chat([ChatTurn(role: .system, content: "a"), ChatTurn(role: .user, content: "b")]),
      ] {
        var query = CompletionQuery(prompt: prompt)
        query.streams = streams
        query.returnsTokens = true
        query.seed = 77
        var pieces: [String] = []
        let result = try await client.complete(query) { pieces.append($0) }
        #expect(pieces == (streams ? ["Hé", "llo\n\n"] : ["Héllo\n\n"]))
        #expect(result.text == "Héllo\n\n")
        #expect(result.tokens == [1, 2, 3])
        #expect(result.summary == .sample)
        #expect(result.model == "toy/model")
        #expect(result.seed == 77)
      }
    }
    let ab = ByteCodec().encode("ab")
    #expect(service.requests.map(\.prompt) == [ab, ab, ByteCodec().encode("system=a;user=b;")])
  }

  @Test func queryReachesTheClusterWhole() async throws {
    let service = ScriptedService(saying: ["a"])
    var query = CompletionQuery(prompt: .text("x"))
    query.sampling = .commandLine
    query.sampling.repetitionPenalty = 1.1
    query.sampling.frequencyPenalty = 0.3
    query.sampling.presencePenalty = -0.7
    query.sampling.logitBias = [
      LogitBias(token: 1, bias: 0.1), LogitBias(token: 2, bias: -.infinity),
    ]
    let seed = UInt64.max - 1
    query.seed = seed
    query.tokenLimit = 9
    query.stopStrings = ["\"\\\u{1}", "é"]
    query.ignoresEndOfSequence = true
    try await withServer(service) { port in
      let result = try await CompletionClient(url: "http://localhost:\(port)").complete(query)
      #expect(result.seed == seed)
    }
    let request = try #require(service.requests.first)
    var sampling = query.sampling
    sampling.seed = seed
    #expect(request.sampling == sampling)
    #expect(request.tokenLimit == 9)
    #expect(request.stopStrings == query.stopStrings)
    #expect(request.ignoresEndOfSequence)
  }

  @Test func refusalsAndBrokenStreamsAreErrors() async throws {
    let refusing = ScriptedService(refusing: .noVerifier)
    try await withServer(refusing) { port in
      let client = try CompletionClient(url: "http://127.0.0.1:\(port)")
      let error = CompletionClientError.refused(
        status: 503, code: "no_verifier", message: "no verifier is connected to this router")
      await #expect(throws: error) {
        try await client.complete(CompletionQuery(prompt: .text("x")))
      }
    }
    let breaking = ScriptedService { _, continuation in
      continuation.yield(.tokens(ids: [1], text: "a"))
      continuation.finish(throwing: ServiceError.workerFailed("w"))
    }
    try await withServer(breaking) { port in
      let client = try CompletionClient(url: "http://127.0.0.1:\(port)")
      let error = CompletionClientError.refused(
        status: 200, code: "worker_failed", message: "the worker failed to generate")
      await #expect(throws: error) {
        try await client.complete(CompletionQuery(prompt: .text("x")))
      }
    }
  }

  @Test func cancellingTheClientCancelsTheGeneration() async throws {
    let service = ScriptedService { _, continuation in
      continuation.yield(.tokens(ids: [1], text: "first"))
    }
    try await withServer(service) { port in
      let client = try CompletionClient(url: "http://127.0.0.1:\(port)")
      let (pieces, piece) = AsyncStream<String>.makeStream()
      await withThrowingTaskGroup(of: CompletionResult.self) { group in
        group.addTask {
          try await client.complete(CompletionQuery(prompt: .text("x"))) { piece.yield($0) }
        }
        var iterator = pieces.makeAsyncIterator()
        #expect(await iterator.next() == "first")
        group.cancelAll()
        await #expect(throws: CancellationError.self) { try await group.next() }
      }
      var cancellations = service.cancellations.makeAsyncIterator()
      await cancellations.next()
    }
  }

  @Test func refusedConnectionTellsHowToStartACluster() async throws {
    // Bound and closed again: nothing listens there.
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .bind(host: "127.0.0.1", port: 0).get()
    let port = try #require(channel.localAddress?.port)
    try await channel.close()
    let url = "http://127.0.0.1:\(port)"
    let client = try CompletionClient(url: url)
    let error = await #expect(throws: CompletionClientError.self) {
      try await client.complete(CompletionQuery(prompt: .text("x")))
    }
    let text = String(describing: try #require(error))
    #expect(text.contains(url))
    #expect(text.contains("slipstream up"))
  }

  @Test(arguments: [
    "", "localhost", "localhost:8080", "ftp://x", "http://", "http://:80", "http://x:0",
    "http://x:99999", "http://x:y", "http://a b", "http://user@x",
  ])
  func whatIsNoAddressIsRefused(_ url: String) {
    #expect(throws: CompletionClientError.invalidURL(url)) { try CompletionClient(url: url) }
  }

  @Test func encryptedAddressIsRefusedWithAReason() {
    let error = #expect(throws: CompletionClientError.self) {
      try CompletionClient(url: "https://example.org")
    }
    #expect(error == .encryptedURL("https://example.org"))
    #expect(error.map { "\($0)" }?.contains("https is not supported") == true)
  }

  @Test(arguments: [
    (
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {\"choices\":[]}\n\n",
      CompletionClientError.interrupted(url: "")
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", .unreadable(url: "")),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", .interrupted(url: "")),
    ("no http at all\r\n\r\n", .unreadable(url: "")),
    ("", .interrupted(url: "")),
    (
      "HTTP/1.1 502 Bad\r\nContent-Length: 2\r\n\r\nhi",
      .refused(status: 502, code: "error", message: "the server gave no reason")
    ),
  ])
  func strangeServersAreErrors(_ answer: String, _ expected: CompletionClientError) async throws {
    try await withFixedAnswer(Array(answer.utf8)) { port in
      let client = try CompletionClient(url: "http://127.0.0.1:\(port)")
      let error = await #expect(throws: CompletionClientError.self) {
        try await client.complete(CompletionQuery(prompt: .text("x")))
      }
      switch (try #require(error), expected) {
      case (.interrupted, .interrupted), (.unreadable, .unreadable): break
      case (let error, let expected): #expect(error == expected)
      }
    }
  }

  @Test func eventsMayBeCutAnywhere() async throws {
    let stream =
      ":\r\nevent: x\r\ndata: {\"choices\":[{\"text\":\"é\"}]}\r\n\r\n: ping\n\n"
      + "data:{\"choices\":[{\"text\":\"b\"}]}\n\ndata: [DONE]\n\n"
    let bytes = Array(stream.utf8)
    for cut in stride(from: 1, to: bytes.count, by: 7) {
      let parts = [bytes[..<cut], bytes[cut...]]
      let answer =
        Array(
          "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            .utf8)
        + parts.flatMap {
          Array("\(String($0.count, radix: 16))\r\n".utf8) + $0 + Array("\r\n".utf8)
        }
      try await withFixedAnswer(answer) { port in
        let client = try CompletionClient(url: "http://127.0.0.1:\(port)")
        let result = try await client.complete(CompletionQuery(prompt: .text("x")))
        #expect(result.text == "éb")
      }
    }
  }

  /// A server that sends `answer` to the first request, and closes.
  private func withFixedAnswer(
    _ answer: [UInt8], _ body: (_ port: Int) async throws -> Void
  ) async throws {
    let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .bind(host: "127.0.0.1", port: 0) { channel in
        channel.eventLoop.makeCompletedFuture {
          try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
        }
      }
    let port = try #require(server.channel.localAddress?.port)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await server.executeThenClose { clients in
          for try await client in clients {
            try await client.executeThenClose { inbound, outbound in
              var input = inbound.makeAsyncIterator()
              _ = try await input.next()
              try await outbound.write(ByteBuffer(bytes: answer))
            }
          }
        }
      }
      defer { group.cancelAll() }
      try await body(port)
    }
  }
}

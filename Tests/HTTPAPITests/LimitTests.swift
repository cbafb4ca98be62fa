import Cluster
import HTTPAPI
import InferenceTypes
import Logging
import NIOCore
import ServiceLifecycle
import Testing

@Suite(.timeLimit(.minutes(1)))
struct LimitTests {
  @Test(arguments: [
    ("localhost", true), ("127.0.0.1", true), ("127.9.8.7", true), ("::1", true),
    ("0.0.0.0", false), ("::", false), ("192.168.0.1", false), ("example.org", false),
    ("127.0.0.1.example.org", false), ("127.0.0", false), ("127.0.0.256", false), ("", false),
  ])
  func onlyLoopbackIsServedWithoutKey(_ host: String, _ isLoopback: Bool) throws {
    let open = APIConfiguration(host: host, port: 0, version: "1")
    #expect(open.isLoopback == isLoopback)
    if isLoopback {
      try open.validate()
    } else {
      let error = APIConfigurationError.openToStrangers(host: host)
      #expect(throws: error) { try open.validate() }
      #expect("\(error)".contains("--api-key"))
    }
    try APIConfiguration(host: host, port: 0, apiKeys: ["k"], version: "1").validate()
    #expect(throws: APIConfigurationError.emptyKey) {
      try APIConfiguration(host: host, port: 0, apiKeys: ["k", ""], version: "1").validate()
    }
  }

  @Test(arguments: [-1, 65_536])
  func portsOutOfRangeAreRefused(_ port: Int) {
    #expect(throws: APIConfigurationError.portOutOfRange(port)) {
      try APIConfiguration(port: port, version: "1").validate()
    }
  }

  @Test func bodyUpToTheLimitIsReadAndOneByteMoreIsNot() async throws {
    let service = ScriptedService(saying: [])
    try await withServer(service, with: .bodySizeLimit(1000)) { port in
      let frame = #"{"prompt":""}"#
      for excess in [0, 1] {
        let text = String(repeating: "a", count: 1000 - frame.utf8.count + excess)
        let body = #"{"prompt":"\#(text)"}"#
        let declared = try await send("POST", "/v1/completions", body, to: port)
        let chunked =
          "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
          + "Transfer-Encoding: chunked\r\n\r\n\(String(body.utf8.count, radix: 16))\r\n"
          + body + "\r\n0\r\n\r\n"
        for answer in [declared, try await RawConnection(port: port).answer(to: chunked)] {
          #expect(answer.status == (excess == 0 ? 200 : 413))
          guard excess == 1 else { continue }
          #expect(answer.body.contains("larger than 1000 bytes"))
          #expect(answer.body.contains(#""code":"request_too_large""#))
        }
      }
    }
  }

  @Test func drippingBodyIsCut() async throws {
    let service = ScriptedService(saying: [])
    try await withServer(service, with: .bodyDeadline(.milliseconds(100))) { port in
      let head =
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n{"
      let answer = try await RawConnection(port: port).exchange(head) { input, output in
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            // The pace of the dripping, not a wait for something.
            while (try? await Task.sleep(for: .milliseconds(5))) != nil {
              try await output.write(ByteBuffer(string: " "))
            }
          }
          var answer = ""
          while !answer.contains("}}"), let buffer = try await input.next() {
            answer += String(buffer: buffer)
          }
          group.cancelAll()
          return answer
        }
      }
      #expect(answer.contains("408 Request Timeout"))
      #expect(answer.lowercased().contains("connection: close"))
      #expect(answer.contains(#""type":"timeout_error","param":null,"code":"request_timeout""#))
      #expect(service.requests.isEmpty)
      #expect(try await send("GET", "/health", to: port).status == 200)
    }
  }

  @Test func refusedClientThatGoesOnSendingIsCut() async throws {
    let service = ScriptedService(saying: [])
    try await withServer(service, keys: ["k"], with: .bodyDeadline(.milliseconds(100))) {
      port in
      let head =
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      // Returns: the server closes though the body never ends.
      let answer = try await RawConnection(port: port).answer(to: head)
      #expect(answer.status == 401)
    }
  }

  @Test func shutdownDoesNotWaitForClientsThatDoNotRead() async throws {
    let flood = String(repeating: "x", count: 1 << 20)
    let service = ScriptedService { _, continuation in
      for _ in 0..<64 { continuation.yield(.tokens(ids: [1], text: flood)) }
    }
    var configuration = APIConfiguration(port: 0, version: "1")
    configuration.shutdownDuration = .milliseconds(50)
    let (ports, continuation) = AsyncStream<Int>.makeStream()
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    let server = try APIServer(
      configuration: configuration, service: service, codec: ByteCodec(), logger: logger,
      onRunning: { continuation.yield($0) })
    let group = ServiceGroup(services: [server], logger: logger)
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask { try await group.run() }
      var iterator = ports.makeAsyncIterator()
      let port = try #require(await iterator.next())
      let request = httpRequest("POST", "/v1/completions", #"{"prompt":"x","stream":true}"#)
      try await RawConnection(port: port).exchange(request) { input, _ in
        _ = try await input.next()
        await group.triggerGracefulShutdown()
        try await tasks.next()
      }
    }
    var cancellations = service.cancellations.makeAsyncIterator()
    await cancellations.next()
  }
}

import Cluster
import HTTPAPI
import Logging
import NIOCore
import NIOPosix
import Testing

/// A setting that a test needs small.
enum Change {
  case bodySizeLimit(Int)
  case bodyDeadline(Duration)
  case pingInterval(Duration)
  case stallTimeout(Duration)

  func apply(to configuration: inout APIConfiguration) {
    switch self {
    case .bodySizeLimit(let limit): configuration.bodySizeLimit = limit
    case .bodyDeadline(let deadline): configuration.bodyDeadline = deadline
    case .pingInterval(let interval): configuration.pingInterval = interval
    case .stallTimeout(let timeout): configuration.stallTimeout = timeout
    }
  }
}

/// Runs a server on a free port around `body`.
func withServer<Value: Sendable>(
  _ service: some GenerationService, keys: [String] = [],
  with change: Change? = nil,
  _ body: (_ port: Int) async throws -> Value
) async throws -> Value {
  var configuration = APIConfiguration(port: 0, apiKeys: keys, version: "1.2.3")
  change?.apply(to: &configuration)
  let (ports, continuation) = AsyncStream<Int>.makeStream()
  let server = try APIServer(
    configuration: configuration, service: service, codec: ByteCodec(),
    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
    onRunning: { continuation.yield($0) })
  return try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask {
      defer { continuation.finish() }
      try await server.run()
    }
    defer { group.cancelAll() }
    var iterator = ports.makeAsyncIterator()
    let port = try #require(await iterator.next())
    return try await body(port)
  }
}

/// Bytes to and from a server, without any HTTP in between.
struct RawConnection {
  private let channel: NIOAsyncChannel<ByteBuffer, ByteBuffer>

  init(port: Int) async throws {
    channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connect(host: "127.0.0.1", port: port) { channel in
        channel.eventLoop.makeCompletedFuture {
          try NIOAsyncChannel(wrappingChannelSynchronously: channel)
        }
      }
  }

  /// Sends `text` and gives what comes back to `body`; closes the connection when that returns.
  func exchange<Value: Sendable>(
    _ text: String,
    _ body: (
      inout Input,
      NIOAsyncChannelOutboundWriter<ByteBuffer>
    ) async throws -> Value
  ) async throws -> Value {
    try await channel.executeThenClose { inbound, outbound in
      try await outbound.write(ByteBuffer(string: text))
      var input = Input(iterator: inbound.makeAsyncIterator())
      return try await body(&input, outbound)
    }
  }

  /// What the server sends, buffer by buffer, until it closes.
  struct Input {
    fileprivate var iterator: NIOAsyncChannelInboundStream<ByteBuffer>.AsyncIterator

    mutating func next() async throws -> ByteBuffer? {
      try await iterator.next(isolation: #isolation)
    }
  }

  /// Sends `text` and closes as soon as the answer holds `needle`.
  func leave(after text: String, until needle: String) async throws -> String {
    try await exchange(text) { input, _ in
      var answer = ""
      while !answer.contains(needle), let buffer = try await input.next() {
        answer += String(buffer: buffer)
      }
      return answer
    }
  }

  /// Sends `text` and reads until the server closes.
  func answer(to text: String) async throws -> Answer {
    try await exchange(text) { input, _ in
      var bytes: [UInt8] = []
      while let buffer = try await input.next() { bytes += buffer.readableBytesView }
      return try Answer(String(decoding: bytes, as: UTF8.self))
    }
  }
}

/// A response as it came over the wire, `Transfer-Encoding` undone.
struct Answer {
  var status: Int
  var headers: [String: String] = [:]
  var body: String

  init(_ text: String) throws {
    let end = try #require(text.firstRange(of: "\r\n\r\n"))
    let lines = text[..<end.lowerBound].split(separator: "\r\n")
    let statusLine = try #require(lines.first).split(separator: " ")
    status = try #require(Int(statusLine[1]))
    for line in lines.dropFirst() {
      let colon = try #require(line.firstIndex(of: ":"))
      let value = line[line.index(after: colon)...].drop { $0 == " " }
      headers[line[..<colon].lowercased()] = String(value)
    }
    body = String(text[end.upperBound...])
    guard headers["transfer-encoding"] == "chunked" else { return }
    var rest = Array(body.utf8)[...]
    var bytes: [UInt8] = []
    while let lineEnd = rest.firstIndex(of: UInt8(ascii: "\r")) {
      let digits = String(decoding: rest[..<lineEnd], as: UTF8.self)
      let count = try #require(Int(digits, radix: 16))
      rest = rest[(lineEnd + 2)...]
      bytes += rest.prefix(count)
      rest = rest.dropFirst(count + 2)
    }
    body = String(decoding: bytes, as: UTF8.self)
  }
}

/// A request as text; the server is asked to close after its answer.
func httpRequest(
  _ method: String, _ path: String, _ body: String = "", headers: [String] = []
) -> String {
  let lines =
    ["\(method) \(path) HTTP/1.1", "Host: test", "Connection: close"] + headers
    + (body.isEmpty ? [] : ["Content-Length: \(body.utf8.count)"])
  return lines.joined(separator: "\r\n") + "\r\n\r\n" + body
}

/// Sends one request on a connection of its own.
func send(
  _ method: String, _ path: String, _ body: String = "", headers: [String] = [], to port: Int
) async throws -> Answer {
  try await RawConnection(port: port)
    .answer(to: httpRequest(method, path, body, headers: headers))
}

import NIOCore
import NIOHTTP1
import NIOPosix

/// Asks a router, or another server with OpenAI's completion endpoints, for text.
package struct CompletionClient: Sendable {
  /// Largest answer in bytes that is read in one piece.
  private static let bodySizeLimit = 64 << 20

  private let url: String
  private let host: String
  private let port: Int
  private let pathPrefix: String
  private let apiKey: String?

  /// - Parameters:
  ///   - url: `http://host[:port]`, with or without `/v1`; the port is 80 if not given.
  ///   - apiKey: is sent as `Authorization: Bearer`.
  /// - Throws: ``CompletionClientError/invalidURL(_:)`` or
  ///   ``CompletionClientError/encryptedURL(_:)``.
  package init(url: String, apiKey: String? = nil) throws(CompletionClientError) {
    if url.lowercased().hasPrefix("https://") { throw .encryptedURL(url) }
    let scheme = "http://"
    guard url.lowercased().hasPrefix(scheme),
      url.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
    else { throw .invalidURL(url) }
    let rest = url.dropFirst(scheme.count)
    let authority = rest.prefix { $0 != "/" }
    var path = String(rest.dropFirst(authority.count))
    while path.hasSuffix("/") { path.removeLast() }
    if path == "/v1" || path.hasSuffix("/v1") { path.removeLast(3) }

    // The brackets of an IPv6 address keep its colons from looking like a port.
    var name = authority
    var portText: Substring?
    if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
      name = authority[..<colon]
      portText = authority[authority.index(after: colon)...]
    }
    if name.hasPrefix("["), name.hasSuffix("]") { name = name.dropFirst().dropLast() }
    guard !name.isEmpty, !name.contains("@"), let port = portText.map({ Int($0) }) ?? 80,
      (1...65535).contains(port)
    else { throw .invalidURL(url) }
    self.url = url
    host = String(name)
    self.port = port
    pathPrefix = path
    self.apiKey = apiKey
  }

  /// Sends a query and waits for the end of the answer. Cancelling the task closes the connection,
  /// which ends the generation.
  ///
  /// - Parameters:
  ///   - query: what to ask.
  ///   - onText: gets each new piece of text.
  /// - Returns: the whole answer.
  /// - Throws: ``CompletionClientError``, `CancellationError`, or what `onText` throws.
  package func complete(
    _ query: CompletionQuery, onText: (String) async throws -> Void = { _ in }
  ) async throws -> CompletionResult {
    let channel = try await connect()
    do {
      return try await channel.executeThenClose { inbound, outbound in
        try await send(query, to: outbound)
        return try await receive(inbound, onText: onText)
      }
    } catch let error as ChannelError where error == .alreadyClosed {
      throw CompletionClientError.interrupted(url: url)
    } catch is IOError {
      throw CompletionClientError.interrupted(url: url)
    } catch HTTPParserError.invalidEOFState {
      throw CompletionClientError.interrupted(url: url)
    } catch is HTTPParserError {
      throw CompletionClientError.unreadable(url: url)
    }
  }

  private typealias Connection = NIOAsyncChannel<HTTPClientResponsePart, HTTPClientRequestPart>

  private func connect() async throws -> Connection {
    do {
      return try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connectTimeout(.seconds(10))
        .connect(host: host, port: port) { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHTTPClientHandlers()
            return try Connection(wrappingChannelSynchronously: channel)
          }
        }
    } catch let error as CancellationError {
      throw error
    } catch let error as NIOConnectionError {
      let reason = error.connectionErrors.first.map { "\($0.error)" } ?? "unknown host"
      throw CompletionClientError.unreachable(url: url, reason: reason)
    } catch {
      throw CompletionClientError.unreachable(url: url, reason: "\(error)")
    }
  }

  private func send(
    _ query: CompletionQuery, to outbound: NIOAsyncChannelOutboundWriter<HTTPClientRequestPart>
  ) async throws {
    let body = ByteBuffer(string: query.body.text)
    var headers = HTTPHeaders([
      ("host", host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"),
      ("content-type", "application/json"), ("content-length", String(body.readableBytes)),
      ("accept", query.streams ? "text/event-stream" : "application/json"),
      ("connection", "close"),
    ])
    if let apiKey { headers.add(name: "authorization", value: "Bearer \(apiKey)") }
    let head = HTTPRequestHead(
      version: .http1_1, method: .POST, uri: pathPrefix + query.path, headers: headers)
    try await outbound.write(contentsOf: [.head(head), .body(.byteBuffer(body)), .end(nil)])
  }

  private func receive(
    _ inbound: NIOAsyncChannelInboundStream<HTTPClientResponsePart>,
    onText: (String) async throws -> Void
  ) async throws -> CompletionResult {
    var status = 0
    var isStream = false
    var body: [UInt8] = []
    var events = ServerSentEvents()
    var result = CompletionResult()
    for try await part in inbound {
      switch part {
      case .head(let head):
        status = Int(head.status.code)
        let type = head.headers.first(name: "content-type") ?? ""
        isStream = status == 200 && type.hasPrefix("text/event-stream")
      case .body(let buffer) where isStream:
        guard let completed = events.receive(buffer.readableBytesView) else {
          throw CompletionClientError.unreadable(url: url)
        }
        for event in completed {
          if event == Array("[DONE]".utf8) { return result }
          try await take(event, status: status, into: &result, onText: onText)
        }
      case .body(let buffer):
        guard body.count + buffer.readableBytes <= Self.bodySizeLimit else {
          throw CompletionClientError.unreadable(url: url)
        }
        body += buffer.readableBytesView
      case .end:
        guard !isStream else { throw CompletionClientError.interrupted(url: url) }
        try await take(body, status: status, into: &result, onText: onText)
        return result
      }
    }
    // A cancelled read ends like a closed connection.
    try Task.checkCancellation()
    throw CompletionClientError.interrupted(url: url)
  }

  private func take(
    _ bytes: [UInt8], status: Int, into result: inout CompletionResult,
    onText: (String) async throws -> Void
  ) async throws {
    // What is not JSON is told by its status, or as unreadable.
    let value = try? JSONParser.parse(bytes)
    if let error = value?["error"], error != .null {
      let code = error["code"]
      throw CompletionClientError.refused(
        status: status, code: code?.string ?? code?.exactInteger.map { String($0) } ?? "error",
        message: error["message"]?.string ?? "no message")
    }
    guard status == 200 else {
      throw CompletionClientError.refused(
        status: status, code: "error", message: "the server gave no reason")
    }
    guard let value, value["choices"] != nil else {
      throw CompletionClientError.unreadable(url: url)
    }
    let text = result.merge(value)
    if !text.isEmpty { try await onText(text) }
  }
}

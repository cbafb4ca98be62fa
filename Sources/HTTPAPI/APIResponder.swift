import Cluster
import Glibc
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1

/// Answers every request, failures included, in OpenAI's shapes.
struct APIResponder: HTTPResponder {
  let configuration: APIConfiguration
  let service: any GenerationService
  let codec: any TextCodec
  let keys: KeyRing

  init(configuration: APIConfiguration, service: any GenerationService, codec: any TextCodec) {
    self.configuration = configuration
    self.service = service
    self.codec = codec
    keys = KeyRing(configuration.apiKeys)
  }

  func respond(to request: Request, context: APIContext) async throws -> Response {
    var response: Response
    do {
      response = try await answer(request, context: context)
    } catch let error as HTTPParserError {
      // The server layer answers what is not HTTP, and closes.
      throw error
    } catch is CancellationError {
      // The client is gone or the server stops: nobody reads this.
      response = Response(status: HTTPResponse.Status(code: 499))
    } catch {
      let failure = APIError(any: error)
      if failure.status == 500 {
        context.logger.error("request failed", metadata: ["error": "\(error)"])
      }
      response = Self.response(failure)
    }
    response.headers[.requestID] = Self.requestID(request)
    return response
  }

  private func answer(_ request: Request, context: APIContext) async throws -> Response {
    let endpoint: Endpoint
    let collected: Request
    do {
      endpoint = try admit(request)
      collected = try await collectBody(request)
    } catch let error as APIError {
      var response = Self.response(error)
      // What is left of the body is not waited for longer than a body may take.
      if request.headers[.contentLength] != nil || request.headers[.transferEncoding] != nil {
        response.headers[.connection] = "close"
        context.closeConnection(after: configuration.bodyDeadline)
      }
      return response
    }
    let body = try await Array(buffer: collected.body.collect(upTo: configuration.bodySizeLimit))
    switch endpoint {
    case .chatCompletions:
      context.cutStalled(after: configuration.stallTimeout)
      return try await generate(.chat, request: collected, body: body)
    case .completions:
      context.cutStalled(after: configuration.stallTimeout)
      return try await generate(.completion, request: collected, body: body)
    case .models: return models()
    case .model(let id): return try model(id)
    case .health: return try await health()
    case .metrics: return await metrics()
    case .version: return Self.response(["version": .string(configuration.version)])
    case .tokenize: return try tokenize(body)
    case .detokenize: return try detokenize(body)
    }
  }

  /// The endpoint, after what the head alone decides: path, method, key and announced size.
  private func admit(_ request: Request) throws(APIError) -> Endpoint {
    let path = Endpoint.decodingPercents(request.uri.path)
    guard let endpoint = Endpoint(path: path) else { throw .unknownRoute(path) }
    let method = request.method.rawValue
    guard method == endpoint.method else {
      throw .methodNotAllowed(method, path: path, allowed: endpoint.method)
    }
    guard endpoint.isOpen || keys.admits(request.headers[.authorization]) else {
      throw .unauthorized
    }
    if let length = request.headers[.contentLength].flatMap({ Int($0) }),
      length > configuration.bodySizeLimit
    {
      throw .bodyTooLarge(limit: configuration.bodySizeLimit)
    }
    return endpoint
  }

  /// The request with its whole body in memory.
  ///
  /// Watching for the client's leaving is only safe on a collected body, and only a deadline ends
  /// one that arrives byte by byte.
  private func collectBody(_ request: Request) async throws -> Request {
    let limit = configuration.bodySizeLimit
    let deadline = configuration.bodyDeadline
    return try await withThrowingTaskGroup(of: Request?.self) { group in
      group.addTask {
        var request = request
        do {
          _ = try await request.collectBody(upTo: limit)
        } catch is NIOTooManyBytesError {
          throw APIError.bodyTooLarge(limit: limit)
        }
        return request
      }
      group.addTask {
        try await Task.sleep(for: deadline)
        return nil
      }
      defer { group.cancelAll() }
      guard let first = try await group.next(), let collected = first else {
        throw APIError.bodyTimeout(deadline)
      }
      return collected
    }
  }

  /// The client's own id for the request where it is fit for a header and a log, else a new one.
  private static func requestID(_ request: Request) -> String {
    guard let id = request.headers[.requestID], (1...128).contains(id.utf8.count),
      id.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
    else { return "req-\(randomName())" }
    return id
  }
}

extension APIResponder {
  static func response(_ body: JSONValue, status: HTTPResponse.Status = .ok) -> Response {
    Response(
      status: status, headers: [.contentType: "application/json; charset=utf-8"],
      body: ResponseBody(byteBuffer: ByteBuffer(string: body.text)))
  }

  static func response(text: String, type: String) -> Response {
    Response(
      status: .ok, headers: [.contentType: type],
      body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
  }

  static func response(_ error: APIError) -> Response {
    var response = response(error.body, status: HTTPResponse.Status(code: error.status))
    if let seconds = error.retryAfter {
      response.headers[.retryAfter] = String(seconds)
      response.headers[.retryAfterMilliseconds] = String(seconds * 1000)
    }
    if let methods = error.allowedMethods { response.headers[.allow] = methods }
    if error.status == 401 { response.headers[.wwwAuthenticate] = "Bearer" }
    return response
  }
}

/// One request on its connection.
struct APIContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  private let channel: any Channel

  init(source: ApplicationRequestContextSource) {
    coreContext = CoreRequestContextStorage(source: source)
    channel = source.channel
  }

  /// Closes the connection after a while if the client has not done so.
  func closeConnection(after delay: Duration) {
    let channel = channel
    let timer = channel.eventLoop.scheduleTask(in: .nanoseconds(delay.wholeNanoseconds)) {
      channel.close(promise: nil)
    }
    channel.closeFuture.whenComplete { _ in timer.cancel() }
  }

  /// Lets the kernel close the connection once sent bytes have waited this long for a client that
  /// is gone or does not read: writes to it would wait for ever.
  func cutStalled(after timeout: Duration) {
    let milliseconds = Int(clamping: timeout.wholeNanoseconds / 1_000_000)
    let option = ChannelOptions.Types.SocketOption(
      level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_USER_TIMEOUT))
    channel.setOption(option, value: milliseconds).whenFailure { [logger] error in
      logger.debug("no stall timeout", metadata: ["error": "\(error)"])
    }
  }
}

extension HTTPField.Name {
  static let requestID = named("x-request-id")
  static let retryAfterMilliseconds = named("retry-after-ms")
  /// There where the text is not the target's own.
  static let slipstreamMode = named("x-slipstream-mode")

  static func named(_ name: String) -> HTTPField.Name {
    guard let name = HTTPField.Name(name) else { preconditionFailure("bad header name \(name)") }
    return name
  }
}

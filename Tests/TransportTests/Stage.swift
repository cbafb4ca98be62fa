import Testing
import Transport

/// A kind of transport under test, and what was made of it.
final class Stage: Sendable {
  enum Kind: String, CaseIterable, CustomTestStringConvertible {
    case memory
    case tcp
    case tcp6
    case ipc

    var testDescription: String { rawValue }
  }

  private let kind: Kind
  private let network = InMemoryNetwork()
  private let context: ZeroMQContext

  init(_ kind: Kind) throws {
    self.kind = kind
    context = try ZeroMQContext()
  }

  /// An address that the system may complete.
  var freshEndpoint: String {
    switch kind {
    case .memory: "memory"
    case .tcp: "tcp://127.0.0.1:*"
    case .tcp6: "tcp://[::1]:*"
    case .ipc: "ipc://@slipstream-\(UInt64.random(in: .min ... .max))"
    }
  }

  func bind(
    _ endpoint: String? = nil, limits: TransportLimits = TransportLimits()
  ) throws -> any FrameTransport {
    let endpoint = endpoint ?? freshEndpoint
    return switch kind {
    case .memory: try network.bind(endpoint, limits: limits)
    case .tcp, .tcp6, .ipc: try ZeroMQRouter(context, bind: [endpoint], limits: limits)
    }
  }

  func connect(
    to endpoint: String, limits: TransportLimits = TransportLimits()
  ) throws -> any FrameTransport {
    switch kind {
    case .memory: network.connect(to: endpoint, limits: limits)
    case .tcp, .tcp6, .ipc: try ZeroMQDealer(context, connect: endpoint, limits: limits)
    }
  }

  func close() async { await context.close() }
}

/// Takes the events of one transport one by one. A test that waits in vain fails by its time limit.
struct EventReader {
  private var iterator: AsyncStream<TransportEvent>.AsyncIterator

  init(_ transport: any FrameTransport) { iterator = transport.events.makeAsyncIterator() }

  /// - Returns: the next event that is no failed handshake, which a restart may cause.
  mutating func next() async throws -> TransportEvent {
    while true {
      let event = try #require(await iterator.next(isolation: #isolation), "the stream ended")
      if event != .refused(.handshake) { return event }
    }
  }

  mutating func message() async throws -> (peer: PeerID, frame: [UInt8]) {
    let event = try await next()
    guard case .message(let peer, let frame) = event else {
      throw Unexpected(event: event)
    }
    return (peer, frame)
  }

  mutating func connection() async throws -> PeerID {
    let event = try await next()
    guard case .connected(let peer) = event else { throw Unexpected(event: event) }
    return peer
  }

  /// Events up to the end of the stream.
  mutating func rest() async -> [TransportEvent] {
    var events: [TransportEvent] = []
    while let event = await iterator.next(isolation: #isolation) { events.append(event) }
    return events
  }

  struct Unexpected: Error {
    let event: TransportEvent
  }
}

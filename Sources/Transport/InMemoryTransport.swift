import Synchronization

/// Transports inside one process that deliver a frame before `send` returns: same calls, same
/// result. For tests and simulation.
package final class InMemoryNetwork: Sendable {
  private struct End {
    let queue: EventQueue
    let endpoint: String
    let limits: TransportLimits
    let isServer: Bool
    /// Of a connecting end, while the other end is there.
    var connection: PeerID?
  }

  private struct Connection {
    let client: Int
    let server: Int
    /// Whether the server has heard of the client.
    var isIntroduced = false
  }

  private struct State {
    var ends: [Int: End] = [:]
    var connections: [PeerID: Connection] = [:]
    var endCount = 0
    var connectionCount: UInt32 = 0
  }

  // Events are written under the lock, before that of the queue, so that each end sees one order.
  // That runs no reader: it only makes the reader's task runnable.
  private let state = Mutex(State())

  package init() {}

  /// Makes the binding end of an endpoint, which may have any name.
  ///
  /// - Throws: ``TransportError/addressInUse(_:)`` where there is one already.
  package func bind(
    _ endpoint: String, limits: TransportLimits = TransportLimits()
  ) throws(TransportError) -> InMemoryTransport {
    let queue = EventQueue(limits)
    let end = End(queue: queue, endpoint: endpoint, limits: limits, isServer: true)
    let id = state.withLock { state -> Int? in
      guard !state.ends.values.contains(where: { $0.isServer && $0.endpoint == endpoint }) else {
        return nil
      }
      let id = Self.add(end, to: &state)
      let waiting = state.ends.filter { !$0.value.isServer && $0.value.endpoint == endpoint }
      for client in waiting.keys.sorted() { Self.connect(client, to: id, &state) }
      return id
    }
    guard let id else { throw .addressInUse(endpoint) }
    return InMemoryTransport(network: self, id: id, endpoint: endpoint, events: queue.makeStream())
  }

  /// Makes a connecting end. The binding end need not be there yet.
  package func connect(
    to endpoint: String, limits: TransportLimits = TransportLimits()
  ) -> InMemoryTransport {
    let queue = EventQueue(limits)
    let end = End(queue: queue, endpoint: endpoint, limits: limits, isServer: false)
    let id = state.withLock { state in
      let id = Self.add(end, to: &state)
      let server = state.ends.first { $0.value.isServer && $0.value.endpoint == endpoint }
      if let server { Self.connect(id, to: server.key, &state) }
      return id
    }
    return InMemoryTransport(network: self, id: id, endpoint: endpoint, events: queue.makeStream())
  }

  fileprivate func send(_ frame: [UInt8], from sender: Int, to peer: PeerID) -> SendResult {
    state.withLock { state in
      guard let end = state.ends[sender] else { return .closed }
      guard frame.count <= end.limits.frameBytesMax else {
        return .tooLarge(sizeBytes: frame.count, limit: end.limits.frameBytesMax)
      }
      if end.isServer {
        guard let connection = state.connections[peer], connection.server == sender,
          connection.isIntroduced
        else { return .peerGone }
        state.ends[connection.client]?.queue.emit(.message(from: .server, frame))
        return .queued
      }
      guard peer == .server, let id = end.connection, let connection = state.connections[id] else {
        return .peerGone
      }
      if !connection.isIntroduced {
        state.connections[id]?.isIntroduced = true
        state.ends[connection.server]?.queue.emit(.connected(id))
      }
      state.ends[connection.server]?.queue.emit(.message(from: id, frame))
      return .queued
    }
  }

  fileprivate func close(_ id: Int) {
    state.withLock { state in
      guard let end = state.ends.removeValue(forKey: id) else { return }
      let mine = state.connections.filter { $0.value.client == id || $0.value.server == id }
      for (peer, connection) in mine.sorted(by: { $0.value.client < $1.value.client }) {
        state.connections[peer] = nil
        state.ends[connection.client]?.connection = nil
        state.ends[connection.client]?.queue.emit(.disconnected(.server))
        if connection.isIntroduced {
          state.ends[connection.server]?.queue.emit(.disconnected(peer))
        }
      }
      end.queue.finish()
    }
  }

  private static func add(_ end: End, to state: inout State) -> Int {
    state.endCount += 1
    state.ends[state.endCount] = end
    return state.endCount
  }

  private static func connect(_ client: Int, to server: Int, _ state: inout State) {
    state.connectionCount += 1
    let number = state.connectionCount
    let peer = PeerID(bytes: [24, 16, 8, 0].map { UInt8(number >> $0 & 0xFF) })
    state.connections[peer] = Connection(client: client, server: server)
    state.ends[client]?.connection = peer
    state.ends[client]?.queue.emit(.connected(.server))
  }
}

/// One end in an ``InMemoryNetwork``.
package final class InMemoryTransport: FrameTransport {
  private let network: InMemoryNetwork
  private let id: Int
  package let endpoints: [String]
  package let events: AsyncStream<TransportEvent>

  fileprivate init(
    network: InMemoryNetwork, id: Int, endpoint: String, events: AsyncStream<TransportEvent>
  ) {
    self.network = network
    self.id = id
    self.endpoints = [endpoint]
    self.events = events
  }

  deinit { network.close(id) }

  package func send(_ frame: [UInt8], to peer: PeerID) -> SendResult {
    network.send(frame, from: id, to: peer)
  }

  package func close() async { network.close(id) }
}

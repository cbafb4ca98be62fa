import CZeroMQ
import Synchronization

/// A socket with its thread, and the queue through which other threads reach it.
///
/// The thread sleeps in `zmq_poll` on the socket, its monitor and a wake-up; nothing else touches
/// the socket. `Loop` in `ZeroMQLoop.swift` is what runs there.
final class ZeroMQPort: Sendable {
  enum Role: Sendable, Equatable {
    case router
    case dealer
  }

  struct OutboundFrame: Sendable {
    let peer: PeerID
    let bytes: [UInt8]
  }

  /// Frames to one peer that were taken over and that libzmq has not taken.
  struct Backlog {
    var frameCount = 0
    var bytes = 0
  }

  struct State {
    /// The live connections.
    var peers: [PeerID: Backlog] = [:]
    /// Frames that the thread has not seen yet.
    var outbound: [OutboundFrame] = []
    var isClosing = false
  }

  /// How long a closing socket waits for its peers, here and then in libzmq.
  static let lingerMilliseconds = 250

  let role: Role
  let limits: TransportLimits
  let state = Mutex(State())
  let wakeUp: WakeUp

  init(role: Role, limits: TransportLimits) throws(TransportError) {
    self.role = role
    self.limits = limits
    wakeUp = try WakeUp()
  }

  func send(_ frame: [UInt8], to peer: PeerID) -> SendResult {
    guard frame.count <= limits.frameBytesMax else {
      return .tooLarge(sizeBytes: frame.count, limit: limits.frameBytesMax)
    }
    var wasEmpty = false
    let result = state.withLock { state -> SendResult in
      guard !state.isClosing else { return .closed }
      guard var backlog = state.peers[peer] else { return .peerGone }
      backlog.frameCount += 1
      backlog.bytes += frame.count
      guard backlog.frameCount <= limits.outboundFrameCountMax,
        backlog.bytes <= limits.outboundBytesMax
      else { return .full }
      state.peers[peer] = backlog
      wasEmpty = state.outbound.isEmpty
      state.outbound.append(OutboundFrame(peer: peer, bytes: frame))
      return .queued
    }
    if wasEmpty { wakeUp.signal() }
    return result
  }

  func beginClosing() {
    state.withLock { $0.isClosing = true }
    wakeUp.signal()
  }

  /// Makes a socket with the options that all sockets share.
  func makeSocket(
    _ context: ZeroMQContext, usesIPv6: Bool
  ) throws(TransportError) -> ZeroMQSocket {
    let socket = try ZeroMQSocket(context, type: role == .router ? ZMQ_ROUTER : ZMQ_DEALER)
    let options: [(Int32, Int)] = [
      (ZMQ_LINGER, Self.lingerMilliseconds), (ZMQ_SNDHWM, 1000), (ZMQ_RCVHWM, 1000),
      (ZMQ_MAXMSGSIZE, limits.frameBytesMax), (ZMQ_IPV6, usesIPv6 ? 1 : 0),
      (ZMQ_HANDSHAKE_IVL, 2000), (ZMQ_HEARTBEAT_IVL, 200), (ZMQ_HEARTBEAT_TIMEOUT, 600),
      (ZMQ_HEARTBEAT_TTL, 1000),
    ]
    for (option, value) in options { try socket.set(option, value) }
    switch role {
    case .router:
      // Without it a frame to an unknown peer vanishes without an error.
      try socket.set(ZMQ_ROUTER_MANDATORY, 1)
    case .dealer:
      // Frames wait for a connection here, where they are counted, and not in libzmq.
      try socket.set(ZMQ_IMMEDIATE, 1)
      try socket.set(ZMQ_RECONNECT_IVL, 100)
      try socket.set(ZMQ_RECONNECT_IVL_MAX, 1000)
      try socket.set(ZMQ_CONNECT_TIMEOUT, 1000)
    }
    return socket
  }

  /// Starts the thread that owns the socket from now on.
  func start(
    _ socket: ZeroMQSocket, monitor: ZeroMQSocket, queue: EventQueue, name: String
  ) throws(TransportError) -> PinnedThread {
    try PinnedThread(name: name) { [self] in
      var loop = ZeroMQLoop(port: self, socket: socket, monitor: monitor, queue: queue)
      loop.run()
    }
  }
}

import CZeroMQ
import Synchronization

/// What the thread of a ``ZeroMQPort`` does until the port closes.
struct ZeroMQLoop {
  /// Messages taken in a row before outbound frames get their turn.
  private static let receiveBatch = 256
  /// When to try again to send to a router's peer that is slow to take its frames: libzmq does not
  /// tell when it has taken some.
  private static let retryMilliseconds = 5

  private let port: ZeroMQPort
  private let socket: ZeroMQSocket
  private let monitor: ZeroMQSocket
  private let queue: EventQueue
  /// Frames that libzmq did not take yet, oldest first. No peer has an empty list.
  private var held: [PeerID: ArraySlice<[UInt8]>] = [:]
  /// A router's connections: libzmq tells their end by descriptor only.
  private var peerOfDescriptor: [Int32: PeerID] = [:]
  /// Peers whose connection has ended and whose last messages may still be in the socket.
  private var departing: [PeerID] = []
  private var departingDescriptors: Set<Int32> = []
  private var isTerminated = false
  /// When closing stops to wait for peers that are slow to take their frames.
  private var closingDeadline: ContinuousClock.Instant?

  init(
    port: ZeroMQPort, socket: ZeroMQSocket, monitor: ZeroMQSocket, queue: EventQueue
  ) {
    self.port = port
    self.socket = socket
    self.monitor = monitor
    self.queue = queue
  }

  /// What the monitor of a socket has to tell.
  static let monitoredEvents =
    ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH
    | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_MONITOR_STOPPED

  mutating func run() {
    while !isTerminated {
      let mayWait = departing.isEmpty && departingDescriptors.isEmpty
      let retries = !held.isEmpty && (port.role == .router || closingDeadline != nil)
      let isOpen = socket.wait(
        monitor: monitor, wakeUp: port.wakeUp, receives: true,
        sends: port.role == .dealer && !held.isEmpty,
        milliseconds: !mayWait ? 0 : retries ? Self.retryMilliseconds : -1)
      guard isOpen else { break }
      port.wakeUp.drain()
      readMonitor()
      let isClosing = sendOutbound()
      receive()
      if isClosing, isDone() { break }
    }
    shutDown()
  }

  /// Whether a closing port has sent what it can.
  private mutating func isDone() -> Bool {
    let deadline = closingDeadline ?? .now + .milliseconds(ZeroMQPort.lingerMilliseconds)
    closingDeadline = deadline
    return held.isEmpty || ContinuousClock.now >= deadline
  }

  // MARK: Connections

  private mutating func readMonitor() {
    while case .message(let frames, _) = monitor.receive(frameCount: 2) {
      guard let (event, value) = Self.parse(frames[0]) else { continue }
      switch event {
      case ZMQ_EVENT_HANDSHAKE_SUCCEEDED where port.role == .dealer:
        depart()
        arrive(.server)
      case ZMQ_EVENT_DISCONNECTED:
        if port.role == .dealer {
          departing.append(.server)
        } else if let peer = peerOfDescriptor.removeValue(forKey: value) {
          departing.append(peer)
        } else {
          departingDescriptors.insert(value)
        }
      case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL, ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL,
        ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        queue.emit(.refused(.handshake))
      default: break
      }
    }
  }

  /// - Parameter frame: a 16-bit event and a 32-bit value, in the byte order of the machine, which
  ///   is little-endian wherever this builds.
  /// - Returns: `nil` unless the frame has that size.
  private static func parse(_ frame: [UInt8]) -> (event: Int32, value: Int32)? {
    guard frame.count == 6 else { return nil }
    let event = UInt16(frame[0]) | UInt16(frame[1]) << 8
    let value = frame[2...].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    return (Int32(event), Int32(bitPattern: value))
  }

  private mutating func arrive(_ peer: PeerID) {
    let isNew = port.state.withLock { state in
      guard state.peers[peer] == nil else { return false }
      state.peers[peer] = ZeroMQPort.Backlog()
      return true
    }
    if isNew { queue.emit(.connected(peer)) }
  }

  /// Reports the ends of connections, after their last messages.
  private mutating func depart() {
    for peer in departing {
      held[peer] = nil
      let backlog = port.state.withLock { state in
        state.outbound.removeAll { $0.peer == peer }
        return state.peers.removeValue(forKey: peer)
      }
      guard let backlog else { continue }
      if backlog.frameCount > 0 {
        queue.emit(.undelivered(to: peer, frameCount: backlog.frameCount))
      }
      queue.emit(.disconnected(peer))
    }
    departing.removeAll()
    departingDescriptors.removeAll()
  }

  // MARK: Outbound

  /// - Returns: whether the port is closing.
  private mutating func sendOutbound() -> Bool {
    let (fresh, isClosing) = port.state.withLock { state in
      defer { state.outbound = [] }
      return (state.outbound, state.isClosing)
    }
    for peer in Array(held.keys) {
      while let frame = held[peer]?.first, pass(frame, to: peer) {
        held[peer]?.removeFirst()
        if held[peer]?.isEmpty == true { held[peer] = nil }
      }
    }
    for frame in fresh where held[frame.peer] != nil || !pass(frame.bytes, to: frame.peer) {
      held[frame.peer, default: []].append(frame.bytes)
    }
    return isClosing || isTerminated
  }

  /// - Returns: `false` where the frame has to wait.
  private mutating func pass(_ frame: [UInt8], to peer: PeerID) -> Bool {
    switch socket.send(port.role == .router ? [peer.bytes, frame] : [frame]) {
    case .sent: break
    case .full: return false
    case .unreachable:
      departing.append(peer)
      return false
    case .terminated:
      isTerminated = true
      return false
    }
    port.state.withLock { state in
      guard var backlog = state.peers[peer] else { return }
      backlog.frameCount -= 1
      backlog.bytes -= frame.count
      state.peers[peer] = backlog
    }
    return true
  }

  // MARK: Inbound

  private mutating func receive() {
    for _ in 0..<Self.receiveBatch {
      switch socket.receive(frameCount: port.role == .router ? 2 : 1) {
      case .message(let frames, let descriptor):
        guard port.role == .router else {
          arrive(.server)
          queue.emit(.message(from: .server, frames[0]))
          continue
        }
        let peer = PeerID(bytes: frames[0])
        introduce(peer, at: descriptor)
        queue.emit(.message(from: peer, frames[1]))
      case .wrongFrameCount(let count):
        // The frame of the identity is the transport's own.
        queue.emit(.refused(.frameCount(port.role == .router ? count - 1 : count)))
      case .nothing:
        depart()
        return
      case .terminated:
        isTerminated = true
        return
      }
    }
  }

  /// Notes where a router's peer is connected, if that is new.
  private mutating func introduce(_ peer: PeerID, at descriptor: Int32) {
    // Without a descriptor the end of the connection shows in the first frame sent after it.
    guard descriptor >= 0 else { return arrive(peer) }
    guard peerOfDescriptor[descriptor] != peer, !departing.contains(peer) else { return }
    // The descriptor may have belonged to a connection that has just ended: its end was told before
    // this one began.
    readMonitor()
    if departingDescriptors.contains(descriptor) {
      departing.append(peer)
    } else if let replaced = peerOfDescriptor.updateValue(peer, forKey: descriptor) {
      departing.append(replaced)
    }
    arrive(peer)
  }

  // MARK: End

  private mutating func shutDown() {
    port.state.withLock { state in
      state.isClosing = true
      state.peers = [:]
      state.outbound = []
    }
    queue.finish()
    socket.close()
    // The monitor outlives the socket until the last frames have left, or their time is over, and
    // the addresses are free. libzmq would block on it if it were closed before.
    while !isTerminated, monitor.waitForMessage() {
      while case .message(let frames, _) = monitor.receive(frameCount: 2) {
        if Self.parse(frames[0])?.event == ZMQ_EVENT_MONITOR_STOPPED { isTerminated = true }
      }
    }
    monitor.close()
  }
}

import CZeroMQ
import Wire

/// One socket of libzmq. Every call but `init` comes from the thread that owns the socket.
// The creating thread uses the socket until the port's thread starts, which then is the only one.
// unchecked: one thread at a time uses the socket, upheld by ZeroMQPort.
@safe final class ZeroMQSocket: @unchecked Sendable {
  /// What a receive call found.
  enum Incoming {
    /// `descriptor` is of the connection that the message came from, −1 where it is not known.
    case message([[UInt8]], descriptor: Int32)
    case wrongFrameCount(Int)
    case nothing
    /// The context is closed.
    case terminated
  }

  enum SendOutcome {
    case sent
    case full
    case unreachable
    case terminated
  }

  private let context: ZeroMQContext
  private let socket: UnsafeMutableRawPointer
  private let message: UnsafeMutablePointer<zmq_msg_t>
  private var isClosed = false

  init(_ context: ZeroMQContext, type: Int32) throws(TransportError) {
    self.context = context
    unsafe socket = try context.makeSocket(type)
    unsafe message = .allocate(capacity: 1)
    unsafe zmq_msg_init(message)
  }

  deinit { close() }

  /// Frames that were sent still leave, within the linger time. No other call may follow.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    unsafe zmq_msg_close(message)
    unsafe message.deallocate()
    unsafe zmq_close(socket)
  }

  func set(_ option: Int32, _ value: Int) throws(TransportError) {
    // ZMQ_MAXMSGSIZE is the one option of these that takes 64 bits.
    let status: Int32
    if option == ZMQ_MAXMSGSIZE {
      var wide = Int64(value)
      status = unsafe zmq_setsockopt(socket, option, &wide, MemoryLayout<Int64>.size)
    } else {
      var narrow = Int32(value)
      status = unsafe zmq_setsockopt(socket, option, &narrow, MemoryLayout<Int32>.size)
    }
    guard status == 0 else { throw .callFailed(call: "zmq_setsockopt", code: zmq_errno()) }
  }

  /// - Returns: the endpoint with the port that the system chose.
  func bind(_ endpoint: String) throws(TransportError) -> String {
    guard unsafe zmq_bind(socket, endpoint) == 0 else {
      let code = zmq_errno()
      throw code == EADDRINUSE
        ? .addressInUse(endpoint) : .callFailed(call: "zmq_bind(\(endpoint))", code: code)
    }
    var bytes = [UInt8](repeating: 0, count: Limits.endpointLengthMax + 1)
    var count = bytes.count
    guard unsafe zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, &bytes, &count) == 0 else {
      throw .callFailed(call: "zmq_getsockopt(ZMQ_LAST_ENDPOINT)", code: zmq_errno())
    }
    return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
  }

  func connect(_ endpoint: String) throws(TransportError) {
    guard unsafe zmq_connect(socket, endpoint) == 0 else {
      throw .callFailed(call: "zmq_connect(\(endpoint))", code: zmq_errno())
    }
  }

  /// - Returns: a socket that tells what happens to the connections of this one. libzmq blocks where
  ///   it is closed before this one is gone or ``stopMonitor()`` was called.
  func makeMonitor(events: Int32) throws(TransportError) -> ZeroMQSocket {
    let address = unsafe "inproc://monitor-\(UInt(bitPattern: socket))"
    guard unsafe zmq_socket_monitor(socket, address, events) == 0 else {
      throw .callFailed(call: "zmq_socket_monitor", code: zmq_errno())
    }
    let monitor = try ZeroMQSocket(context, type: ZMQ_PAIR)
    try monitor.set(ZMQ_LINGER, 0)
    try monitor.connect(address)
    return monitor
  }

  func stopMonitor() { unsafe zmq_socket_monitor(socket, nil, 0) }

  /// Sends one message of these frames, or none of it. Does not block.
  func send(_ frames: [[UInt8]]) -> SendOutcome {
    for (index, frame) in frames.enumerated() {
      let flags = index + 1 < frames.count ? ZMQ_DONTWAIT | ZMQ_SNDMORE : ZMQ_DONTWAIT
      while unsafe zmq_send(socket, frame, frame.count, flags) < 0 {
        switch zmq_errno() {
        case EINTR: continue
        case EAGAIN: return .full
        case EHOSTUNREACH: return .unreachable
        case ETERM: return .terminated
        case let code: preconditionFailure("zmq_send failed with errno \(code)")
        }
      }
    }
    return .sent
  }

  /// Takes one message, of which all frames are there or none. Does not block.
  func receive(frameCount: Int) -> Incoming {
    var frames: [[UInt8]] = []
    var count = 0
    repeat {
      while unsafe zmq_msg_recv(message, socket, ZMQ_DONTWAIT) < 0 {
        switch zmq_errno() {
        case EINTR: continue
        case EAGAIN: return .nothing
        case ETERM: return .terminated
        case let code: preconditionFailure("zmq_msg_recv failed with errno \(code)")
        }
      }
      count += 1
      if count <= frameCount {
        // safe: the message keeps `size` bytes at `data` until the next call on it.
        frames.append(
          unsafe [UInt8](
            UnsafeRawBufferPointer(start: zmq_msg_data(message), count: zmq_msg_size(message))))
      }
    } while unsafe zmq_msg_more(message) != 0
    guard count == frameCount else { return .wrongFrameCount(count) }
    return unsafe .message(frames, descriptor: zmq_msg_get(message, ZMQ_SRCFD))
  }

  /// Waits until this socket, its monitor or the wake-up has something, or the time is over.
  ///
  /// - Returns: `false` where the context is closed.
  func wait(
    monitor: ZeroMQSocket, wakeUp: WakeUp, receives: Bool, sends: Bool, milliseconds: Int
  ) -> Bool {
    let own = (receives ? ZMQ_POLLIN : 0) | (sends ? ZMQ_POLLOUT : 0)
    return unsafe poll(
      [
        zmq_pollitem_t(socket: socket, fd: 0, events: Int16(own), revents: 0),
        zmq_pollitem_t(socket: monitor.socket, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0),
        zmq_pollitem_t(
          socket: nil, fd: wakeUp.descriptor, events: Int16(ZMQ_POLLIN), revents: 0),
      ], milliseconds: milliseconds)
  }

  /// - Returns: `false` where the context is closed.
  func waitForMessage() -> Bool {
    unsafe poll(
      [zmq_pollitem_t(socket: socket, fd: 0, events: Int16(ZMQ_POLLIN), revents: 0)],
      milliseconds: -1)
  }

  private func poll(_ items: [zmq_pollitem_t], milliseconds: Int) -> Bool {
    var items = unsafe items
    guard unsafe zmq_poll(&items, Int32(items.count), milliseconds) < 0 else { return true }
    switch zmq_errno() {
    case EINTR: return true
    case ETERM: return false
    case let code: preconditionFailure("zmq_poll failed with errno \(code)")
    }
  }
}

import CZeroMQ

/// The binding side of a star of ZeroMQ connections.
///
/// ```swift
/// let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
/// for await event in router.events {
///   if case .message(let peer, let frame) = event { _ = router.send(frame, to: peer) }
/// }
/// ```
package final class ZeroMQRouter: FrameTransport {
  private let port: ZeroMQPort
  private let thread: PinnedThread
  package let endpoints: [String]
  package let events: AsyncStream<TransportEvent>

  /// - Parameters:
  ///   - context: shared by all sockets of the process.
  ///   - addresses: `tcp://address:port`, where the port may be `*`, or `ipc://path`.
  ///   - allowsPlaintextOffLoopback: whether other hosts may connect, without encryption.
  ///   - limits: bounds of frames and queues.
  /// - Throws: ``TransportError`` where an address is not allowed or not free.
  package init(
    _ context: ZeroMQContext, bind addresses: [String], allowsPlaintextOffLoopback: Bool = false,
    limits: TransportLimits = TransportLimits()
  ) throws(TransportError) {
    for address in addresses {
      try EndpointRule.checkBinding(
        address, allowsPlaintextOffLoopback: allowsPlaintextOffLoopback)
    }
    port = try ZeroMQPort(role: .router, limits: limits)
    let socket = try port.makeSocket(
      context, usesIPv6: addresses.contains { $0.hasPrefix("tcp://[") })
    // Before the first bind, so that no connection is missed.
    let monitor = try socket.makeMonitor(events: ZeroMQLoop.monitoredEvents)
    let queue = EventQueue(limits)
    events = queue.makeStream()
    do {
      var bound: [String] = []
      for address in addresses { bound.append(try socket.bind(address)) }
      endpoints = bound
      thread = try port.start(socket, monitor: monitor, queue: queue, name: "zmq-router")
    } catch {
      socket.stopMonitor()
      throw error
    }
  }

  deinit { port.beginClosing() }

  package func send(_ frame: [UInt8], to peer: PeerID) -> SendResult {
    port.send(frame, to: peer)
  }

  package func close() async {
    port.beginClosing()
    await thread.join()
  }
}

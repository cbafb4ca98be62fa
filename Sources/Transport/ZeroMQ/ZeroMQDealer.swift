import CZeroMQ

/// The connecting side of a ZeroMQ connection. Reconnects by itself, after 0.1 to 1 second; each
/// new connection shows as ``TransportEvent/connected(_:)``.
package final class ZeroMQDealer: FrameTransport {
  private let port: ZeroMQPort
  private let thread: PinnedThread
  package let endpoints: [String]
  package let events: AsyncStream<TransportEvent>

  /// - Parameters:
  ///   - context: shared by all sockets of the process.
  ///   - endpoint: `tcp://host:port` or `ipc://path`; nobody need be there yet.
  ///   - limits: bounds of frames and queues.
  /// - Throws: ``TransportError`` where the endpoint is malformed.
  package init(
    _ context: ZeroMQContext, connect endpoint: String, limits: TransportLimits = TransportLimits()
  ) throws(TransportError) {
    try EndpointRule.checkDialling(endpoint)
    port = try ZeroMQPort(role: .dealer, limits: limits)
    let socket = try port.makeSocket(context, usesIPv6: endpoint.hasPrefix("tcp://["))
    // Before connecting, so that no event is missed.
    let monitor = try socket.makeMonitor(events: ZeroMQLoop.monitoredEvents)
    endpoints = [endpoint]
    let queue = EventQueue(limits)
    events = queue.makeStream()
    do {
      try socket.connect(endpoint)
      thread = try port.start(socket, monitor: monitor, queue: queue, name: "zmq-dealer")
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

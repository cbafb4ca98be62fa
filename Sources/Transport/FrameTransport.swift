import Wire

/// Name of one connection: made when a peer connects, never used again after it is gone.
package struct PeerID: Hashable, Sendable {
  /// The routing identity that the transport gave the connection.
  package let bytes: [UInt8]

  package init(bytes: [UInt8]) { self.bytes = bytes }

  /// What a connecting side calls the other end, on every connection.
  package static let server = PeerID(bytes: [])
}

extension PeerID: CustomStringConvertible {
  package var description: String {
    bytes.isEmpty ? "server" : bytes.map { String($0, radix: 16) }.joined(separator: ".")
  }
}

/// What happens on a transport.
///
/// For each peer: ``connected(_:)`` first, then messages in the order in which they were sent,
/// ``disconnected(_:)`` last. A binding side hears of a peer when its first message comes in.
package enum TransportEvent: Sendable, Equatable {
  case connected(PeerID)
  case disconnected(PeerID)
  case message(from: PeerID, [UInt8])
  /// Frames that `send` had accepted were dropped because the connection ended. What was lost on
  /// the way is not reported: delivery is at most once.
  case undelivered(to: PeerID, frameCount: Int)
  /// Something came in that is no message.
  case refused(RefusedInput)
  /// At this point in the order events were dropped because nobody took them in time. Only messages
  /// are, while the reader keeps up with the coming and going of peers.
  case overflow(droppedEventCount: Int)
}

/// What the transport itself turns away.
package enum RefusedInput: Sendable, Equatable {
  /// A message has exactly one payload frame.
  case frameCount(Int)
  /// A connection that does not speak the protocol of the transport.
  case handshake
}

/// What becomes of a frame.
package enum SendResult: Sendable, Equatable {
  /// Taken over; whether it arrives shows in what the peer answers.
  case queued
  /// There is no such connection, or not yet.
  case peerGone
  /// The bounded queue to this peer is full. Nothing was taken over.
  case full
  case tooLarge(sizeBytes: Int, limit: Int)
  /// The transport was closed.
  case closed
}

/// One end of a star of connections that carries frames: a binding side with many peers, or a
/// connecting side with one, ``PeerID/server``, that reconnects by itself.
package protocol FrameTransport: Sendable {
  /// The addresses bound or dialled, with the ports that the system chose.
  var endpoints: [String] { get }

  /// For one reader. Ends after `close`.
  var events: AsyncStream<TransportEvent> { get }

  /// Never blocks. Frames that are queued but not sent when a connection ends do not travel on the
  /// next one.
  func send(_ frame: [UInt8], to peer: PeerID) -> SendResult

  /// Sends what is queued, ends all connections and returns when the addresses are free again: after
  /// half a second where a peer does not take its frames. Further calls wait for the first.
  ///
  /// A connecting side may lose frames that arrive together with the end of the connection.
  func close() async
}

extension FrameTransport {
  /// Sends from a connecting side to the other end.
  package func send(_ frame: [UInt8]) -> SendResult { send(frame, to: .server) }
}

/// Bounds of a transport.
package struct TransportLimits: Sendable {
  /// Bytes of one frame, in and out.
  package var frameBytesMax = Limits.frameBytesMax
  /// Frames to one peer that `send` took over and the network has not; more are refused.
  package var outboundFrameCountMax = 4096
  package var outboundBytesMax = 16 << 20
  /// Events waiting for the reader, and the bytes of their messages; further messages are dropped
  /// and counted.
  package var eventCountMax = 8192
  package var eventBytesMax = 64 << 20

  package init() {}
}

package import Wire

/// Why something that came in was dropped.
package enum FrameFault: String, Sendable, CaseIterable {
  case tooLarge
  case malformed
  case versionMismatch
  case unknownMessage
  case invalidField
  /// A message that routers do not take.
  case unexpectedMessage
  /// Not even a frame: wrong number of parts, or a failed handshake.
  case transport
  /// From a peer that sent too many bad frames.
  case ignoredPeer
  /// Dropped by the transport because they came faster than they were read.
  case overflow

  /// - Parameter error: why a frame was not decoded.
  package init(_ error: WireError) {
    self =
      switch error {
      case .frameTooLarge: .tooLarge
      case .malformed: .malformed
      case .versionMismatch: .versionMismatch
      case .unknownMessage: .unknownMessage
      case .wrongSession, .missing, .outOfRange, .invalidNumber, .invalidText, .unknownValue,
        .lengthMismatch, .notAscending:
        .invalidField
      }
  }

  /// Whether it counts against the peer. A message of a later version is no fault.
  var isStrike: Bool {
    switch self {
    case .tooLarge, .malformed, .versionMismatch, .invalidField, .unexpectedMessage: true
    case .unknownMessage, .transport, .ignoredPeer, .overflow: false
    }
  }
}

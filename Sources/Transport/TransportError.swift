/// Why a transport could not start.
package enum TransportError: Error, Equatable, Sendable {
  /// Neither `tcp://host:port` nor `ipc://path`.
  case invalidEndpoint(String)
  /// The address can be reached from other hosts, and the link would not be encrypted.
  case plaintextOffLoopback(String)
  case addressInUse(String)
  /// A call of the system or of ZeroMQ failed with this errno value.
  case callFailed(call: String, code: Int32)
  /// The ZeroMQ context was closed.
  case contextClosed
}

extension TransportError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .invalidEndpoint(let endpoint):
      "'\(endpoint)' is neither tcp://host:port nor ipc://path"
    case .plaintextOffLoopback(let endpoint):
      "'\(endpoint)' is not a loopback address and the link is not encrypted; "
        + "--insecure-plaintext allows it on a network that you trust"
    case .addressInUse(let endpoint): "'\(endpoint)' is in use"
    case .callFailed(let call, let code): "\(call) failed with errno \(code)"
    case .contextClosed: "the ZeroMQ context is closed"
    }
  }
}

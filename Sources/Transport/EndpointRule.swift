import Wire

/// Which addresses may be bound and dialled.
package enum EndpointRule {
  /// - Parameters:
  ///   - endpoint: `tcp://address:port`, where the port may be `*`, or `ipc://path`.
  ///   - allowsPlaintextOffLoopback: whether other hosts may reach the address.
  /// - Throws: ``TransportError/invalidEndpoint(_:)`` and
  ///   ``TransportError/plaintextOffLoopback(_:)``.
  package static func checkBinding(
    _ endpoint: String, allowsPlaintextOffLoopback: Bool
  ) throws(TransportError) {
    guard isValid(endpoint, wildcards: true) else { throw .invalidEndpoint(endpoint) }
    guard allowsPlaintextOffLoopback || isLoopback(endpoint) else {
      throw .plaintextOffLoopback(endpoint)
    }
  }

  /// - Parameter endpoint: `tcp://host:port` or `ipc://path`.
  /// - Throws: ``TransportError/invalidEndpoint(_:)``.
  package static func checkDialling(_ endpoint: String) throws(TransportError) {
    guard isValid(endpoint, wildcards: false) else { throw .invalidEndpoint(endpoint) }
  }

  /// Whether only this host can reach the address: `ipc://`, 127.0.0.0/8 in four decimal numbers,
  /// or `[::1]`. Names are not looked up and count as reachable.
  package static func isLoopback(_ endpoint: String) -> Bool {
    if endpoint.hasPrefix("ipc://") { return true }
    guard let (host, _) = hostAndPort(endpoint) else { return false }
    if host == "[::1]" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127"
      && parts.allSatisfy { part in
        (1...3).contains(part.utf8.count) && part.utf8.allSatisfy(isDigit)
          && UInt8(part) != nil && (part == "0" || !part.hasPrefix("0"))
      }
  }

  private static func isValid(_ endpoint: String, wildcards: Bool) -> Bool {
    guard endpoint.utf8.count <= Limits.endpointLengthMax,
      endpoint.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
    else { return false }
    if endpoint.hasPrefix("ipc://") {
      // The path has to fit in a `sockaddr_un`, with its NUL.
      return (1...107).contains(endpoint.utf8.count - "ipc://".utf8.count)
    }
    guard let (host, port) = hostAndPort(endpoint) else { return false }
    let isPort =
      port == "*"
      ? wildcards
      : (1...5).contains(port.utf8.count) && port.utf8.allSatisfy(isDigit)
        && (UInt16(port).map { wildcards || $0 != 0 } ?? false)
    return isPort && isHost(host, wildcards: wildcards)
  }

  private static func isHost(_ host: Substring, wildcards: Bool) -> Bool {
    if host == "*" { return wildcards }
    if host.hasPrefix("[") {
      let address = host.dropFirst().dropLast()
      return !address.isEmpty
        && address.allSatisfy { $0.isHexDigit || $0 == ":" || $0 == "." }
    }
    return !host.isEmpty
      && host.utf8.allSatisfy { byte in
        isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
          || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
      }
  }

  private static func hostAndPort(_ endpoint: String) -> (host: Substring, port: Substring)? {
    guard endpoint.hasPrefix("tcp://") else { return nil }
    let address = endpoint.dropFirst("tcp://".count)
    guard let colon = address.lastIndex(of: ":") else { return nil }
    let host = address[..<colon]
    guard host.hasPrefix("[") == host.hasSuffix("]") else { return nil }
    return (host, address[address.index(after: colon)...])
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }
}

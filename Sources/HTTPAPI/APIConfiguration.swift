/// How the HTTP server listens, whom it lets in and what it bounds.
package struct APIConfiguration: Sendable {
  /// Name or address to bind.
  package var host: String
  /// 0 takes a free port, told by ``APIServer``'s `onRunning`.
  package var port: Int
  /// Keys of which every client must show one as `Authorization: Bearer`; empty lets everybody in,
  /// on loopback addresses only.
  package var apiKeys: [String]
  /// What `GET /version` answers.
  package var version: String

  /// Largest request body in bytes.
  package var bodySizeLimit = 8 << 20
  /// Longest time from the end of the request's head to the end of its body.
  package var bodyDeadline = Duration.seconds(30)
  /// A connection without a request closes after this time.
  package var idleTimeout = Duration.seconds(75)
  /// Longest silence of a stream before a comment is sent to keep proxies from closing it.
  package var pingInterval = Duration.seconds(15)
  /// A stream whose client takes nothing for this time is cut.
  package var stallTimeout = Duration.seconds(60)
  /// Longest time for running responses to end after a shutdown began; then they are cut.
  package var shutdownDuration = Duration.seconds(30)
  /// Connections open at a time; more wait in the backlog of the listening socket.
  package var connectionLimit = 1024

  package init(
    host: String = "127.0.0.1", port: Int = 8080, apiKeys: [String] = [], version: String
  ) {
    self.host = host
    self.port = port
    self.apiKeys = apiKeys
    self.version = version
  }

  /// Whether the address can only be reached from the same host. Names other than `localhost`
  /// count as reachable from elsewhere: what they resolve to can change.
  package var isLoopback: Bool {
    if host == "localhost" || host == "::1" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }

  /// Refuses what would serve strangers by accident.
  ///
  /// - Throws: ``APIConfigurationError``.
  package func validate() throws(APIConfigurationError) {
    guard (0...65535).contains(port) else { throw .portOutOfRange(port) }
    guard apiKeys.allSatisfy({ !$0.isEmpty }) else { throw .emptyKey }
    guard isLoopback || !apiKeys.isEmpty else { throw .openToStrangers(host: host) }
  }
}

/// Why a configuration is refused.
package enum APIConfigurationError: Error, Equatable, Sendable {
  case portOutOfRange(Int)
  case emptyKey
  /// The address is reachable from other hosts and no key is set.
  case openToStrangers(host: String)
}

extension APIConfigurationError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .portOutOfRange(let port): "port \(port) is not between 0 and 65535"
    case .emptyKey: "an API key is empty"
    case .openToStrangers(let host):
      """
      \(host) can be reached from other hosts and no API key is set: give one with --api-key, \
      or listen on 127.0.0.1
      """
    }
  }
}

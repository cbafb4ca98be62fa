/// Why a request to a router failed.
package enum CompletionClientError: Error, Equatable, Sendable {
  /// The text is no `http://host[:port]` address.
  case invalidURL(String)
  /// Encrypted connections are not spoken.
  case encryptedURL(String)
  /// Nothing accepts connections there.
  case unreachable(url: String, reason: String)
  /// The server answered with an error. `status` is 200 where a running answer failed.
  case refused(status: Int, code: String, message: String)
  /// The connection ended before the answer did.
  case interrupted(url: String)
  /// The answer is not what a completion endpoint sends.
  case unreadable(url: String)
}

extension CompletionClientError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .invalidURL(let url): "'\(url)' is not an address like http://127.0.0.1:8080"
    case .encryptedURL(let url):
      """
      \(url): https is not supported by this client: use the http:// address of the router, \
      or a tunnel to it
      """
    case .unreachable(let url, let reason):
      """
      nothing answers at \(url) (\(reason)): start a cluster with 'slipstream up', or give the \
      address of a running router
      """
    case .refused(let status, let code, let message): "\(message) (\(code), status \(status))"
    case .interrupted(let url): "\(url) closed the connection before the answer was complete"
    case .unreadable(let url): "the answer of \(url) is not that of a completion endpoint"
    }
  }
}

import GGUF
package import InferenceTypes

extension TenantID {
  /// The tenant of a request: clients with different keys are different tenants, and so are the
  /// users whom one client names.
  ///
  /// Only this hash leaves the router. It cannot be turned back, but whoever can read it can try
  /// guesses: keys should be long and random.
  package init(account: String, user: String) {
    var hash = ContentHash()
    hash.update("slipstream tenant")
    hash.update(account)
    hash.update(user)
    let bytes = Array(hash.finish().prefix(TenantID.byteCount))
    // Zeros mean nobody; no text is known to lead there.
    self = TenantID(bytes: bytes) ?? .unnamed
  }
}

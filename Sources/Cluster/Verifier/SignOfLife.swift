/// When a session that has no new text tells the router that it lives: it reads a long prompt, or
/// waits for memory. The router takes a session that is silent away from its verifier.
struct SignOfLife {
  private var toldAt: ContinuousClock.Instant

  init(at now: ContinuousClock.Instant) { toldAt = now }

  /// Something was sent.
  mutating func told(at now: ContinuousClock.Instant) { toldAt = now }

  /// - Returns: whether a message is due, which counts as sent then.
  mutating func isDue(at now: ContinuousClock.Instant, interval: Duration) -> Bool {
    guard now - toldAt >= interval else { return false }
    toldAt = now
    return true
  }
}

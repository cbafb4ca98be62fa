/// When a verifier may expect drafts of one drafter: what it needs to know before it waits for them.
///
/// A drafter that follows the truth sends its next draft any moment. One whose drafts died has to
/// hear of it first, and needs a round trip and a pass for the next one; waiting for it is worth
/// nothing unless that is short.
package struct DraftArrivals: Sendable, Equatable {
  private var isOnTrack = false
  private var lastAlive: Duration?
  private var publishedAt: Duration?
  /// When the truth went down that killed the drafts.
  private var lostAt: Duration?
  /// From there to the next draft that lived; the least one lately.
  private var turnaround: Duration?

  package init() {}

  /// Truth went down.
  package mutating func published(at now: Duration) { publishedAt = now }

  /// Nodes came.
  ///
  /// - Parameters:
  ///   - liveCount: those that were right, or may be: neither dead nor malformed.
  ///   - arrival: when they came, which is before they were looked at.
  package mutating func received(liveCount: Int, at arrival: Duration) {
    guard liveCount > 0 else {
      if isOnTrack { lostAt = publishedAt }
      isOnTrack = false
      return
    }
    if !isOnTrack, let lostAt, arrival >= lostAt {
      let known = turnaround.map { $0 + $0 / 32 } ?? .seconds(3600)
      turnaround = min(known, arrival - lostAt)
    }
    isOnTrack = true
    lastAlive = arrival
  }

  /// Says whether a draft may come in time.
  ///
  /// - Parameters:
  ///   - wait: how long the verifier would wait.
  ///   - silence: a drafter that was silent for longer has stopped.
  ///   - now: not earlier than what came before.
  /// - Returns: whether waiting makes sense.
  package func isExpected(within wait: Duration, silence: Duration, at now: Duration) -> Bool {
    guard let lastAlive, now - lastAlive < silence else { return false }
    return isOnTrack || turnaround.map { $0 <= wait } ?? false
  }
}

package import InferenceTypes

/// When a verifier may expect drafts of one drafter: what it needs to know before it waits for them.
///
/// A drafter that follows the truth sends its next draft any moment. One whose drafts died has to
/// hear of it first, and needs a round trip and a pass for the next one; waiting for it is worth
/// nothing unless that is short.
package struct DraftArrivals: Sendable, Equatable {
  private var isOnTrack = false
  private var lastAlive: Duration?
  /// Between two drafts of a drafter on track.
  private var gap: Duration?
  private var publishedAt: Duration?
  /// When the truth went down that killed the drafts.
  private var lostAt: Duration?
  /// From there to the next draft that lived; the least one lately.
  private var turnaround: Duration?
  /// Mean number of levels of a message that lived: drafts of which each continues the one before.
  private var levelCount = 1.0
  /// What `turnaround` is taken for before one was seen.
  private let assumed: Duration?

  /// - Parameter turnaround: what a drafter is expected to take from truth that kills its drafts to
  ///   the next one; `nil` where nobody knows.
  package init(turnaround: Duration? = nil) { assumed = turnaround }

  /// Truth went down; `contradictsDrafts` where it left the drafts that were there.
  package mutating func published(contradictsDrafts: Bool, at now: Duration) {
    publishedAt = now
    if contradictsDrafts { lose() }
  }

  /// Nodes came.
  ///
  /// - Parameters:
  ///   - nodes: of one message.
  ///   - liveCount: those that were right, or may be: neither dead nor malformed.
  ///   - arrival: when they came, which is before they were looked at.
  package mutating func received(_ nodes: [DraftNode], liveCount: Int, at arrival: Duration) {
    guard liveCount > 0 else {
      if isOnTrack { lose() }
      return
    }
    levelCount += (Double(Self.levels(of: nodes)) - levelCount) / 8
    if isOnTrack, let lastAlive, arrival >= lastAlive {
      // Pauses are no gaps: they change it slowly.
      let latest = arrival - lastAlive
      gap = gap.map { ($0 * 7 + min(latest, $0 * 2)) / 8 } ?? latest
    } else if let lostAt, arrival >= lostAt {
      // Where the first drafts died, too, it is longer: the least counts.
      let known = turnaround.map { $0 + $0 / 32 } ?? .seconds(3600)
      turnaround = min(known, arrival - lostAt)
    }
    isOnTrack = true
    lastAlive = arrival
  }

  /// The longest chain of nodes of one message.
  private static func levels(of nodes: [DraftNode]) -> Int {
    var depths: [NodeID: Int] = [:]
    for node in nodes { depths[node.id] = (depths[node.parent] ?? 0) + 1 }
    return depths.values.max() ?? 0
  }

  private mutating func lose() {
    isOnTrack = false
    lostAt = publishedAt
  }

  /// What is to be expected of a drafter.
  package struct Forecast: Sendable, Equatable {
    /// When its next draft may come that can still be right.
    package var next: Duration
    /// From there to the one after it.
    package var gap: Duration
    /// From truth that kills its drafts to the first that lives.
    package var turnaround: Duration
    /// Levels of drafts that one message brings, at least 1.
    package var levelCount: Double

    package init(
      next: Duration, gap: Duration, turnaround: Duration, levelCount: Double = 1
    ) {
      self.next = next
      self.gap = gap
      self.turnaround = turnaround
      self.levelCount = levelCount
    }
  }

  /// When the next draft may come.
  ///
  /// - Parameters:
  ///   - silence: a drafter that was silent for longer has stopped.
  ///   - now: not earlier than what came before.
  /// - Returns: with a next draft not earlier than `now`; `nil` where none is to be expected, or
  ///   nobody knows when.
  package func forecast(silence: Duration, at now: Duration) -> Forecast? {
    guard let lastAlive, now - lastAlive < silence else { return nil }
    if isOnTrack, let gap, now - lastAlive <= gap * 2 {
      return Forecast(
        next: max(now, lastAlive + gap), gap: gap, turnaround: turnaround ?? gap,
        levelCount: levelCount)
    }
    // It has gone as far as it may, or went astray: the truth comes to it first.
    guard let turnaround = turnaround ?? assumed,
      let since = isOnTrack ? publishedAt : lostAt
    else { return nil }
    let due = since + turnaround
    guard now - due <= turnaround / 2 else { return nil }
    return Forecast(
      next: max(now, due), gap: gap ?? turnaround, turnaround: turnaround, levelCount: levelCount)
  }
}

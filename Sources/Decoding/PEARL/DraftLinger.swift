import InferenceTypes

/// Whether a verifier waits for drafts before its next step.
///
/// A step may begin at once with the drafts that are there; those that come later can still be right,
/// for the step after it. A wait costs the tokens that come in the same time otherwise, at the rate of
/// the latest steps, and brings one more token where the text follows the drafts so far and the next
/// one, with probability P. But then the text has to follow yet another draft for the drafter to stay
/// on track, and where it does not, a share 1 - a of the times, all drafts ahead are lost:
///
///     wait while  P · (1 - (1 - a) · loss) > rate · (wait + t(node))
///
/// The loss is that of starting anew: of waiting for so many drafts, or going on with so few, that
/// both together cost least. With a target that is slow beside its drafter this waits for as many
/// drafts as a round of ``Pipeline/vanilla`` has, and keeps what was drafted during the step besides;
/// with drafts that take long it does not wait at all. Drafters that break their word lose trust.
/// The first step never waits: somebody wants to see the first token.
package struct DraftLinger: Sendable, Equatable {
  /// Weight of a step in the mean of the rate, and of a wait in the trust.
  private static let weight = 1.0 / 8
  /// Drafts ahead that can matter.
  private static let depthMax = 16

  private var concludedAt: Duration?
  /// Means over the latest steps.
  private var tokenCount = 1.0
  private var duration: Duration?
  /// When the step that begins next could have begun.
  private var since: Duration?
  /// Of a wait under way: the live drafts before it.
  private var liveCount: Int?
  /// Share of the waits that drafts have ended.
  private var trust = 1.0

  package init() {}

  /// A step has ended, and so many tokens came.
  package mutating func concluded(tokenCount count: Int, at now: Duration) {
    if let concludedAt, now > concludedAt {
      let latest = now - concludedAt
      tokenCount += (Double(count) - tokenCount) * Self.weight
      duration = duration.map { $0 + (latest - $0) * Self.weight } ?? latest
    }
    concludedAt = now
  }

  /// A step begins, with so many live drafts received in the life of the session.
  package mutating func stepBegins(liveCount: Int) {
    settle(liveCount)
    since = nil
  }

  /// Until when to wait for the next drafts.
  ///
  /// - Parameters:
  ///   - forecast: of the drafter whose drafts come first.
  ///   - value: P.
  ///   - acceptance: a, the share of the places with drafts where one was right.
  ///   - liveCount: live drafts received in the life of the session.
  ///   - nodeCost: of one more node, in steps over one token.
  ///   - step: time of a step over one token.
  ///   - now: the present.
  /// - Returns: `nil` where the step begins now.
  package mutating func deadline(
    _ forecast: DraftArrivals.Forecast?, value: Float, acceptance: Float, liveCount: Int,
    nodeCost: Float, step: Duration, at now: Duration
  ) -> Duration? {
    settle(liveCount)
    guard let forecast, step > .zero, concludedAt != nil else { return nil }
    let begin = since ?? now
    let end = begin + step
    let wait = max(.zero, forecast.next - now)
    // A target alone has a token a step.
    let rate = max(1, duration.map { tokenCount / ($0 / step) } ?? 1)
    let acceptance = Double(acceptance)
    let loss = Self.loss(
      acceptance: acceptance, rate: rate, gap: forecast.gap / step,
      turnaround: forecast.turnaround / step)
    let expected = Double(value) * Self.tokens(of: forecast.levelCount, acceptance: acceptance)
    let gain = expected * trust * (1 - (1 - acceptance) * loss)
    guard forecast.next < end, gain > rate * (wait / step + Double(nodeCost)) else { return nil }
    since = begin
    self.liveCount = liveCount
    return min(end, forecast.next + max(wait / 2, step / 32))
  }

  /// What a message brings, in terms of its first level: each level more is worth less by the
  /// probability of that before it.
  private static func tokens(of levelCount: Double, acceptance: Double) -> Double {
    var sum = 0.0
    var path = 1.0
    var left = levelCount
    while left > 0 {
      sum += path * min(1, left)
      path *= acceptance
      left -= 1
    }
    return sum
  }

  /// Tokens that it costs to have no drafts instead of those of a whole step; times in steps.
  private static func loss(
    acceptance: Double, rate: Double, gap: Double, turnaround: Double
  ) -> Double {
    let ahead = max(1, min(depthMax, Int(1 / max(gap, 1e-3))))
    var missing = 0.0
    for _ in 0..<ahead { missing = (missing + 1) * acceptance }
    // Without waiting every step until they come goes without.
    var least = missing * max(1, turnaround)
    var path = 1.0
    for count in 0..<ahead {
      path *= acceptance
      missing -= path
      least = min(least, missing + rate * (turnaround + gap * Double(count)))
    }
    return least
  }

  private mutating func settle(_ count: Int) {
    guard let before = liveCount else { return }
    trust += ((count > before ? 1 : 0) - trust) * Self.weight
    liveCount = nil
  }
}

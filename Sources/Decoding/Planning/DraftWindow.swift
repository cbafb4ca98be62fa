/// How far a drafter runs ahead of the truth that it knows.
package enum DraftWindow {
  /// Tokens beyond which a draft arrives too late to matter, or hardly ever survives.
  ///
  /// The smaller one of ⌈(round trip + 2 · verify) / draft⌉, which hides all delays, and
  /// ⌈ln 0.05 / ln acceptance⌉, beyond which 95% of the drafts die.
  ///
  /// - Parameters:
  ///   - roundTrip: network time there and back.
  ///   - verify: time of a forward pass of the target.
  ///   - draft: time of a draft token.
  ///   - acceptance: share of the drafts that are right where their parents are.
  /// - Returns: from 1 to 64.
  package static func length(
    roundTrip: Duration, verify: Duration, draft: Duration, acceptance: Double
  ) -> Int {
    let likely = min(0.99, max(0.01, acceptance.isNaN ? 0.5 : acceptance))
    let useful = ExactMath.log(0.05) / ExactMath.log(likely)
    let reach = reach(roundTrip: roundTrip, verify: verify, draft: draft)
    return min(reach, Int(max(1, min(64, useful)).rounded(.up)))
  }

  /// Tokens beyond which a draft arrives too late to matter: ⌈(round trip + 2 · verify) / draft⌉, from
  /// 1 to 64.
  package static func reach(roundTrip: Duration, verify: Duration, draft: Duration) -> Int {
    let ahead = (roundTrip + verify * 2) / max(draft, .nanoseconds(1))
    return Int(max(1, min(64, ahead)).rounded(.up))
  }
}

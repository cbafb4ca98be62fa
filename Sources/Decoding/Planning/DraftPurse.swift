/// What a session may spend on drafts: keeps a text that nobody can guess from being slower than
/// decoding without drafts.
///
/// Spent is the time of verifications beyond that of single tokens, earned are the tokens that
/// drafts brought; both in forward passes over one token. A session starts with a credit of a third
/// of a pass and gets a small allowance with each step, so it loses that third on a short answer and
/// three percent on a long one at worst, and goes on probing; most of what it has earned it may
/// spend again, within a limit. Probing is what teaches a cold store.
package struct DraftPurse: Sendable, Equatable {
  private static let credit: Float = 0.3
  private static let allowance: Float = 0.03
  /// Share of the earnings that may be spent again.
  private static let reinvested: Float = 0.9
  private static let balanceMax: Float = 4

  /// In forward passes over one token.
  package private(set) var balance = credit
  /// Cost beyond that of one token of the batch that is under way.
  private var spent: Float = 0

  package init() {}

  /// The largest batch that can be paid, at most `limit`.
  package func affordable(limit: Int, costs: VerifyCosts) -> Int {
    var count = 1
    while count < limit, costs.cost(count + 1) - costs.cost(1) <= balance { count += 1 }
    return count
  }

  /// Pays for a batch that is to be verified.
  package mutating func spend(on count: Int, costs: VerifyCosts) {
    spent = costs.cost(count) - costs.cost(1)
  }

  /// Pays what the drafts of a batch cost that is to be verified.
  package mutating func spend(_ price: Float) { spent = price }

  /// Settles a verification that emitted so many tokens, one of which was no draft's merit.
  ///
  /// `tokenValue` is the time of a token without drafts: less than a pass of its own where several
  /// sessions share one. They share the allowance, too.
  package mutating func settle(emitted: Int, tokenValue: Float = 1) {
    let earned = Self.reinvested * Float(emitted - 1)
    balance = min(Self.balanceMax, balance + (Self.allowance + earned) * tokenValue - spent)
    spent = 0
  }
}

/// What drafting with a model costs, in forward passes of the target over one token.
package struct DraftCosts: Sendable, Equatable {
  /// One pass of the draft model over one token.
  package var unit: Float
  /// Passes of the draft model by their size, relative to one token.
  package var draft: VerifyCosts
  /// Passes of the target by their size, relative to one token.
  package var verify: VerifyCosts
  /// What each verification takes beside the passes: the network, where the target waits for it.
  package var round: Float = 0

  /// What is assumed of models that were not measured: the draft model takes a fifth of the
  /// target's time.
  package static let assumed = DraftCosts(unit: 0.2)

  /// A `unit` that is not a positive number counts as nothing.
  package init(unit: Float, draft: VerifyCosts = .assumed, verify: VerifyCosts = .assumed) {
    self.unit = unit > 0 && unit < .infinity ? unit : 0
    self.draft = draft
    self.verify = verify
  }

  /// A pass of the draft model over `count` tokens, at least one.
  package func draft(_ count: Int) -> Float { unit * draft.cost(count) }
}

/// What a session may spend on the passes of its draft model while the target waits for them: keeps
/// a draft model that is slow, or guesses badly, from making a text slower than the target alone.
///
/// Counted in forward passes of the target over one token, like ``DraftPurse``, which watches over
/// the verifications. It starts with a credit and gets an allowance with each step, so that a bad
/// draft model is tried again from time to time; what drafts earn may be spent again.
package struct DraftTimePurse: Sendable, Equatable {
  private static let credit: Float = 2
  private static let allowance: Float = 0.02
  private static let reinvested: Float = 0.95
  private static let balanceMax: Float = 8
  /// Allowances of 20 steps beyond the credit, unless something was earned.
  private static let probeBalance: Float = 2.4

  /// In forward passes of the target over one token.
  package private(set) var balance = credit

  package init() {}

  package func canAfford(_ cost: Float) -> Bool { cost <= balance }

  /// Whether so much was saved that drafts may be tried against all expectations.
  package var mayProbe: Bool { balance >= Self.probeBalance }

  package mutating func spend(_ cost: Float) { balance -= cost }

  /// A verification is over that drafts of the model made longer by so many tokens.
  package mutating func settle(earned: Int) {
    balance = min(Self.balanceMax, balance + Self.allowance + Self.reinvested * Float(earned))
  }
}

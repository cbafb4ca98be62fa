/// The rules by which the target judges drafts; raw values are their names on the command line and
/// on the wire.
///
/// Every lossless rule emits text with the law of decoding without drafts. They differ in what they
/// ask of the drafter and in how many drafts survive.
package enum VerifyRule: String, Sendable, CaseIterable, Hashable {
  /// The target's choice under noise that it shares with the drafter; drafts survive where they
  /// equal it. The text depends on the seed alone.
  ///
  /// - SeeAlso: Daliri, Musco and Suresh 2024, arXiv:2408.07978.
  case gumbelMatch = "gumbel-match"
  /// The same with a sample that the drafter cannot know. The text depends on the seed alone.
  case match
  /// A draft survives with probability min(1, p/q), on chains.
  ///
  /// - SeeAlso: Leviathan, Kalman and Matias 2022, arXiv:2211.17192; Chen et al. 2023,
  ///   arXiv:2302.01318.
  case ratio
  /// ``ratio`` for one sibling after the other, on trees.
  ///
  /// - SeeAlso: Miao et al. 2023, arXiv:2305.09781 (SpecInfer, independent siblings); Jeon et al.
  ///   2024, arXiv:2402.14160 (siblings drawn without replacement).
  case rejection
  /// Independent candidates, tested one after the other against a common share of q.
  ///
  /// - SeeAlso: Sun et al. 2023, arXiv:2310.15141 (SpecTr, K-SEQ).
  case kSequential = "k-seq"
  /// Whole chains instead of single tokens: never fewer accepted than ``ratio``.
  ///
  /// - SeeAlso: Sun et al. 2024, arXiv:2403.10444.
  case block
  /// Whole paths of a tree, from the leaves up; on a chain the same as ``block``.
  ///
  /// - SeeAlso: Weng et al. 2025, arXiv:2505.12398.
  case traversal
  /// Drafts survive that are probable enough for the entropy of their place. Lossy.
  ///
  /// - SeeAlso: Cai et al. 2024, arXiv:2401.10774 (Medusa).
  case typical
  /// Drafts survive that are among the most probable tokens and nearly as probable as the first.
  /// Lossy.
  case relaxed
  /// A draft that the target did not choose survives where the target was unsure and chooses what
  /// was drafted after it. Lossy.
  ///
  /// - SeeAlso: Li et al. 2025, arXiv:2511.22972 (FLy).
  case deferred

  /// Whether the text has the law of decoding without drafts.
  package var isLossless: Bool { lossless != nil }

  /// The rule, if it is lossless.
  package var lossless: LosslessRule? {
    switch self {
    case .gumbelMatch: .gumbelMatch
    case .match: .match
    case .ratio: .ratio
    case .rejection: .rejection
    case .kSequential: .kSequential
    case .block: .block
    case .traversal: .traversal
    case .typical, .relaxed, .deferred: nil
    }
  }

  /// What drafts this rule can judge.
  package var demand: DraftDemand {
    switch self {
    case .gumbelMatch, .relaxed, .deferred: .sharedNoise
    case .match, .typical: .tokens
    case .ratio, .block: .chainWithLaw
    case .rejection, .traversal: .treeWithLaw
    case .kSequential: .independentWithLaw
    }
  }
}

/// The rules that keep the target's law; the others are ``LossyRule``.
package enum LosslessRule: Sendable, CaseIterable, Hashable {
  case gumbelMatch
  case match
  case ratio
  case rejection
  case kSequential
  case block
  case traversal

  /// Its name among all rules.
  package var rule: VerifyRule {
    switch self {
    case .gumbelMatch: .gumbelMatch
    case .match: .match
    case .ratio: .ratio
    case .rejection: .rejection
    case .kSequential: .kSequential
    case .block: .block
    case .traversal: .traversal
    }
  }
}

/// What a rule asks of the drafter.
package enum DraftDemand: Sendable, Hashable {
  /// Tokens by any method.
  case tokens
  /// Tokens by any method; those ranked with the session's ``GumbelNoise`` survive most often.
  case sharedNoise
  /// One chain, each drawn token with the law that it was drawn from.
  case chainWithLaw
  /// A tree, each drawn token with the law that it was drawn from; siblings in the order of their
  /// draws.
  case treeWithLaw
  /// Independent draws from the same law for each place, with that law.
  case independentWithLaw

  /// Whether drawn tokens need the law that they were drawn from.
  ///
  /// Rules that need it believe the drafter: drafts that were not drawn from the law that comes with
  /// them change the law of the text, which no check of a single step can see. Without it the worst
  /// drafter costs time only.
  package var needsLaw: Bool {
    switch self {
    case .tokens, .sharedNoise: false
    case .chainWithLaw, .treeWithLaw, .independentWithLaw: true
    }
  }
}

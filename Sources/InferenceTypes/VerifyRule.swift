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
  package var isLossless: Bool {
    switch self {
    case .gumbelMatch, .match, .ratio, .rejection, .kSequential, .block, .traversal: true
    case .typical, .relaxed, .deferred: false
    }
  }
}

/// A rule as a client asks for it: its name, and the settings of one that changes the law of the
/// text, which the others ignore.
package struct VerifyRuleParameters: Sendable, Equatable {
  package var rule = VerifyRule.gumbelMatch
  /// ``VerifyRule/typical``: probability from which a draft always survives, 0 to below 1.
  package var typicalProbability = 0.09
  /// ``VerifyRule/typical``: share of exp(-entropy) that does as well, 0 to below 1.
  package var typicalEntropy = 0.3
  /// ``VerifyRule/relaxed``: drafts among this many most probable tokens survive, 0 or more.
  package var relaxedCandidates = 10
  /// ``VerifyRule/relaxed``: how much less probable than the first they may be, 0 to 1.
  package var relaxedMargin = 0.01
  /// ``VerifyRule/deferred``: nats of entropy from which a draft that was not chosen may survive, 0
  /// or more; `nil` for 0.3 times the logarithm of the number of tokens that the sampling keeps.
  package var deferredEntropy: Double?
  /// ``VerifyRule/deferred``: drafts after it that have to be the target's choices, 1 or more.
  package var deferredWindow = 6

  package init(_ rule: VerifyRule = .gumbelMatch) { self.rule = rule }
}

package import InferenceTypes

extension VerifyRule {
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

extension VerifyRule {
  /// How a source that searches for single tokens best guesses: with the target's noise where it
  /// decides, and otherwise what is most probable.
  package func guessed(_ sampling: SamplingParameters) -> SamplingParameters {
    guard demand != .sharedNoise else { return sampling }
    var guessed = sampling
    guessed.temperature = 0
    // It needs chance.
    guessed.mirostatTau = 0
    return guessed
  }

  /// Whether a draft model draws by chance for this rule, and sends the laws of its draws. At
  /// temperature 0 it has no choice.
  package func drawsDrafts(_ sampling: SamplingParameters) -> Bool {
    demand.needsLaw && sampling.temperature > 0
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

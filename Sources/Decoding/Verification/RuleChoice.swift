package import InferenceTypes

/// The rule that a session's drafts are judged by, with its settings.
package enum RuleChoice: Sendable, Equatable {
  case lossless(LosslessRule)
  case lossy(LossyRule)

  /// The rule that a client asks for.
  ///
  /// - Throws: ``VerificationError/settingOutOfRange(name:value:allowed:)`` that names the setting.
  package init(
    _ parameters: VerifyRuleParameters, sampling: SamplingParameters, vocabularyCount: Int
  ) throws(VerificationError) {
    if let lossless = parameters.rule.lossless {
      self = .lossless(lossless)
      return
    }
    switch parameters.rule {
    case .typical:
      self = .lossy(
        .typical(
          try TypicalAcceptance(
            probabilityMin: parameters.typicalProbability,
            entropyScale: parameters.typicalEntropy)))
    case .relaxed:
      self = .lossy(
        .relaxed(
          try RelaxedAcceptance(
            candidateCount: parameters.relaxedCandidates, margin: parameters.relaxedMargin)))
    default:
      let isCut = sampling.topK > 0 && sampling.topK < vocabularyCount
      let kept = Double(isCut ? sampling.topK : vocabularyCount)
      self = .lossy(
        .deferred(
          try DeferredAcceptance(
            entropyMin: parameters.deferredEntropy ?? 0.3 * ExactMath.log(kept),
            windowLength: parameters.deferredWindow)))
    }
  }

  /// What is used where nothing is said.
  package static let standard = RuleChoice.lossless(.gumbelMatch)

  /// Its name among all rules.
  package var rule: VerifyRule {
    switch self {
    case .lossless(let rule): rule.rule
    case .lossy(let rule): rule.rule
    }
  }

  /// Whether drafts have no influence on the text: the others give another text, of the same law or
  /// not, for other drafts.
  package var isExact: Bool { self == .lossless(.gumbelMatch) || self == .lossless(.match) }

  /// See ``VerifyRule/guessed(_:)``.
  package func guessed(_ sampling: SamplingParameters) -> SamplingParameters {
    rule.guessed(sampling)
  }

  /// The rule with what follows from the session: at temperature 0 the target's choice is the most
  /// probable token, and the end of a text comes only where the target chose it.
  func fitted(to sampling: SamplingParameters, stopTokens: [TokenID]) -> RuleChoice {
    switch self {
    case .lossless, .lossy(.typical): return self
    case .lossy(.relaxed(var settings)):
      settings.isGreedy = sampling.temperature == 0
      settings.strictTokens += stopTokens
      return .lossy(.relaxed(settings))
    case .lossy(.deferred(var settings)):
      settings.isGreedy = sampling.temperature == 0
      settings.strictTokens += stopTokens
      return .lossy(.deferred(settings))
    }
  }
}

/// Judges the batches of one session by the rule that it was told to use.
struct RuleJudge: Sendable {
  let choice: RuleChoice
  /// Drafts that owe their acceptance to a lossy rule.
  private(set) var relaxedCount = 0
  private var laws: TokenChooser
  private var numbers: KeyedChooser
  private let vocabularyCount: Int

  /// `nil` under ``VerifyRule/gumbelMatch``, which needs no judge.
  ///
  /// - Throws: ``DecodingError/notPossible(choice:with:)`` for choices that no law describes.
  init?(
    _ configuration: VerifierSession.Configuration, stopTokens: [TokenID]
  ) throws(DecodingError) {
    guard configuration.rule != .standard else { return nil }
    guard !configuration.sampling.usesMirostat else {
      throw .notPossible(
        choice: "mirostatTau", with: "the verify rule \(configuration.rule.rule.rawValue)")
    }
    choice = configuration.rule.fitted(to: configuration.sampling, stopTokens: stopTokens)
    vocabularyCount = configuration.vocabularyCount
    laws = try TokenChooser(
      parameters: Self.sampling(choice, configuration.sampling), vocabularyCount: vocabularyCount)
    numbers = KeyedChooser(seed: configuration.sampling.seed)
  }

  /// A greedy choice that is to be relaxed needs the law that it is the mode of.
  private static func sampling(
    _ choice: RuleChoice, _ sampling: SamplingParameters
  ) -> SamplingParameters {
    var sampling = sampling
    switch choice {
    case .lossy(.relaxed(let settings)) where settings.isGreedy: sampling.temperature = 1
    case .lossy(.deferred(let settings)) where settings.isGreedy: sampling.temperature = 1
    case .lossless, .lossy: break
    }
    return sampling
  }

  /// Judges one batch.
  ///
  /// - Shape: `logits`: `[batch.count, vocabulary]`.
  /// - Parameters:
  ///   - ruled: what was evaluated.
  ///   - truth: down to the batch's root.
  ///   - logits: of every token of the batch.
  /// - Returns: the decided tokens, at least one; those after a stop token are not cut off.
  /// - Throws: ``VerificationError`` where the rule cannot judge these drafts.
  mutating func decide(
    _ ruled: RuledBatch, truth: [TokenID], logits: Span<Float>
  ) throws(VerificationError) -> [TokenID] {
    let drafts = ruled.drafts
    let step = Verification(drafts, rootPosition: ruled.batch.rootPosition)
    let recent = truth.suffix(laws.historyLength)
    let readsHistory = laws.historyLength > 0
    var laws = laws
    defer { self.laws = laws }
    func law(after node: Int) -> TokenDistribution {
      let row = ruled.batchNodes[node] * vocabularyCount
      var context: [TokenID] = []
      if readsHistory {
        context = recent + drafts.path(to: node).dropFirst().map { drafts.tokens[$0] }
      }
      return laws.distribution(
        logits: logits.extracting(row..<row + vocabularyCount), recent: context.span)
    }
    switch choice {
    case .lossless(let rule):
      return try step.verdict(by: rule, chooser: &numbers, target: law(after:)).tokens
    case .lossy(let rule):
      let verdict = step.verdict(by: rule, chooser: &numbers, target: law(after:))
      relaxedCount += verdict.relaxedCount
      return verdict.verdict.tokens
    }
  }
}

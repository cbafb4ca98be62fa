import ArgumentParser
import Decoding
import InferenceTypes

extension VerifyRule: ExpressibleByArgument {}

/// Settings of the verify rules that change the law of the text.
struct LossyRuleOptions: ParsableArguments {
  @Option(
    parsing: .unconditional,
    help: "typical: probability from which a draft always survives, 0 to below 1. (default: 0.09)")
  var typicalProbability: Double?
  @Option(
    parsing: .unconditional,
    help: "typical: share of exp(-entropy) that does as well, 0 to below 1. (default: 0.3)")
  var typicalEntropy: Double?
  @Option(
    parsing: .unconditional,
    help: "relaxed: drafts among this many most probable tokens survive. (default: 10)")
  var relaxedCandidates: Int?
  @Option(
    parsing: .unconditional,
    help: "relaxed: how much less probable than the first they may be, 0 to 1. (default: 0.01)")
  var relaxedMargin: Double?
  @Option(
    parsing: .unconditional,
    help: """
      deferred: nats of entropy from which a draft that was not chosen may survive. (default: 0.3 \
      times the logarithm of the number of tokens that the sampling keeps)
      """)
  var deferredEntropy: Double?
  @Option(
    parsing: .unconditional,
    help: "deferred: drafts after it that have to be the target's choices. (default: 6)")
  var deferredWindow: Int?

  /// What each setting belongs to, where it is set.
  private var used: [(rule: VerifyRule, name: String)] {
    let all: [(VerifyRule, String, Any?)] = [
      (.typical, "--typical-probability", typicalProbability),
      (.typical, "--typical-entropy", typicalEntropy),
      (.relaxed, "--relaxed-candidates", relaxedCandidates),
      (.relaxed, "--relaxed-margin", relaxedMargin),
      (.deferred, "--deferred-entropy", deferredEntropy),
      (.deferred, "--deferred-window", deferredWindow),
    ]
    return all.filter { $0.2 != nil }.map { ($0.0, $0.1) }
  }

  /// Refuses settings of rules that are not among `rules`.
  func check(for rules: [VerifyRule]) throws {
    for setting in used where !rules.contains(setting.rule) {
      throw ValidationError("\(setting.name) belongs to the verify rule \(setting.rule.rawValue)")
    }
  }

  /// The rule with its settings.
  ///
  /// - Throws: ``VerificationError`` that names the setting that is out of its range.
  func choice(
    _ rule: VerifyRule, sampling: SamplingParameters, vocabularyCount: Int
  ) throws -> RuleChoice {
    try RuleChoice(parameters(rule), sampling: sampling, vocabularyCount: vocabularyCount)
  }

  /// The rule with its settings, as a request names it.
  func parameters(_ rule: VerifyRule) -> VerifyRuleParameters {
    var parameters = VerifyRuleParameters(rule)
    if let typicalProbability { parameters.typicalProbability = typicalProbability }
    if let typicalEntropy { parameters.typicalEntropy = typicalEntropy }
    if let relaxedCandidates { parameters.relaxedCandidates = relaxedCandidates }
    if let relaxedMargin { parameters.relaxedMargin = relaxedMargin }
    parameters.deferredEntropy = deferredEntropy
    if let deferredWindow { parameters.deferredWindow = deferredWindow }
    return parameters
  }
}

/// Which rule judges drafts.
struct VerifyRuleOptions: ParsableArguments {
  @Option(
    help: """
      How drafts are judged. The text is that of decoding without drafts under gumbel-match and \
      match, has its law under ratio, rejection, k-seq, block and traversal, and has not under \
      typical, relaxed and deferred.
      """)
  var verifyRule = VerifyRule.gumbelMatch

  @OptionGroup var settings: LossyRuleOptions

  func validate() throws { try settings.check(for: [verifyRule]) }
}

/// What judged the drafts of a text.
struct RunRule {
  let name: String
  let isLossless: Bool
  /// Drafts that only a lossy rule lets pass.
  let relaxedCount: Int?

  init(_ rule: VerifyRule, relaxedCount: Int) {
    name = rule.rawValue
    isLossless = rule.isLossless
    self.relaxedCount = rule.isLossless ? nil : relaxedCount
  }

  /// What people have to know about the text.
  var warning: String? {
    relaxedCount.map {
      "note: the verify rule \(name) is lossy: the text does not have the target model's law "
        + "(\($0) drafts were let pass)"
    }
  }
}

/// The verify rules that requests to a cluster may name.
struct AllowedRulesOptions: ParsableArguments {
  @Option(
    help: """
      Verify rules that requests may name, separated by commas, or all. Beside gumbel-match and match \
      they trust the drafters with the law of the text, or change it. gumbel-match is always allowed.
      """)
  var allowVerifyRules = "gumbel-match,match"

  /// Checked by ``validate()``.
  var rules: Set<VerifyRule> {
    if allowVerifyRules == "all" { return Set(VerifyRule.allCases) }
    return Set(allowVerifyRules.split(separator: ",").compactMap { VerifyRule(rawValue: "\($0)") })
  }

  func validate() throws {
    guard allowVerifyRules != "all" else { return }
    for name in allowVerifyRules.split(separator: ",", omittingEmptySubsequences: false)
    where VerifyRule(rawValue: "\(name)") == nil {
      let names = VerifyRule.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError(
        "--allow-verify-rules: \"\(name)\" is no verify rule; use all, or any of \(names)")
    }
  }
}

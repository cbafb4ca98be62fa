package import InferenceTypes

/// The rules that change the law of the text for speed: a type of their own, so that none of them
/// is taken for a ``LosslessRule``.
///
/// No token that the target's law excludes is ever emitted by any of them.
package enum LossyRule: Sendable, Equatable {
  case typical(TypicalAcceptance)
  case relaxed(RelaxedAcceptance)
  case deferred(DeferredAcceptance)

  /// Its name among all rules.
  package var rule: VerifyRule {
    switch self {
    case .typical: .typical
    case .relaxed: .relaxed
    case .deferred: .deferred
    }
  }
}

/// What a lossy rule decided.
package struct LossyVerdict: Sendable, Equatable {
  package let verdict: Verdict
  /// Accepted drafts that decoding without drafts would not have chosen, given the tokens before
  /// them and the session's noise. Under ``VerifyRule/typical``, which makes no choice of its own,
  /// those that are not the most probable token.
  package let relaxedCount: Int
}

/// Settings of ``VerifyRule/typical``: a draft of probability p survives if
/// p > min(`probabilityMin`, `entropyScale` · exp(-H)), with H the entropy of its place in nats.
package struct TypicalAcceptance: Sendable, Equatable {
  package let probabilityMin: Double
  package let entropyScale: Double

  /// - Throws: ``VerificationError/settingOutOfRange(name:value:allowed:)`` where a setting is not
  ///   in 0..<1. Below 1 the most probable token always survives.
  package init(
    probabilityMin: Double = 0.09, entropyScale: Double = 0.3
  ) throws(VerificationError) {
    for (name, value) in [("probabilityMin", probabilityMin), ("entropyScale", entropyScale)] {
      guard value >= 0, value < 1 else {
        throw .settingOutOfRange(name: name, value: value, allowed: "0..<1")
      }
    }
    self.probabilityMin = probabilityMin
    self.entropyScale = entropyScale
  }

  /// What a token's probability must exceed.
  func threshold(_ law: TokenDistribution) -> Double {
    min(probabilityMin, entropyScale * ExactMath.exp(-law.entropy))
  }
}

/// Settings of ``VerifyRule/relaxed``: where the target's own choice was not drafted, a draft
/// survives that is among its `candidateCount` most probable tokens and at most `margin` less
/// probable than the first.
package struct RelaxedAcceptance: Sendable, Equatable {
  /// 0 makes the rule ``VerifyRule/gumbelMatch``.
  package let candidateCount: Int
  package let margin: Double
  /// Takes the most probable token as the target's choice instead of the one under the noise. The
  /// law is then that of temperature 1 or so: at temperature 0 it has one token, and nothing can be
  /// relaxed.
  package internal(set) var isGreedy: Bool
  /// Tokens that survive only as the target's own choice, such as those that end the text.
  package internal(set) var strictTokens: [TokenID]

  /// - Throws: ``VerificationError/settingOutOfRange(name:value:allowed:)`` that names the setting.
  package init(
    candidateCount: Int = 10, margin: Double = 0.01, isGreedy: Bool = false,
    strictTokens: [TokenID] = []
  ) throws(VerificationError) {
    guard candidateCount >= 0 else {
      throw .settingOutOfRange(
        name: "candidateCount", value: Double(candidateCount), allowed: "0 and more")
    }
    guard margin >= 0, margin <= 1 else {
      throw .settingOutOfRange(name: "margin", value: margin, allowed: "0...1")
    }
    self.candidateCount = candidateCount
    self.margin = margin
    self.isGreedy = isGreedy
    self.strictTokens = strictTokens
  }

  /// Whether a draft with this probability survives.
  func admits(_ token: TokenID, _ law: TokenDistribution) -> Bool {
    let probability = law.probability(of: token)
    guard probability > 0, candidateCount > 0, !strictTokens.contains(token) else { return false }
    var better = 0
    var largest = 0.0
    for index in law.tokens.indices {
      let other = law.probabilities[index]
      largest = max(largest, other)
      if other > probability || (other == probability && law.tokens[index] < token) {
        better += 1
      }
    }
    return better < candidateCount && probability >= largest - margin
  }
}

/// Settings of ``VerifyRule/deferred``: where the target's own choice was not drafted, a draft
/// survives if the entropy of the place is at least `entropyMin` and the target's choices after the
/// draft are all drafted below it, for `windowLength` tokens.
package struct DeferredAcceptance: Sendable, Equatable {
  /// Nats. The paper takes 0.3 times the logarithm of the vocabulary's size, of the law without
  /// truncation.
  package let entropyMin: Double
  /// The paper takes 6. A window that the drafts do not fill is a refusal.
  package let windowLength: Int
  /// See ``RelaxedAcceptance/isGreedy``.
  package internal(set) var isGreedy: Bool
  /// See ``RelaxedAcceptance/strictTokens``.
  package internal(set) var strictTokens: [TokenID]

  /// - Throws: ``VerificationError/settingOutOfRange(name:value:allowed:)`` that names the setting.
  package init(
    entropyMin: Double, windowLength: Int = 6, isGreedy: Bool = false,
    strictTokens: [TokenID] = []
  ) throws(VerificationError) {
    guard entropyMin >= 0 else {
      throw .settingOutOfRange(name: "entropyMin", value: entropyMin, allowed: "0 and more")
    }
    guard windowLength >= 1 else {
      throw .settingOutOfRange(
        name: "windowLength", value: Double(windowLength), allowed: "1 and more")
    }
    self.entropyMin = entropyMin
    self.windowLength = windowLength
    self.isGreedy = isGreedy
    self.strictTokens = strictTokens
  }
}

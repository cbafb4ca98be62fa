package import InferenceTypes

/// What a random number is for; raw values are the third word of the generator's counter, of which
/// ``GumbelNoise`` uses 5, and drafting sources use 7: a target's choice with the numbers of a draft
/// would be one that the drafter knows.
package enum RandomPurpose: UInt32, Sendable, Hashable, CaseIterable {
  /// A draft token.
  case draft = 1
  /// Whether a draft survives.
  case acceptance = 2
  /// The token in place of refused drafts.
  case residual = 3
  /// The token after the last draft of a path.
  case bonus = 4
  /// The target's choice under shared noise.
  case sharedNoise = 5
  /// The target's choice under ``VerifyRule/match``.
  case target = 9
  /// The token that stands for a draft from the rest of its law.
  case rest = 8
}

/// Name of one random decision; no two decisions of a session may have the same.
package struct RandomKey: Sendable, Hashable {
  package let purpose: RandomPurpose
  /// Index in the whole sequence: of the chosen token for the target's choices, which are made once
  /// for each place; of the root for all others, because the next step decides anew about places
  /// below this one's end, and roots never come twice.
  package let position: Int
  /// Number of the decision at this position; the node that it is about, where there is one.
  package let index: Int

  package init(_ purpose: RandomPurpose, position: Int, index: Int = 0) {
    self.purpose = purpose
    self.position = position
    self.index = index
  }
}

/// Makes the random decisions of a verification.
package protocol VerifyChooser {
  /// Whether an event of this probability, from 0 to 1, happens.
  mutating func happens(_ probability: Double, _ key: RandomKey) -> Bool

  /// A token with this law, which has no rest.
  mutating func draw(_ law: TokenDistribution, _ key: RandomKey) -> TokenID
}

/// Decisions as a pure function of the session's seed and their key.
///
/// With s the seed, the number behind a decision is
///
///     word = Philox4x32(key s, counter (index, position, purpose, 0))
///     u    = (word[0] · 2^20 + word[1] / 2^12 + 1/2) / 2^52      (never 0 or 1)
///
/// The purpose keeps drafts independent of the decisions about them.
package struct KeyedChooser: VerifyChooser, Sendable, Equatable {
  package let noise: GumbelNoise

  package init(seed: UInt64) { noise = GumbelNoise(seed: seed) }

  /// The number behind a decision, above 0 and below 1.
  package func uniform(_ key: RandomKey) -> Double {
    let words = Philox4x32.block(
      key: noise.seed,
      counter: (
        UInt32(truncatingIfNeeded: key.index), UInt32(truncatingIfNeeded: key.position),
        key.purpose.rawValue, 0
      ))
    let k = UInt64(words[0]) << 20 | UInt64(words[1] >> 12)
    return (Double(k) + 0.5) * 0x1p-52
  }

  package func happens(_ probability: Double, _ key: RandomKey) -> Bool {
    uniform(key) < probability
  }

  /// Under ``RandomPurpose/sharedNoise`` the token with the largest noise plus logarithm of its
  /// probability, ties to the smaller one, so that a drafter with the same noise can guess it;
  /// otherwise the token at the key's number.
  package func draw(_ law: TokenDistribution, _ key: RandomKey) -> TokenID {
    guard key.purpose == .sharedNoise else { return law.token(at: uniform(key)) }
    precondition(law.rest == 0 && !law.tokens.isEmpty, "draw from a law with the rest \(law.rest)")
    var best = law.tokens[0]
    var bestScore = -Double.infinity
    for index in law.tokens.indices {
      let token = law.tokens[index]
      let score =
        ExactMath.log(law.probabilities[index])
        + noise.value(position: key.position, token: token)
      if score > bestScore {
        best = token
        bestScore = score
      }
    }
    return best
  }
}

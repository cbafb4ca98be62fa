package import InferenceTypes

/// The distribution that a token is chosen from: what is left after truncation.
package struct TokenLaw: Sendable, Equatable {
  /// Largest first; ties by token.
  package let tokens: [TokenID]
  /// They add up to 1.
  package let probabilities: [Double]

  init(tokens: [TokenID], shares: [Double]) {
    let total = shares.reduce(0, +)
    self.tokens = tokens
    probabilities = shares.map { $0 / total }
  }

  /// Nats.
  package var entropy: Double {
    probabilities.reduce(0) { $1 > 0 ? $0 - $1 * ExactMath.log($1) : $0 }
  }

  /// Natural logarithm of the probability; -infinity for tokens that are cut off.
  package func logProbability(of token: TokenID) -> Double {
    guard let index = tokens.firstIndex(of: token) else { return -.infinity }
    return ExactMath.log(probabilities[index])
  }
}

package import InferenceTypes

/// A law over tokens: those with a probability of their own, and what is left for all others.
///
/// A target's law has no rest. A drafter's law may have one if it draws from more tokens than it
/// sends: it then says how probable it was to draw any other token.
package struct TokenDistribution: Sendable, Equatable {
  /// Less probability than this is none: a law cannot be made of it.
  static let massMin = 1e-12

  /// Strictly increasing.
  package let tokens: [TokenID]
  /// Positive; with ``rest`` they add up to 1.
  package let probabilities: [Double]
  /// Probability of all tokens that are not in ``tokens``, from 0 to 1.
  package let rest: Double

  /// All probability on one token.
  package init(certain token: TokenID) {
    tokens = [token]
    probabilities = [1]
    rest = 0
  }

  /// Makes a law of weights by dividing them by their sum, in the order of tokens. Both ends make
  /// it of the same weights, so that the verifier's law is exactly the one that drafts are drawn
  /// from.
  ///
  /// - Shape: `tokens`: `[entries]`, strictly increasing; `weights`: `[entries]`.
  /// - Parameters:
  ///   - tokens: those with a weight of their own.
  ///   - weights: at least 0.
  ///   - rest: weight of all other tokens together.
  ///   - vocabularyCount: tokens of the model.
  /// - Throws: ``VerificationError`` that names the first offending token or weight.
  package init(
    tokens: [TokenID], weights: [Double], rest: Double = 0, vocabularyCount: Int
  ) throws(VerificationError) {
    guard tokens.count == weights.count else {
      throw .weightCount(tokens: tokens.count, weights: weights.count)
    }
    var total = 0.0
    for index in tokens.indices {
      guard tokens[index].rawValue < vocabularyCount else {
        throw .unknownToken(tokens[index], vocabularyCount: vocabularyCount)
      }
      guard index == 0 || tokens[index - 1] < tokens[index] else {
        throw .unsortedToken(tokens[index])
      }
      guard weights[index] >= 0, weights[index] < .infinity else {
        throw .weightOutOfRange(tokens[index], weights[index])
      }
      total += weights[index]
    }
    guard rest >= 0, rest < .infinity else { throw .weightOutOfRange(nil, rest) }
    total += rest
    guard total > 0, total < .infinity else { throw .massOutOfRange(total) }
    self.init(tokens: tokens, weights: weights, rest: rest, total: total)
  }

  /// Divides checked weights by `total` and leaves out what comes to 0.
  init(tokens: [TokenID], weights: [Double], rest: Double, total: Double) {
    var kept: [TokenID] = []
    var probabilities: [Double] = []
    kept.reserveCapacity(tokens.count)
    probabilities.reserveCapacity(tokens.count)
    for index in tokens.indices {
      let probability = weights[index] / total
      guard probability > 0 else { continue }
      kept.append(tokens[index])
      probabilities.append(probability)
    }
    self.tokens = kept
    self.probabilities = probabilities
    self.rest = rest / total
  }

  /// Makes a law of weights if they are more than rounding errors.
  init?(tokens: [TokenID], weights: [Double], rest: Double = 0) {
    let total = weights.reduce(0, +) + rest
    guard total > Self.massMin else { return nil }
    self.init(tokens: tokens, weights: weights, rest: rest, total: total)
  }

  /// Probability of a token that has one of its own; 0 for all others.
  package func probability(of token: TokenID) -> Double {
    index(of: token).map { probabilities[$0] } ?? 0
  }

  /// The most probable token, ties to the smaller one; `nil` where only a rest is known.
  package var mode: TokenID? {
    guard var best = probabilities.indices.first else { return nil }
    for index in probabilities.indices where probabilities[index] > probabilities[best] {
      best = index
    }
    return tokens[best]
  }

  /// Entropy in nats; the rest counts as one token.
  package var entropy: Double {
    var sum = rest > 0 ? -rest * ExactMath.log(rest) : 0
    for probability in probabilities { sum -= probability * ExactMath.log(probability) }
    return sum
  }

  /// Draws by a number.
  ///
  /// - Parameter uniform: in 0..<1; the law must have no rest.
  /// - Returns: the token at which the running sum, in the order of tokens, exceeds the number.
  package func token(at uniform: Double) -> TokenID {
    precondition(rest == 0 && !tokens.isEmpty, "draw from a law with the rest \(rest)")
    var sum = 0.0
    for index in probabilities.indices {
      sum += probabilities[index]
      if uniform < sum { return tokens[index] }
    }
    // The sum may fall short of 1 by rounding.
    return tokens[tokens.count - 1]
  }

  /// Leaves the most probable tokens.
  ///
  /// - Parameters:
  ///   - count: how many, at least 1; ties go to the smaller token.
  ///   - keepsRest: says how probable all others were, for drafts that are drawn from this law;
  ///     otherwise the result is a law of its own, to draw from.
  /// - Returns: the shorter law.
  package func truncated(to count: Int, keepsRest: Bool) -> TokenDistribution {
    precondition(count >= 1, "\(count) tokens")
    guard count < tokens.count else { return self }
    let ranked = probabilities.indices.sorted {
      probabilities[$0] > probabilities[$1]
        || (probabilities[$0] == probabilities[$1] && $0 < $1)
    }
    let kept = ranked.prefix(count).sorted()
    var left = rest
    for index in ranked.dropFirst(count).sorted() { left += probabilities[index] }
    let weights = kept.map { probabilities[$0] }
    let rest = keepsRest ? left : 0
    return TokenDistribution(
      tokens: kept.map { tokens[$0] }, weights: weights, rest: rest,
      total: weights.reduce(0, +) + rest)
  }

  /// The law of a draw that did not give `token`; `nil` where nothing else can come.
  package func removing(_ token: TokenID) -> TokenDistribution? {
    guard let removed = index(of: token) else { return self }
    var tokens = tokens
    var weights = probabilities
    tokens.remove(at: removed)
    weights.remove(at: removed)
    return TokenDistribution(tokens: tokens, weights: weights, rest: rest)
  }

  /// What of this law another one does not cover: the positive part of `scale · self - other`.
  ///
  /// - Returns: its mass, and the law that it makes; `nil` where the mass is a rounding error.
  /// - Complexity: O(entries of both).
  func excess(
    scale: Double = 1, over other: TokenDistribution
  ) -> (mass: Double, law: TokenDistribution?) {
    var weights = probabilities
    var mass = 0.0
    var position = 0
    for index in tokens.indices {
      while position < other.tokens.count, other.tokens[position] < tokens[index] { position += 1 }
      var weight = scale * probabilities[index]
      if position < other.tokens.count, other.tokens[position] == tokens[index] {
        weight -= other.probabilities[position]
      }
      weights[index] = max(weight, 0)
      mass += weights[index]
    }
    guard mass > Self.massMin else { return (mass, nil) }
    return (mass, TokenDistribution(tokens: tokens, weights: weights, rest: 0, total: mass))
  }

  /// The part of this law on tokens that `other` gives no probability of their own.
  ///
  /// - Returns: its mass, and the law that it makes; `nil` where the mass is a rounding error.
  func outside(_ other: TokenDistribution) -> (mass: Double, law: TokenDistribution?) {
    var outside: [TokenID] = []
    var weights: [Double] = []
    for index in tokens.indices where other.index(of: tokens[index]) == nil {
      outside.append(tokens[index])
      weights.append(probabilities[index])
    }
    return (weights.reduce(0, +), TokenDistribution(tokens: outside, weights: weights))
  }

  /// Gives the rest to the tokens of `law`, which has no token of this one.
  func spreadingRest(over law: TokenDistribution) -> TokenDistribution {
    var merged: [TokenID] = []
    var weights: [Double] = []
    var position = 0
    for index in tokens.indices {
      while position < law.tokens.count, law.tokens[position] < tokens[index] {
        merged.append(law.tokens[position])
        weights.append(rest * law.probabilities[position])
        position += 1
      }
      merged.append(tokens[index])
      weights.append(probabilities[index])
    }
    for index in position..<law.tokens.count {
      merged.append(law.tokens[index])
      weights.append(rest * law.probabilities[index])
    }
    return TokenDistribution(tokens: merged, weights: weights, rest: 0, total: 1)
  }

  private func index(of token: TokenID) -> Int? {
    var low = 0
    var high = tokens.count
    while low < high {
      let middle = (low + high) / 2
      if tokens[middle] < token { low = middle + 1 } else { high = middle }
    }
    return low < tokens.count && tokens[low] == token ? low : nil
  }
}

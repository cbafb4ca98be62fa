import InferenceTypes

/// A draft model's guesses for one place, best first: its own choice, then what the target may
/// choose in its place.
struct RankedGuesses: Sendable {
  /// Guesses beside the choice, at most.
  static let leafMax = 7

  var tokens: [TokenID]
  /// Logits over temperature plus noise, relative to the largest logit; none above the one before.
  var scores: [Double]
}

extension DraftSampling {
  /// Ranks by perturbed score: the noise that decides the target's choice decides the order, and
  /// the largest scores are a sample without replacement (Gumbel-top-k).
  ///
  /// - Parameters:
  ///   - top: the largest logits of the row, larger first, ties by token.
  ///   - choice: of the whole pipeline, which comes first.
  ///   - position: index of the guessed token in the whole sequence.
  ///   - keptCount: top-k of the session; 0 keeps all.
  /// - Returns: at least the choice.
  /// - SeeAlso: Kool, van Hoof and Welling 2019, arXiv:1903.06059.
  func rank(
    _ top: Span<TokenLogit>, choice: TokenLogit, position: Int, keptCount: Int
  ) -> RankedGuesses {
    let isGreedy = temperature == 0
    let inverse = isGreedy ? 1 : 1 / Double(temperature)
    let largest = Double(top.count > 0 ? top[0].logit : choice.logit)
    func score(_ entry: TokenLogit) -> Double {
      let share = (Double(entry.logit) - largest) * inverse
      return isGreedy ? share : share + noise.value(position: position, token: entry.token)
    }
    let best = score(choice)
    var leaves: [(score: Double, token: TokenID)] = []
    let floor = isGreedy ? -Double.infinity : ExactMath.log(Double(minP))
    for index in 0..<min(top.count, 16) where top[index].token != choice.token {
      let isKept = isGreedy || keptCount == 0 || index < keptCount
      guard isKept, top[index].logit > -.infinity,
        (Double(top[index].logit) - largest) * inverse >= floor
      else { break }
      // Penalties or top-p may have taken a token that leads here.
      leaves.append((min(best, score(top[index])), top[index].token))
    }
    leaves.sort { ($1.score, $0.token) < ($0.score, $1.token) }
    leaves.removeLast(max(0, leaves.count - RankedGuesses.leafMax))
    return RankedGuesses(
      tokens: [choice.token] + leaves.map(\.token), scores: [best] + leaves.map(\.score))
  }
}

extension CouplingScale {
  /// Learns from the token that came where these were guessed.
  mutating func learn(_ guesses: RankedGuesses, truth: TokenID) {
    learn(guesses.scores, truth: guesses.tokens.firstIndex(of: truth))
  }
}

import InferenceTypes

/// What a model's distribution of the next token says about its certainty: all that the decision
/// who writes needs of a row.
///
/// Of the softmax at temperature 1 over the whole vocabulary, whatever the sampling parameters are.
package struct RowSummary: Sendable, Equatable {
  /// Bits.
  package var entropy: Double
  package var maxProbability: Double
  /// Half the distance of the two largest probabilities.
  package var gap: Double

  package init(entropy: Double, maxProbability: Double, gap: Double) {
    self.entropy = entropy
    self.maxProbability = maxProbability
    self.gap = gap
  }

  /// Logits this far below the largest one, in nats, change no result by 1e-11.
  private static let horizon = -40.0
  private static let log2E = 1.442_695_040_888_963_4

  /// Sums in the order of tokens, with the same bits everywhere.
  ///
  /// - Shape: `logits`: `[vocabulary]`. NaN counts as -infinity; a row without any other logit has
  ///   no entropy and no probabilities.
  /// - Complexity: O(vocabulary). Does not allocate.
  package init(logits: Span<Float>) {
    let largest = argmax(logits)
    guard largest.logit > -.infinity else {
      self.init(entropy: 0, maxProbability: 0, gap: 0)
      return
    }
    let maximum = Double(largest.logit)
    var total = 0.0
    var weighted = 0.0
    var second = 0.0
    for index in logits.indices {
      let distance = logits[index] == largest.logit ? 0 : Double(logits[index]) - maximum
      guard distance > Self.horizon else { continue }
      let share = ExactMath.exp(distance)
      total += share
      weighted += share * distance
      if share > second, index != Int(largest.token.rawValue) { second = share }
    }
    let entropy = (ExactMath.log(total) - weighted / total) * Self.log2E
    self.init(
      entropy: max(0, entropy), maxProbability: 1 / total, gap: (1 - second) / total / 2)
  }
}

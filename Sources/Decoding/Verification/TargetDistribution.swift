package import InferenceTypes

extension TokenChooser {
  /// The law that ``choose(logits:top:recent:position:)`` draws from: the same steps up to the
  /// noise, with the same survivors. Mirostat is not heeded.
  ///
  /// - Shape: `logits`: `[vocabulary]`, before any processing.
  /// - Parameters:
  ///   - logits: the target's row.
  ///   - recent: the context, oldest token first, drafts of the path included.
  /// - Returns: the law; all of it on one token at temperature 0.
  /// - Complexity: O(vocabulary), times its logarithm where top-p looks at all tokens.
  package mutating func distribution(
    logits: Span<Float>, recent: Span<TokenID>
  ) -> TokenDistribution {
    precondition(
      logits.count == vocabularyCount, "\(logits.count) logits of \(vocabularyCount)")
    guard parameters.adjustsLogits else { return adjustedDistribution(logits) }
    var row: [Float] = []
    swap(&row, &adjusted)
    adjust(logits, recent: recent, into: &row)
    let law = adjustedDistribution(row.span)
    swap(&row, &adjusted)
    return law
  }

  private mutating func adjustedDistribution(_ logits: Span<Float>) -> TokenDistribution {
    let largest = argmax(logits)
    guard parameters.temperature > 0, largest.logit > -.infinity else {
      return TokenDistribution(certain: largest.token)
    }
    // Only its shares are used here: they are the ones that the choice compares.
    var search = PerturbedMaximum(
      noise: noise, position: 0, inverseTemperature: inverseTemperature)
    search.truncate(maximum: largest.logit, minimumShare: Double(parameters.minP))
    var entries: [TokenLogit] = []
    if keptCount > 0 {
      sorted.removeAll(keepingCapacity: true)
      selectLargest(logits)
      entries = sorted
    } else {
      for index in logits.indices where logits[index] > -.infinity {
        entries.append(
          TokenLogit(token: TokenID(UInt32(truncatingIfNeeded: index)), logit: logits[index]))
      }
    }
    if parameters.topP < 1 {
      // The sum is in the order of ranks after top-k, and in that of tokens without it.
      var total = 0.0
      for entry in entries { total += search.share(entry.logit) }
      if keptCount == 0 { entries.sort(by: TokenLogit.comesFirst) }
      entries = nucleus(of: entries, mass: total * Double(parameters.topP), search)
    }
    entries.sort { $0.token < $1.token }
    let weights = entries.map { entry in
      let share = search.share(entry.logit)
      return share < Double(parameters.minP) ? 0 : share
    }
    return TokenDistribution(
      tokens: entries.map(\.token), weights: weights, rest: 0, total: weights.reduce(0, +))
  }

  /// The shortest beginning of ranked entries that has this mass.
  private func nucleus(
    of ranked: [TokenLogit], mass limit: Double, _ search: PerturbedMaximum
  ) -> [TokenLogit] {
    var mass = 0.0
    for (index, entry) in ranked.enumerated() {
      mass += search.share(entry.logit)
      if mass >= limit { return Array(ranked[...index]) }
    }
    return ranked
  }
}

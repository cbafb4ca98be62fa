/// Looks for the sublayers that a model can best do without while it drafts for itself.
///
/// Sets are compared by how many of the latest tokens the rest of the model would have guessed, a
/// candidate and the best one so far over the same tokens. Candidates are the best set with a few
/// sublayers exchanged, and every fourth time any set. All have one size, so that they cost about
/// the same. Attention of layer i is sublayer 2i, its feed-forward block 2i + 1; the first and the
/// last layer always stay.
///
/// - SeeAlso: Xia et al. 2024, arXiv:2410.06916 (SWIFT); departs from it in exchanging sublayers
///   where it has a Bayesian model, and in measuring both sets anew.
package struct SkipSearch: Sendable, Equatable {
  /// Agreement from which there is nothing left to look for.
  private static let scoreEnough = 0.95
  /// Candidates without an improvement, and at all, after which the search ends.
  private static let patience = 300
  private static let trialMax = 1000
  /// What the search uses of the generator's third counter word.
  private static let stream: UInt32 = 6

  /// The best set so far, ascending; empty where a model is too small to leave anything out.
  package private(set) var best: [Int]
  /// Agreement of ``best`` when it was measured last; `nil` before.
  package private(set) var bestScore: Double?
  package private(set) var trialCount = 0
  private var failureCount = 0
  private let sublayers: Range<Int>
  private let seed: UInt64

  /// Begins with every second sublayer or so.
  ///
  /// - Parameters:
  ///   - layerCount: of the model.
  ///   - share: of the sublayers between the first and the last layer that is left out, 0...1.
  ///   - seed: of the candidates.
  package init(layerCount: Int, share: Double = 0.45, seed: UInt64 = 0) {
    let count = max(0, layerCount - 2) * 2
    sublayers = 2..<2 + count
    let size = Int(Double(count) * min(1, max(0, share)))
    best = (0..<size).map { 2 + $0 * count / max(1, size) }
    self.seed = seed
  }

  /// Whether looking further makes sense.
  package var isFinished: Bool {
    best.isEmpty || best.count == sublayers.count || trialCount >= Self.trialMax
      || failureCount >= Self.patience || (bestScore ?? 0) >= Self.scoreEnough
  }

  /// The set to try next; the same until something was learnt.
  package func candidate() -> [Int] {
    var draws = 0
    func draw(below bound: Int) -> Int {
      let word = Philox4x32.block(
        key: seed, counter: (UInt32(trialCount), UInt32(draws), Self.stream, 0))[0]
      draws += 1
      return Int(word) % bound
    }
    var chosen = best
    var others = sublayers.filter { !best.contains($0) }
    guard !chosen.isEmpty, !others.isEmpty else { return best }
    let exchanged = trialCount % 4 == 3 ? chosen.count : 1 + draw(below: 3)
    for _ in 0..<exchanged {
      let out = draw(below: chosen.count)
      let into = draw(below: others.count)
      (chosen[out], others[into]) = (others[into], chosen[out])
    }
    return chosen.sorted()
  }

  /// Takes the better one of the latest ``candidate()`` and ``best``.
  ///
  /// - Parameters:
  ///   - score: share of the tokens that the candidate's rest would have guessed.
  ///   - bestScore: that of ``best`` over the same tokens.
  package mutating func learn(score: Double, bestScore: Double) {
    let next = candidate()
    trialCount += 1
    failureCount += 1
    self.bestScore = bestScore
    guard score > bestScore else { return }
    best = next
    self.bestScore = score
    failureCount = 0
  }
}

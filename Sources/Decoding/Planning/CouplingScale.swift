/// The scale σ, in nats, at which a drafter's perturbed scores predict the target's choice:
/// the probability of candidate v is softmax(s/σ) at v. Learned from the truth.
struct CouplingScale: Sendable {
  private static let grid: [Double] = [0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8]
  private static let memory = 0.98
  /// Counted for a truth that is not among the candidates.
  private static let missLogProbability = -5.0

  /// Fading means of the logarithm of the truth's probability.
  private var merits = [Double](repeating: -1, count: grid.count)
  private var best = 3

  /// Probabilities of candidates with these scores, which are sorted, largest first.
  func probabilities(_ scores: [Double]) -> [Double] {
    Self.softmax(scores, scale: Self.grid[best])
  }

  /// - Parameters:
  ///   - scores: of the candidates at one place, largest first.
  ///   - truth: index of the candidate that was right; `nil` where none was.
  mutating func learn(_ scores: [Double], truth: Int?) {
    for index in Self.grid.indices {
      var merit = Self.missLogProbability
      if let truth {
        let share = Self.softmax(scores, scale: Self.grid[index])[truth]
        merit = max(merit, ExactMath.log(share))
      }
      merits[index] = Self.memory * merits[index] + (1 - Self.memory) * merit
    }
    best = merits.indices.max { merits[$0] < merits[$1] } ?? best
  }

  private static func softmax(_ scores: [Double], scale: Double) -> [Double] {
    guard let largest = scores.first else { return [] }
    let weights = scores.map { ExactMath.exp(($0 - largest) / scale) }
    let total = weights.reduce(0, +)
    return weights.map { $0 / total }
  }
}

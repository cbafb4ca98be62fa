/// How often the guesses of a draft model were right, by their rank, where the text was still the one
/// that it had drafted for. Old guesses fade.
package struct DraftAcceptance: Sendable, Equatable {
  /// Ranks counted: the choice of the draft model, and what it offers beside it.
  package static let rankCount = 8
  private static let decay = 63.0 / 64
  /// What is assumed at first, with the weight of ``priorWeight`` guesses.
  private static let prior = [0.75, 0.1, 0.03, 0.02, 0.01, 0.01, 0.01, 0.01]
  private static let priorWeight = 4.0
  private static let fadedWeight = 8.0

  private var hits = prior.map { $0 * priorWeight }
  private var weight = priorWeight
  /// Guesses that were put to the test.
  package private(set) var sampleCount = 0

  package init() {}

  /// What to begin another text with: the same rates, which soon give way to what it shows.
  package var faded: DraftAcceptance {
    var faded = self
    let scale = min(1, Self.fadedWeight / weight)
    faded.hits = hits.map { $0 * scale }
    faded.weight = weight * scale
    return faded
  }

  /// Share of places where the draft model's own choice was right: 0 to 1.
  package var rate: Double { rate(rank: 0) }

  /// Share of places where the guess of this rank was right.
  package func rate(rank: Int) -> Double { hits[rank] / weight }

  /// The truth showed at a place: the guess of this rank was right, or none of them.
  package mutating func learn(rank: Int?) {
    for index in hits.indices { hits[index] *= Self.decay }
    weight = weight * Self.decay + 1
    if let rank, rank < hits.count { hits[rank] += 1 }
    sampleCount += 1
  }

  /// Guesses for each place that are worth their verification: those that are right more often than
  /// a node costs, in steps of one token.
  ///
  /// - Returns: 1 to `limit`, at most ``rankCount``.
  package func width(nodeCost: Double, limit: Int) -> Int {
    var width = 1
    while width < min(limit, Self.rankCount), rate(rank: width) > nodeCost { width += 1 }
    return width
  }
}

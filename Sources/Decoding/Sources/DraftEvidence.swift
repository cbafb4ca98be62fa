/// What speaks for one token as the guess at a place.
struct DraftEvidence: Sendable {
  /// Counted for a token that is not in a row.
  static let absentLogProbability = -9.0

  var token: UInt32
  /// In the remembered row of the place, whose key is the longest known one; at temperature T it is
  /// divided by T and the noise is added.
  var logProbability = absentLogProbability
  var isInRow = false
  /// In the row that the place before is known by: what could have come there comes here yet.
  var precedingLogProbability = absentLogProbability
  /// Tokens in which the place agrees with an earlier one that this token came after; 0 for none.
  var copyLength = 0
  /// Number of such places.
  var copyCount = 0
  /// How often the session's text holds the token.
  var occurrenceCount = 0
  /// Tokens since it did so last.
  var distance = 0

  /// A logit, to be compared with those of the other tokens at the place and with 0, which stands
  /// for all that nobody thought of.
  func score(_ weights: EvidenceWeights) -> Double {
    var score = weights.bias + weights.row * logProbability
    if isInRow { score += weights.isInRow }
    score += weights.preceding * precedingLogProbability
    if copyCount > 0 {
      score += weights.isCopy + weights.copyLength * Self.log(1 + copyLength)
      score += weights.copyCount * Self.log(1 + copyCount)
    }
    if occurrenceCount > 0 {
      score += weights.isKnown + weights.occurrenceCount * Self.log(1 + occurrenceCount)
      score += weights.distance * Self.log(1 + max(0, distance))
    } else {
      score += weights.distance * Self.unknownLogDistance
    }
    return score
  }

  /// Stands for the logarithm of the distance to a token that the text does not hold.
  private static let unknownLogDistance = 8.0

  private static func log(_ count: Int) -> Double { ExactMath.log(Double(count)) }
}

/// How much each part of ``DraftEvidence`` counts.
///
/// The tables hold the maximum likelihood fit (multinomial logistic regression with a small ridge)
/// to the first 400 tokens of the answers of a chat model with 135 million parameters to 48
/// questions, translations, summaries, sums and other tasks, each with empty stores; fitted to
/// every other prompt alone, they predict the rest about as well. Only the first row of each, for
/// copies where no key is known, is set by hand, because that hardly happened. Experience corrects
/// the results, see ``HitRateTable``.
struct EvidenceWeights: Sendable {
  let row: Double
  let isInRow: Double
  let preceding: Double
  let isCopy: Double
  let copyLength: Double
  let copyCount: Double
  let isKnown: Double
  let occurrenceCount: Double
  let distance: Double
  let bias: Double

  /// The weights where the longest known key has this many tokens, 0 to 3.
  static func of(keyLength: Int, isGreedy: Bool) -> EvidenceWeights {
    (isGreedy ? greedy : sampled)[keyLength]
  }

  private static let greedy = [
    EvidenceWeights(
      row: 0, isInRow: 0, preceding: 0.08, isCopy: -1.3, copyLength: 1.68, copyCount: 0.72,
      isKnown: 1.32, occurrenceCount: 0.35, distance: 0.17, bias: -2.5),
    EvidenceWeights(
      row: 0.64, isInRow: -2.47, preceding: 0.25, isCopy: 0.18, copyLength: 0.26, copyCount: 0.19,
      isKnown: 1.34, occurrenceCount: 0.82, distance: 0.37, bias: 1.07),
    EvidenceWeights(
      row: 0.5, isInRow: -1.32, preceding: 0.11, isCopy: -0.22, copyLength: 0.93, copyCount: 0.47,
      isKnown: 0.35, occurrenceCount: 0.44, distance: -0.06, bias: 2.3),
    EvidenceWeights(
      row: 0.44, isInRow: -1.13, preceding: 0.08, isCopy: -1.3, copyLength: 1.68, copyCount: 0.72,
      isKnown: 1.32, occurrenceCount: 0.35, distance: 0.17, bias: 0.05),
  ]

  private static let sampled = [
    EvidenceWeights(
      row: 0, isInRow: 0, preceding: 0.08, isCopy: -1.3, copyLength: 1.68, copyCount: 0.72,
      isKnown: 1.32, occurrenceCount: 0.35, distance: 0.17, bias: -2.5),
    EvidenceWeights(
      row: 0.46, isInRow: -2.26, preceding: 0.2, isCopy: -0.07, copyLength: -0.09, copyCount: 0.59,
      isKnown: 1.34, occurrenceCount: 0.57, distance: 0.28, bias: 0.07),
    EvidenceWeights(
      row: 0.43, isInRow: -2.32, preceding: 0.09, isCopy: -0.45, copyLength: 0.63, copyCount: 0.86,
      isKnown: 0.16, occurrenceCount: 0.38, distance: 0.01, bias: 1.93),
    EvidenceWeights(
      row: 0.56, isInRow: -3.75, preceding: 0.06, isCopy: -2.18, copyLength: 1.71, copyCount: 0.76,
      isKnown: 0.97, occurrenceCount: 0.28, distance: 0.14, bias: 2.71),
  ]
}

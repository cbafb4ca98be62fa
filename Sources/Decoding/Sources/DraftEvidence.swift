/// What speaks for one token as the guess at a place.
struct DraftEvidence: Sendable {
  /// Counted for a token that is not in a row.
  static let absentLogProbability = -9.0
  /// Counted for a token that is not in a row, whose last rank is 15.
  static let absentRank = 20

  var token: UInt32
  /// In the remembered row of the place, whose key is the longest known one; at temperature T it is
  /// divided by T and the noise is added.
  var logProbability = absentLogProbability
  var isInRow = false
  /// In the row that the place before is known by: what could have come there comes here yet.
  var precedingLogProbability = absentLogProbability
  /// In the rows that shorter keys of the place know: one token shorter, and one token long where
  /// that is shorter still.
  var shorterLogProbability = absentLogProbability
  var singleLogProbability = absentLogProbability
  /// In the rows of rejected drafts for this very position, and for the one before: after a wrong
  /// word the target often goes on as it would have after the right one.
  var rejectedLogProbability = absentLogProbability
  var precedingRejectedLogProbability = absentLogProbability
  /// Of the token in the remembered row, from 0.
  var rank = absentRank
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
    score += weights.shorter * shorterLogProbability + weights.single * singleLogProbability
    score += weights.rejected * rejectedLogProbability
    score += weights.precedingRejected * precedingRejectedLogProbability
    score += weights.rank * Self.log(1 + rank)
    // The vocabulary of a byte pair encoding stands about in the order of frequency.
    score += weights.tokenNumber * (Self.log(Int(token) + 10) - 8)
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
/// to the first 400 tokens of the answers of a chat model with 135 million parameters, each with
/// empty stores: the greedy ones to 48 questions, translations, summaries, sums and other tasks
/// and to every fourth one of 240 prompts of Spec-Bench, the sampled ones, at temperature 0.8, to
/// the latter alone. Fitted to Spec-Bench alone, the greedy ones predict the 48 by 0.01 to 0.06
/// nats for each place better than weights without shorter keys, rejected rows and ranks that were
/// fitted to the 48 themselves. Those for rows without a text are of a run with such rows, the
/// first 300 tokens of the answers to every fourth one of Spec-Bench. Experience corrects the results, see ``HitRateTable``.
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
  var shorter = 0.0
  var single = 0.0
  var rejected = 0.0
  var precedingRejected = 0.0
  var rank = 0.0
  var tokenNumber = 0.0

  /// The weights where the longest known key has this many tokens, 0 to 3, or is one token whose row
  /// comes from no text.
  static func of(keyLength: Int, isSupposed: Bool, isGreedy: Bool) -> EvidenceWeights {
    isSupposed
      ? (isGreedy ? greedySupposed : sampledSupposed)
      : (isGreedy ? greedy : sampled)[keyLength]
  }

  /// For a token that was copied though no key of the place is known, at any temperature; set by
  /// hand, because that hardly happens where the prompt was learned from.
  static let copyWithoutKey = EvidenceWeights(
    row: 0, isInRow: 0, preceding: 0.08, isCopy: -1.3, copyLength: 1.68, copyCount: 0.72,
    isKnown: 1.32, occurrenceCount: 0.35, distance: 0.17, bias: -2.5)

  private static let greedy = [
    EvidenceWeights(
      row: 0, isInRow: 0, preceding: 0.04, isCopy: 0.99, copyLength: 1.43, copyCount: 3.13,
      isKnown: 0.06, occurrenceCount: 0.38, distance: -0.01, bias: -2.85, rejected: 0.27,
      tokenNumber: -0.23),
    EvidenceWeights(
      row: 0.36, isInRow: -0.81, preceding: 0.19, isCopy: 0.21, copyLength: 0.31, copyCount: 0.36,
      isKnown: 1.17, occurrenceCount: 0.29, distance: 0.24, bias: 1.5, rejected: 0.14,
      precedingRejected: 0.08, rank: -0.35, tokenNumber: -0.06),
    EvidenceWeights(
      row: 0.12, isInRow: -0.48, preceding: 0.08, isCopy: -0.74, copyLength: 1.18,
      copyCount: 0.58, isKnown: 0.56, occurrenceCount: 0.07, distance: -0.03, bias: 3.34,
      shorter: 0.1, single: 0.1, rejected: 0.09, precedingRejected: 0.11, rank: -0.66,
      tokenNumber: -0.03),
    EvidenceWeights(
      row: 0.1, isInRow: -0.59, preceding: 0.06, isCopy: -1.7, copyLength: 1.9, copyCount: 0.41,
      isKnown: 1.58, occurrenceCount: 0.17, distance: 0.24, bias: 1.65, shorter: 0.07,
      single: 0.2, rejected: 0.11, precedingRejected: 0.12, rank: -0.47, tokenNumber: -0.06),
  ]

  private static let sampled = [
    EvidenceWeights(
      row: 0.26, isInRow: 0, preceding: 0.08, isCopy: 0.22, copyLength: 0.32, copyCount: 3.99,
      isKnown: 0.47, occurrenceCount: 0.38, distance: -0.03, bias: -0.12, rejected: 0.27,
      precedingRejected: 0.03, tokenNumber: -0.17),
    EvidenceWeights(
      row: 0.44, isInRow: -1.85, preceding: 0.16, isCopy: 0.12, copyLength: 0.17, copyCount: 0.6,
      isKnown: 0.75, occurrenceCount: 0.26, distance: 0.16, bias: 2.09, rejected: 0.11,
      precedingRejected: 0.06, rank: -0.12, tokenNumber: -0.05),
    EvidenceWeights(
      row: 0.46, isInRow: -2.45, preceding: 0.08, isCopy: -1.42, copyLength: 1.93,
      copyCount: 0.61, isKnown: 0.72, occurrenceCount: 0.02, distance: 0.02, bias: 3.69,
      shorter: 0.14, single: 0.14, rejected: 0.06, precedingRejected: 0.08, rank: 0.16,
      tokenNumber: -0.02),
    EvidenceWeights(
      row: 0.46, isInRow: -3.13, preceding: 0.01, isCopy: -1.37, copyLength: 1.49, copyCount: 0.4,
      isKnown: 0.85, occurrenceCount: -0.01, distance: 0.09, bias: 4.4, shorter: 0.12,
      single: 0.17, rejected: 0.09, precedingRejected: 0.1, rank: 0.17, tokenNumber: -0.02),
  ]

  private static let greedySupposed = EvidenceWeights(
    row: 0.45, isInRow: -1.83, preceding: 0.15, isCopy: 0.83, copyLength: 0.58, copyCount: 1.52,
    isKnown: 1.37, occurrenceCount: 0.19, distance: 0.13, bias: 2.49, rejected: 0.13,
    precedingRejected: 0.06, rank: -0.33, tokenNumber: 0.03)

  private static let sampledSupposed = EvidenceWeights(
    row: 0.31, isInRow: -1.47, preceding: 0.14, isCopy: 0.77, copyLength: 0.55, copyCount: 1.65,
    isKnown: 1.16, occurrenceCount: 0.24, distance: 0.07, bias: 1.62, rejected: 0.12,
    precedingRejected: 0.05, rank: -0.36, tokenNumber: 0.03)
}

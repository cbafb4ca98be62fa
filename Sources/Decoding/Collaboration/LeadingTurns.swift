package import InferenceTypes

/// Which of two models writes, by the place in the sentence: the target model leads with the first
/// tokens, the draft model completes.
///
/// The token behind a possible end of a sentence is the target's; where it turns out to go on, the
/// draft model writes on.
///
/// - SeeAlso: Li et al. 2025, arXiv:2506.06998 (FoReaL-Decoding). The random gate is keyed by the
///   session's seed and the number of the sentence; the first sentences need no luck.
package struct LeadingTurns: Sendable, Equatable {
  /// What the gate uses of the generator's third counter word.
  private static let stream: UInt32 = 6

  private let seed: UInt64
  private let tokenCount: Int
  private let probability: Double
  private let ledSentences: Int
  private var tracker = SentenceTracker()
  /// Tokens of the running sentence that are still the target's.
  private var budget = 0

  /// `parameters` are valid; `seed` is the session's.
  package init(_ parameters: CollaborationParameters, seed: UInt64) {
    self.seed = seed
    tokenCount = parameters.leadingTokens
    probability = Double(parameters.leadProbability)
    ledSentences = parameters.ledSentences
  }

  /// Whether the next token is the target's.
  package var writesTarget: Bool {
    tracker.mayBegin && leads(tracker.sentenceCount) || budget > 0
  }

  /// Counts a token.
  ///
  /// - Parameter text: what it adds to the text.
  package mutating func append(_ text: String) {
    let before = tracker.sentenceCount
    tracker.append(text)
    if tracker.sentenceCount > before {
      budget = leads(tracker.sentenceCount - 1) ? tokenCount - 1 : 0
    } else if budget > 0 {
      budget -= 1
    }
  }

  private func leads(_ sentence: Int) -> Bool {
    guard tokenCount > 0 else { return false }
    if sentence < ledSentences { return true }
    let word = Philox4x32.block(
      key: seed, counter: (UInt32(truncatingIfNeeded: sentence), 0, Self.stream, 0))[0]
    return (Double(word) + 0.5) * 0x1p-32 < probability
  }
}

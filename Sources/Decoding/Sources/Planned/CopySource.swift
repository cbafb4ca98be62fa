package import InferenceTypes

/// CopySpec: where the last three tokens of the text stood before, the text is copied from there.
///
/// Of the latest eight such places the one with the longest match counts, then the latest. The
/// index is part of the session's text and compares whole tokens, so there is nothing to collide.
///
/// - SeeAlso: Dumitru et al. 2025, arXiv:2502.08923; departs from it in the choice of the place,
///   which is the first one there, in the length of the block, which grows with the match, and in
///   that a copy is believed as far as experience tells.
package struct CopySource: PlannedSource {
  package static var origin: DraftOrigin { .copy }
  /// Tokens of a copy from a place that matches in none but the key.
  static let blockLength = 10
  static let blockMax = 32
  private static let placeMax = 8

  package init() {}

  package mutating func plan(after text: inout SessionText, into draft: inout PlannedDraft) {
    var best: (place: Int, length: Int)?
    for place in text.placesOfLastThree(limit: Self.placeMax) {
      let length = text.matchLength(before: place, limit: Self.blockMax)
      if length > best?.length ?? 0 { best = (place, length) }
    }
    guard let best else { return }
    let count = min(Self.blockLength + best.length, Self.blockMax, text.count - best.place)
    draft.addChain(
      text.slice(best.place..<best.place + count), matchLength: best.length)
  }
}

/// Prompt lookup: the longest end of the text, within bounds, that stood before, and at its first
/// place, the way vLLM's n-gram drafter does it.
///
/// - SeeAlso: Saxena 2023, prompt lookup decoding.
/// - Complexity: O(text) for each step: the text is read once, token by token.
package struct LookupSource: PlannedSource {
  package static var origin: DraftOrigin { .lookup }
  private let lengths: ClosedRange<Int>
  private let draftLength: Int

  /// - Parameters:
  ///   - lengths: tokens that have to match, at least and at most.
  ///   - draftLength: tokens to copy.
  package init(lengths: ClosedRange<Int> = 2...5, draftLength: Int = 10) {
    precondition(lengths.lowerBound >= 1, "match of \(lengths.lowerBound) tokens")
    self.lengths = lengths
    self.draftLength = draftLength
  }

  package mutating func plan(after text: inout SessionText, into draft: inout PlannedDraft) {
    guard let last = text.last else { return }
    var best = (place: 0, length: lengths.lowerBound - 1)
    // A place is the index after a match; the text's own end is none.
    for place in 1..<max(1, text.count) where text.token(at: place - 1) == last {
      let length = text.matchLength(before: place, limit: lengths.upperBound)
      if length > best.length { best = (place, length) }
    }
    guard best.place > 0 else { return }
    let end = min(text.count, best.place + draftLength)
    draft.addChain(text.slice(best.place..<end), matchLength: best.length)
  }
}

extension PlannedDraft {
  /// Adds tokens one below the other, from the root on, that followed a match of this length. Each
  /// copied token makes the match longer for the next one.
  mutating func addChain(_ tokens: ArraySlice<UInt32>, matchLength: Int) {
    var parent = 0
    for (offset, token) in tokens.enumerated() {
      let level = matchLevel(matchLength + offset)
      parent = add(token, below: parent, claimed: matchPrior(level), level: level)
    }
  }
}

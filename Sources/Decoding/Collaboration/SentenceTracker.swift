/// Finds where sentences of a text begin, as it comes piece by piece.
///
/// A sentence ends with a period, question mark, exclamation mark or colon that white space follows,
/// or with a line end; closing quotes and brackets belong to it. Code between ``` fences has no
/// sentences. Whether "3." ends a sentence shows with the next character only, so a mark makes a
/// beginning possible and what follows confirms or denies it.
package struct SentenceTracker: Sendable, Equatable {
  private enum Place {
    /// Nothing but white space, quotes and brackets since the last sentence.
    case between
    case inside
    /// Behind a mark, and the quotes and brackets that follow it.
    case afterMark
  }

  private var place = Place.between
  private var isInCode = false
  private var backtickCount = 0
  /// Sentences that have begun.
  package private(set) var sentenceCount = 0

  package init() {}

  /// Whether the next character may begin a sentence.
  package var mayBegin: Bool { !isInCode && place != .inside }

  package mutating func append(_ text: String) {
    for scalar in text.unicodeScalars { append(scalar) }
  }

  private mutating func append(_ scalar: Unicode.Scalar) {
    backtickCount = scalar == "`" ? backtickCount + 1 : 0
    if backtickCount == 3 {
      isInCode.toggle()
      // What follows code begins anew, as after a line end.
      place = isInCode ? .inside : .between
      return
    }
    guard !isInCode, scalar != "`" else { return }
    switch scalar {
    case "\n", "\u{2029}", "。", "！", "？": place = .between
    case ".", "?", "!", ":", "…":
      if place == .inside { place = .afterMark }
    case "\"", "'", "(", ")", "[", "]", "{", "}", "“", "”", "‘", "’", "«", "»", "*", "_": return
    default:
      if scalar.properties.isWhitespace {
        if place == .afterMark { place = .between }
      } else {
        // "3.5" and "e.g" go on after their mark.
        if place == .between { sentenceCount += 1 }
        place = .inside
      }
    }
  }
}

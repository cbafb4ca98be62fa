import InferenceTypes

/// The text of one session, prompt included, with an index of where each token stands: what came
/// after the same words earlier in the text tends to come again.
///
/// - SeeAlso: Saxena 2023, prompt lookup decoding; departs from it in that several earlier
///   places count, and that the length of the match is evidence among others, see
///   ``DraftEvidence``.
struct SessionText: Sendable {
  /// Tokens beyond which a longer match says nothing more.
  static let matchMax = 16
  /// Latest places of a token that are looked at.
  private static let placeMax = 16

  /// What came after earlier places like the one in question.
  struct Copy: Sendable {
    var token: UInt32
    /// Longest match, in tokens.
    var length: Int
    /// Number of places.
    var count: Int
  }

  private var tokens: [UInt32] = []
  /// For each index the latest one before it that holds the same token; -1 for none.
  private var previous: [Int] = []
  private var occurrences: [UInt32: (count: Int, latest: Int)] = [:]

  mutating func append(_ token: TokenID) {
    let known = occurrences[token.rawValue]
    occurrences[token.rawValue] = ((known?.count ?? 0) + 1, tokens.count)
    previous.append(known?.latest ?? -1)
    tokens.append(token.rawValue)
  }

  /// How often a token stands in the text, and the index of its latest place; `nil` where it never
  /// does.
  func occurrences(of token: UInt32) -> (count: Int, latest: Int)? { occurrences[token] }

  /// Replaces `copies` by what came after earlier places of the last token.
  ///
  /// - Parameters:
  ///   - path: drafted tokens after the text, nearest last.
  ///   - copies: one entry for each token, in the order of the latest places.
  /// - Complexity: at most 16 places of at most 16 tokens each are looked at.
  func findCopies(after path: [TokenID], into copies: inout [Copy]) {
    copies.removeAll(keepingCapacity: true)
    guard let last = path.last?.rawValue ?? tokens.last else { return }
    var index = occurrences[last]?.latest ?? -1
    var placeCount = 0
    while index >= 0, placeCount < Self.placeMax {
      if index + 1 < tokens.count {
        placeCount += 1
        note(tokens[index + 1], length: matchLength(endingAt: index, path: path), in: &copies)
      }
      index = previous[index]
    }
  }

  private func note(_ token: UInt32, length: Int, in copies: inout [Copy]) {
    if let known = copies.firstIndex(where: { $0.token == token }) {
      copies[known].length = max(copies[known].length, length)
      copies[known].count += 1
    } else {
      copies.append(Copy(token: token, length: length, count: 1))
    }
  }

  /// Tokens up to `end`, included, that equal those at the end of the text and `path`.
  private func matchLength(endingAt end: Int, path: [TokenID]) -> Int {
    var length = 1
    while length < Self.matchMax, length <= end {
      // Earlier places end before the text does, so there is a token to compare with.
      let wanted =
        length < path.count
        ? path[path.count - 1 - length].rawValue : tokens[tokens.count - 1 - length + path.count]
      guard tokens[end - length] == wanted else { break }
      length += 1
    }
    return length
  }
}

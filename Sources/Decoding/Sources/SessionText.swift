package import InferenceTypes

/// The text of one session, prompt included, with an index of where each token stands: what came
/// after the same words earlier in the text tends to come again.
///
/// - SeeAlso: Saxena 2023, prompt lookup decoding; departs from it in that several earlier
///   places count, and that the length of the match is evidence among others, see
///   ``DraftEvidence``.
///
/// Indices that only some sources need are built when they first ask.
package struct SessionText: Sendable {
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

  private(set) var tokens: [UInt32] = []
  /// For each index the latest one before it that holds the same token; -1 for none.
  private var previous: [Int] = []
  private var occurrences: [UInt32: (count: Int, latest: Int)] = [:]

  /// Index of the first token of the answer.
  package var answerStart = 0
  /// A text that the user expects the answer to be like; empty for none.
  package var prediction: [TokenID] = []
  private var pointer = PredictionPointer()
  /// What the target thought likely at positions that are open yet, after drafts that were wrong.
  private var rejected: [(position: Int, row: [TokenRecycling.Entry])] = []
  /// Sequences of the text, up to ``suffixCount`` tokens of it.
  private var suffixes: SuffixTrie?
  private var suffixCount = 0
  private var ngrams: NgramTable?
  private var ngramCount = 1
  /// For each key of three tokens the index after its latest place, and for each index the one
  /// before with the same key; -1 for none.
  private var gramPlaces: [UInt64: Int] = [:]
  private var gramPrevious: [Int] = []

  package init() {}

  package var count: Int { tokens.count }
  var last: UInt32? { tokens.last }

  package mutating func append(_ token: TokenID) {
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

  func token(at index: Int) -> UInt32 { tokens[index] }

  func slice(_ range: Range<Int>) -> ArraySlice<UInt32> { tokens[range] }

  /// Tokens before the index `place` that equal those at the end of the text, at most `limit`.
  func matchLength(before place: Int, limit: Int) -> Int {
    var length = 0
    while length < limit, length < place,
      tokens[place - 1 - length] == tokens[tokens.count - 1 - length]
    {
      length += 1
    }
    return length
  }

  /// Indices after earlier places of the last three tokens, the latest first.
  mutating func placesOfLastThree(limit: Int) -> [Int] {
    guard tokens.count >= 3 else { return [] }
    while gramPrevious.count < tokens.count {
      let end = gramPrevious.count + 1
      guard end >= 3 else {
        gramPrevious.append(-1)
        continue
      }
      let key = UInt64(tokens[end - 3]) << 42 | UInt64(tokens[end - 2]) << 21
      let whole = key | UInt64(tokens[end - 1])
      gramPrevious.append(gramPlaces[whole] ?? -1)
      gramPlaces[whole] = end
    }
    var places: [Int] = []
    var place = gramPrevious[tokens.count - 1]
    while place > 0, places.count < limit {
      places.append(place)
      place = gramPrevious[place - 1]
    }
    return places
  }

  /// The counted sequences of the whole text.
  mutating func updatedSuffixes(depthMax: Int) -> SuffixTrie {
    var trie = suffixes ?? SuffixTrie(depthMax: depthMax)
    // Taken out meanwhile, so that no copy is made.
    suffixes = nil
    while suffixCount < tokens.count {
      trie.append(tokens[suffixCount])
      suffixCount += 1
    }
    suffixes = trie
    return trie
  }

  /// Counts of what followed what in the whole text.
  mutating func updatedNgrams() -> NgramTable {
    var table = ngrams ?? NgramTable(rowBits: 12)
    ngrams = nil
    while ngramCount < tokens.count {
      table.count(tokens[max(0, ngramCount - NgramTable.keyMax)...ngramCount])
      ngramCount += 1
    }
    ngrams = table
    return table
  }

  /// Remembers a row of the target after a rejected draft; `position` is that of the token it
  /// guesses.
  mutating func noteRejected(position: Int, top: Span<TokenLogit>) {
    var row: [TokenRecycling.Entry] = []
    normalize(top, into: &row)
    if !row.isEmpty { rejected.append((position, row)) }
  }

  /// Forgets what was guessed of positions that are decided, but for the last one.
  mutating func forgetDecided() { rejected.removeAll { $0.position < tokens.count - 1 } }

  /// Replaces `entries` by the tokens of all rows of rejected drafts for a position, each with its
  /// largest log-probability.
  func findRejected(at position: Int, into entries: inout [TokenRecycling.Entry]) {
    entries.removeAll(keepingCapacity: true)
    for row in rejected where row.position == position {
      for entry in row.row where entry.token != TokenContext.absent {
        if let known = entries.firstIndex(where: { $0.token == entry.token }) {
          entries[known].logProbability = max(
            entries[known].logProbability, entry.logProbability)
        } else {
          entries.append(entry)
        }
      }
    }
  }

  /// Where the answer stands in the prediction; `nil` where there is none, or the place is lost.
  mutating func predictionPointer() -> PredictionPointer? {
    guard !prediction.isEmpty, tokens.count >= answerStart else { return nil }
    return pointer.follow(tokens[answerStart...], in: prediction) ? pointer : nil
  }
}

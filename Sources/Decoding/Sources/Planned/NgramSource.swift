package import InferenceTypes

/// The n-gram cache of llama.cpp: counts of what followed the last four to one tokens, in this text
/// and in all texts of the model before, and one chain from the most frequent successors.
///
/// A successor counts where it was seen often enough and had enough of the share; this text is asked
/// with loose bounds first, from four tokens down to one, then all texts with strict ones.
///
/// Memory: 4096 keys for a session and 32,768 for all, with 8 successors of 8 bytes each: 0.3 MB and
/// 2.6 MB. The key written longest ago makes room, and among successors the rarest.
///
/// - SeeAlso: ggml-org/llama.cpp, `common/ngram-cache`; there is no table of a corpus here.
package struct NgramSource: PlannedSource {
  package static var origin: DraftOrigin { .ngram }
  private static let draftLength = 16
  /// Bounds for keys of one to four tokens: times seen, and share in percent.
  private static let loose: [(count: UInt32, percent: UInt32)] = [
    (2, 66), (2, 50), (1, 50), (1, 50),
  ]
  private static let strict: [(count: UInt32, percent: UInt32)] = [
    (4, 75), (3, 66), (2, 66), (2, 66),
  ]

  var all = NgramTable(rowBits: 15)

  package init() {}

  /// Counts a finished answer.
  package mutating func remember(_ answer: ArraySlice<TokenID>) {
    let tokens = answer.map(\.rawValue)
    for end in tokens.indices.dropFirst() { all.count(tokens[...end]) }
  }

  package mutating func plan(after text: inout SessionText, into draft: inout PlannedDraft) {
    let own = text.updatedNgrams()
    var path = Array(text.slice(max(0, text.count - NgramTable.keyMax)..<text.count))
    var parent = 0
    while draft.count < Self.draftLength {
      guard
        let next = own.likely(after: path[...], bounds: Self.loose)
          ?? all.likely(after: path[...], bounds: Self.strict)
      else { return }
      parent = draft.add(
        next.token, below: parent, claimed: 0.8 * next.share, level: next.keyLength)
      path.append(next.token)
      if path.count > NgramTable.keyMax { path.removeFirst() }
    }
  }
}

/// Counts of the successors of sequences of one to four tokens.
struct NgramTable: Sendable {
  static let keyMax = 4
  static let width = 8

  struct Successor {
    var token: UInt32 = 0
    var count: UInt32 = 0
  }

  var keys: KeyedRows
  var successors: [Successor]

  /// - Parameter rowBits: 2 to the power of this keys.
  init(rowBits: Int) {
    keys = KeyedRows(rowBits: rowBits)
    successors = [Successor](repeating: Successor(), count: Self.width << rowBits)
  }

  /// Counts the last token of `text` as the successor of those before it.
  mutating func count(_ text: ArraySlice<UInt32>) {
    guard let token = text.last else { return }
    let before = text.dropLast()
    for length in 1...Self.keyMax where length <= before.count {
      let (row, isNew) = keys.claim(Self.key(before.suffix(length)))
      let range = row * Self.width..<(row + 1) * Self.width
      if isNew { for index in range { successors[index] = Successor() } }
      // In the order of counts; an unknown token takes the last place, the rarest one's.
      var index =
        range.first { successors[$0].token == token && successors[$0].count > 0 }
        ?? range.first { successors[$0].count == 0 } ?? range.upperBound - 1
      if successors[index].token != token || successors[index].count == 0 {
        successors[index] = Successor(token: token, count: 0)
      }
      if successors[index].count < .max { successors[index].count += 1 }
      while index > range.lowerBound, successors[index - 1].count < successors[index].count {
        successors.swapAt(index - 1, index)
        index -= 1
      }
    }
  }

  /// The most frequent successor under the longest key whose bounds it satisfies.
  func likely(
    after path: ArraySlice<UInt32>, bounds: [(count: UInt32, percent: UInt32)]
  ) -> (token: UInt32, share: Float, keyLength: Int)? {
    for length in stride(from: min(Self.keyMax, path.count), to: 0, by: -1) {
      guard let row = keys.find(Self.key(path.suffix(length))) else { continue }
      let best = successors[row * Self.width]
      var total: UInt64 = 0
      for index in row * Self.width..<(row + 1) * Self.width {
        total += UInt64(successors[index].count)
      }
      let bound = bounds[length - 1]
      guard total >= UInt64(bound.count), UInt64(best.count) * 100 >= total * UInt64(bound.percent)
      else { continue }
      return (best.token, Float(best.count) / Float(total), length)
    }
    return nil
  }

  /// Keys are smaller than this.
  static let keyBound = UInt64(1) << 63

  /// A hash: two keys with the same one would only share a row.
  private static func key(_ tokens: ArraySlice<UInt32>) -> UInt64 {
    var key = UInt64(tokens.count)
    for token in tokens {
      key = (key ^ UInt64(token)) &* 0x9e37_79b9_7f4a_7c15
      key ^= key >> 29
    }
    // The largest number is no key, see KeyedRows.
    return key >> 1
  }
}

import InferenceTypes

/// Byte pair encoding of one word at a time, with memory that is kept between words.
///
/// - SeeAlso: Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with
///   Subword Units", arXiv:1508.07909. Here the pairs wait in a heap, so that a word of n bytes
///   takes O(n log n).
struct WordMerger {
  /// Stands for a byte that the vocabulary has no token for: it merges with nothing and yields
  /// nothing. Distinct from any token and, twice, from `MergeTable.none`.
  static let missing = UInt32.max - 1
  private static let noIndex = UInt32.max

  private var symbols: [UInt32] = []
  private var previous: [UInt32] = []
  private var next: [UInt32] = []
  /// The merge of each symbol with the next one; `MergeTable.none` where there is none, and for
  /// symbols that are gone.
  private var merges: [UInt64] = []
  /// Rank in the upper half, index of the left symbol in the lower one. Entries go stale when one
  /// of their symbols is merged with another.
  private var heap: [UInt64] = []

  /// Appends the tokens of `word`, which is shorter than 4 GiB, to `output`.
  mutating func encode(
    _ word: Span<UInt8>, _ byteTokens: [UInt32], _ table: MergeTable, into output: inout [TokenID]
  ) {
    precondition(word.count < UInt32.max, "a word of \(word.count) bytes")
    fill(word, byteTokens, table)
    while let entry = popEntry() {
      let left = Int(UInt32(truncatingIfNeeded: entry))
      if merges[left] >> 32 == entry >> 32 { merge(at: left, table) }
    }
    var index = 0
    while index < symbols.count {
      if symbols[index] != Self.missing { output.append(TokenID(symbols[index])) }
      guard next[index] != Self.noIndex else { break }
      index = Int(next[index])
    }
  }

  private mutating func fill(_ word: Span<UInt8>, _ byteTokens: [UInt32], _ table: MergeTable) {
    symbols.removeAll(keepingCapacity: true)
    previous.removeAll(keepingCapacity: true)
    next.removeAll(keepingCapacity: true)
    merges.removeAll(keepingCapacity: true)
    heap.removeAll(keepingCapacity: true)
    for index in 0..<word.count {
      let symbol = byteTokens[Int(word[index])]
      if index > 0 { note(table.merge(of: symbols[index - 1], symbol), at: index - 1) }
      symbols.append(symbol)
      previous.append(index == 0 ? Self.noIndex : UInt32(index - 1))
      next.append(index == word.count - 1 ? Self.noIndex : UInt32(index + 1))
      merges.append(MergeTable.none)
    }
  }

  private mutating func merge(at left: Int, _ table: MergeTable) {
    let result = UInt32(truncatingIfNeeded: merges[left])
    let right = Int(next[left])
    let following = next[right]
    symbols[left] = result
    merges[right] = MergeTable.none
    next[left] = following
    merges[left] = MergeTable.none
    if following != Self.noIndex {
      previous[Int(following)] = UInt32(left)
      note(table.merge(of: result, symbols[Int(following)]), at: left)
    }
    let preceding = previous[left]
    if preceding != Self.noIndex {
      note(table.merge(of: symbols[Int(preceding)], result), at: Int(preceding))
    }
  }

  private mutating func note(_ merge: UInt64, at index: Int) {
    merges[index] = merge
    if merge != MergeTable.none { push(merge & 0xFFFF_FFFF_0000_0000 | UInt64(index)) }
  }

  // MARK: Binary heap, smallest first

  private mutating func push(_ entry: UInt64) {
    var index = heap.count
    heap.append(entry)
    while index > 0 {
      let parent = (index - 1) / 2
      guard heap[parent] > entry else { break }
      heap[index] = heap[parent]
      index = parent
    }
    heap[index] = entry
  }

  private mutating func popEntry() -> UInt64? {
    guard let smallest = heap.first else { return nil }
    let last = heap.removeLast()
    guard !heap.isEmpty else { return smallest }
    var index = 0
    while true {
      var child = 2 * index + 1
      guard child < heap.count else { break }
      if child + 1 < heap.count && heap[child + 1] < heap[child] { child += 1 }
      guard heap[child] < last else { break }
      heap[index] = heap[child]
      index = child
    }
    heap[index] = last
    return smallest
  }
}

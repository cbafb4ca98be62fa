import InferenceTypes

/// Byte pair encoding of one word at a time, with memory that is kept between words.
///
/// Pairs merge in the order of their ranks, and from left to right where ranks are equal.
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

  /// Whether a symbol is taken apart again in the end, by its number; empty where none is.
  private var isProvisional: [Bool]
  /// What a provisional symbol was last seen to consist of.
  private var parts: [UInt32: (left: UInt32, right: UInt32)] = [:]

  /// - Parameter isProvisional: whether a symbol is taken apart again in the end, by its number;
  ///   empty where none is.
  init(isProvisional: [Bool] = []) { self.isProvisional = isProvisional }

  /// Appends the tokens of `word`, which is shorter than 4 GiB, to `output`.
  mutating func encode(
    _ word: Span<UInt8>, _ byteTokens: [UInt32], _ table: MergeTable, into output: inout [TokenID]
  ) {
    precondition(word.count < UInt32.max, "a word of \(word.count) bytes")
    clear()
    for index in 0..<word.count {
      append(byteTokens[Int(word[index])], count: word.count, table)
    }
    mergeAll(table)
    var index = 0
    while index < symbols.count {
      if symbols[index] != Self.missing { output.append(TokenID(symbols[index])) }
      guard next[index] != Self.noIndex else { break }
      index = Int(next[index])
    }
  }

  /// Merges the symbols of `word`, fewer than 2^32 - 1, and appends what remains to `output`: each
  /// symbol with the index of the first one in `word` that it consists of.
  mutating func merge(
    _ word: ArraySlice<UInt32>, _ table: MergeTable,
    into output: inout [(symbol: UInt32, index: Int)]
  ) {
    precondition(word.count < UInt32.max, "a word of \(word.count) symbols")
    clear()
    for symbol in word { append(symbol, count: word.count, table) }
    mergeAll(table)
    var index = 0
    while index < symbols.count {
      appendFinal(symbols[index], word.startIndex + index, into: &output)
      guard next[index] != Self.noIndex else { break }
      index = Int(next[index])
    }
  }

  private func appendFinal(
    _ symbol: UInt32, _ index: Int, into output: inout [(symbol: UInt32, index: Int)]
  ) {
    guard let pair = parts[symbol] else {
      output.append((symbol, index))
      return
    }
    appendFinal(pair.left, index, into: &output)
    appendFinal(pair.right, index, into: &output)
  }

  private mutating func clear() {
    symbols.removeAll(keepingCapacity: true)
    previous.removeAll(keepingCapacity: true)
    next.removeAll(keepingCapacity: true)
    merges.removeAll(keepingCapacity: true)
    heap.removeAll(keepingCapacity: true)
    if !parts.isEmpty { parts.removeAll(keepingCapacity: true) }
  }

  @inline(__always)
  private mutating func append(_ symbol: UInt32, count: Int, _ table: MergeTable) {
    let index = symbols.count
    symbols.append(symbol)
    previous.append(index == 0 ? Self.noIndex : UInt32(index - 1))
    next.append(index == count - 1 ? Self.noIndex : UInt32(index + 1))
    merges.append(MergeTable.none)
    if index > 0 { note(index - 1, symbols[index - 1], symbol, table) }
  }

  private mutating func mergeAll(_ table: MergeTable) {
    while let entry = popEntry() {
      let left = Int(UInt32(truncatingIfNeeded: entry))
      if merges[left] >> 32 == entry >> 32 { merge(at: left, table) }
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
    let preceding = previous[left]
    if preceding != Self.noIndex {
      note(Int(preceding), symbols[Int(preceding)], result, table)
    }
    if following != Self.noIndex {
      previous[Int(following)] = UInt32(left)
      note(left, result, symbols[Int(following)], table)
    }
  }

  /// Looks up what the symbols at `index` and behind it become.
  @inline(__always)
  private mutating func note(
    _ index: Int, _ left: UInt32, _ right: UInt32, _ table: MergeTable
  ) {
    let merge = table.merge(of: left, right)
    merges[index] = merge
    guard merge != MergeTable.none else { return }
    push(merge & 0xFFFF_FFFF_0000_0000 | UInt64(index))
    if !isProvisional.isEmpty {
      let result = UInt32(truncatingIfNeeded: merge)
      if isProvisional[Int(result)] { parts[result] = (left, right) }
    }
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

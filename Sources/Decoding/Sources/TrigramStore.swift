package import InferenceTypes

/// A table of trigrams, reinforced by what was just written, and a small tree search that decides
/// which continuations deserve a draft.
///
/// There is no corpus part: the table starts empty and learns from prompts and output. The search
/// runs once before each verify step; a place that it did not reach is answered by the table.
///
/// Memory: 8192 pairs of up to 32 successors of 8 bytes, 2.1 MB. A new pair displaces the one of
/// its bucket that was written longest ago, a new successor the lightest one.
///
/// - SeeAlso: Liu et al. 2024, arXiv:2407.12021 (ADED), which ``AdaptiveTrigrams`` follows more
///   closely. Departs from it in the bounds, in being deterministic (children by weight, then token;
///   keyed randomness), in descending into the heaviest child after an expansion, and in the budget
///   rule, which takes the place of the fixed number of paths.
package struct TrigramStore: DraftSource, TrigramTable {
  package static let successorMax = 32
  static let increment: Float = 0.04
  static let weightMax: Float = 3
  /// Latest tokens whose trigrams are reinforced at every step.
  static let window = 16
  static let rowBits = 13
  private static let proposalMax = 6
  private static let rankCount = 8

  struct Successor {
    var token: UInt32
    var weight: Float
  }

  var keys = KeyedRows(rowBits: rowBits)
  var counts = [UInt8](repeating: 0, count: 1 << rowBits)
  var successors = [Successor](
    repeating: Successor(token: 0, weight: 0), count: successorMax << rowBits)
  private var search = TrigramSearch()
  var hitRates = HitRateTable(cellCount: 2 * rankCount * HitRateTable.binCount)
  private var weights: [(weight: Float, token: UInt32, handle: Int)] = []

  /// - Parameter iterationCount: of the search; 0 leaves everything to the table.
  package init(iterationCount: Int = 150) { search.iterationCount = iterationCount }

  /// Reinforces every trigram of `tokens` once.
  package mutating func observe(_ tokens: ArraySlice<TokenID>) {
    guard tokens.count >= 3 else { return }
    for index in tokens.startIndex + 2..<tokens.endIndex {
      reinforce(
        tokens[index - 2].rawValue, tokens[index - 1].rawValue, tokens[index].rawValue)
    }
  }

  /// Reinforces the trigrams in the last 16 tokens.
  package mutating func observe(endOf truth: [TokenID]) {
    observe(truth.suffix(Self.window))
  }

  /// Searches the continuations of `place`, whose search node is then the result's root.
  ///
  /// - Returns: the place to propose at.
  package mutating func searched(_ place: DraftPlace) -> DraftPlace {
    var place = place
    place.searchNode = -1
    guard search.iterationCount > 0, row(place.context.second, place.context.last) != nil else {
      return place
    }
    var search = TrigramSearch()
    swap(&search, &self.search)
    search.run(
      in: self, below: (place.context.second, place.context.last),
      seed: place.sampling.noise.seed, position: place.position)
    swap(&search, &self.search)
    place.searchNode = 0
    return place
  }

  /// Exchanges the tree of the latest search: places refer to the search that they come from.
  mutating func exchangeSearch(_ nodes: inout [TrigramSearch.Node]) { search.exchange(&nodes) }

  package mutating func propose(at place: DraftPlace, into candidates: inout [DraftCandidate]) {
    weights.removeAll(keepingCapacity: true)
    let isSearched = place.searchNode >= 0 && search.nodes[place.searchNode].childCount > 0
    if isSearched {
      let parent = search.nodes[place.searchNode]
      for child in parent.firstChild..<parent.firstChild + parent.childCount {
        let node = search.nodes[child]
        guard node.visitCount > 0 else { continue }
        weights.append((node.visitCount, node.token, child))
      }
      weights.sort { ($1.weight, $0.token) < ($0.weight, $1.token) }
    } else {
      let row = row(place.context.second, place.context.last)
      for rank in 0..<min(row?.count ?? 0, 2 * Self.proposalMax) {
        let successor = successors[(row?.start ?? 0) + rank]
        weights.append((successor.weight, successor.token, -1))
      }
    }
    let total = weights.reduce(0) { $0 + $1.weight }
    for rank in 0..<min(weights.count, Self.proposalMax) {
      let share = weights[rank].weight / total
      let level = (isSearched ? 0 : Self.rankCount) + min(rank, Self.rankCount - 1)
      let cell = level * HitRateTable.binCount + HitRateTable.bin(share)
      // A trigram seen before is right about half of the time in ordinary text.
      let claimed = 0.6 * share
      candidates.append(
        DraftCandidate(
          token: TokenID(weights[rank].token), claimed: claimed,
          estimate: hitRates.estimate(cell: cell, claimed: claimed), origin: .trigram,
          cell: cell, handle: weights[rank].handle))
    }
  }

  package mutating func learn(_ candidates: ArraySlice<DraftCandidate>, truth: TokenID) {
    for candidate in candidates {
      hitRates.record(
        cell: candidate.cell, claimed: candidate.claimed, isHit: candidate.token == truth)
    }
  }

  /// Where the successors of a pair stand, heaviest first, and their number.
  func row(_ first: UInt32, _ second: UInt32) -> (start: Int, count: Int)? {
    guard first != TokenContext.absent, second != TokenContext.absent,
      let row = keys.find(UInt64(first) << 21 | UInt64(second))
    else { return nil }
    return (row * Self.successorMax, Int(counts[row]))
  }

  func successor(at index: Int) -> (token: UInt32, weight: Float) {
    (successors[index].token, successors[index].weight)
  }

  /// The weight of a trigram; 0 where it is not known.
  package func weight(_ first: TokenID, _ second: TokenID, _ third: TokenID) -> Float {
    guard let row = row(first.rawValue, second.rawValue) else { return 0 }
    for index in row.start..<row.start + row.count where successors[index].token == third.rawValue {
      return successors[index].weight
    }
    return 0
  }

  private mutating func reinforce(_ first: UInt32, _ second: UInt32, _ third: UInt32) {
    let (row, isNew) = keys.claim(UInt64(first) << 21 | UInt64(second))
    if isNew { counts[row] = 0 }
    let start = row * Self.successorMax
    let count = Int(counts[row])
    var index = start
    while index < start + count && successors[index].token != third { index += 1 }
    var entry = Successor(token: third, weight: Self.increment)
    if index < start + count {
      entry.weight = min(Self.weightMax, successors[index].weight + Self.increment)
    } else if count < Self.successorMax {
      counts[row] += 1
    } else {
      index -= 1
    }
    while index > start {
      let before = successors[index - 1]
      guard (before.weight, third) < (entry.weight, before.token) else { break }
      successors[index] = before
      index -= 1
    }
    successors[index] = entry
  }
}

package import InferenceTypes

/// ADED as it was published, for comparison with ``TrigramStore``: a table of trigrams stands for the
/// target, recent text reinforces it, and a tree search that weighs what is known to be good against
/// what was hardly tried picks a fixed number of paths to verify.
///
/// The weight of a trigram is its relative frequency in a corpus plus what recent text added: before
/// each search, every trigram in the last 16 tokens gains 0.04, up to 3. The corpus are the answers
/// that were finished, of which each pair keeps twelve successors.
///
/// How much of the paths is verified is left to the planner, as for every source; the visits of the
/// search, and how often each rank was right so far, tell it where to cut.
///
/// Memory: 8192 pairs of up to 32 successors of 16 bytes, 4.2 MB. A new pair displaces the one of its
/// bucket that was written longest ago, a new successor the lightest one.
///
/// - SeeAlso: Liu et al. 2024, arXiv:2407.12021. Departs from it in the corpus, which comes with the
///   use, in the bounds, and in that children have an order (by weight, then token) and randomness
///   a key.
package struct AdaptiveTrigrams: PlannedSource, TrigramTable {
  package static var origin: DraftOrigin { .aded }
  static let successorMax = 32
  /// Successors of a pair that the corpus part keeps.
  static let corpusWidth = 12
  static let increment: Float = 0.04
  static let weightMax: Float = 3
  /// Corpus counts of a pair stay below this and are exact as floats.
  static let totalMax: UInt32 = 1 << 24
  /// Latest tokens whose trigrams are reinforced at every step.
  private static let window = 16
  private static let rowBits = 13

  struct Successor: Sendable, Equatable {
    var token: UInt32
    /// In the corpus.
    var count: UInt32 = 0
    /// From recent text.
    var boost: Float = 0
    var weight: Float = 0
  }

  var keys = KeyedRows(rowBits: rowBits)
  var counts = [UInt8](repeating: 0, count: 1 << rowBits)
  /// How often each pair stood in the corpus with something after it.
  var totals = [UInt32](repeating: 0, count: 1 << rowBits)
  var successors = [Successor](
    repeating: Successor(token: 0), count: successorMax << rowBits)
  private var search = TrigramSearch()
  private let paths: AdaptivePaths

  /// - Parameters:
  ///   - iterationCount: of the search.
  ///   - pathMax: paths of the search that become drafts.
  ///   - tokenMax: draft tokens.
  package init(iterationCount: Int = 150, pathMax: Int = 24, tokenMax: Int = 64) {
    precondition(
      iterationCount > 0 && pathMax > 0 && tokenMax > 0,
      "\(iterationCount) iterations, \(pathMax) paths, \(tokenMax) tokens")
    paths = AdaptivePaths(pathMax: pathMax, tokenMax: tokenMax)
    search.iterationCount = iterationCount
    search.entry = .last
  }

  /// Counts a finished answer as a part of the corpus.
  package mutating func remember(_ answer: ArraySlice<TokenID>) {
    forEachTrigram(of: answer.map(\.rawValue)[...]) { table, row, token in
      table.count(token, in: row)
    }
  }

  package mutating func plan(after text: inout SessionText, into draft: inout PlannedDraft) {
    guard text.count >= 2 else { return }
    let recent = text.slice(max(0, text.count - Self.window)..<text.count)
    forEachTrigram(of: recent) { table, row, token in table.reinforce(token, in: row) }
    let pair = (text.token(at: text.count - 2), text.token(at: text.count - 1))
    guard row(pair.0, pair.1) != nil else { return }
    var search = TrigramSearch()
    swap(&search, &self.search)
    search.run(
      in: self, below: pair, seed: UInt64(pair.0) << 32 | UInt64(pair.1), position: text.count)
    swap(&search, &self.search)
    paths.fill(&draft, from: self.search.nodes, of: self)
  }

  func row(_ first: UInt32, _ second: UInt32) -> (start: Int, count: Int)? {
    guard let row = keys.find(Self.key(first, second)) else { return nil }
    return (row * Self.successorMax, Int(counts[row]))
  }

  func successor(at index: Int) -> (token: UInt32, weight: Float) {
    (successors[index].token, successors[index].weight)
  }

  /// The weight of a trigram; 0 where it is not known.
  package func weight(_ first: TokenID, _ second: TokenID, _ third: TokenID) -> Float {
    guard let row = row(first.rawValue, second.rawValue) else { return 0 }
    return successors[row.start..<row.start + row.count]
      .first { $0.token == third.rawValue }?.weight ?? 0
  }

  private static func key(_ first: UInt32, _ second: UInt32) -> UInt64 {
    UInt64(first) << 21 | UInt64(second)
  }

  private mutating func forEachTrigram(
    of tokens: ArraySlice<UInt32>,
    _ body: (inout AdaptiveTrigrams, _ row: Int, _ token: UInt32) -> Void
  ) {
    for index in tokens.indices.dropFirst(2) {
      let (row, isNew) = keys.claim(Self.key(tokens[index - 2], tokens[index - 1]))
      if isNew {
        counts[row] = 0
        totals[row] = 0
      }
      body(&self, row, tokens[index])
    }
  }

  private mutating func reinforce(_ token: UInt32, in row: Int) {
    let index = entry(of: token, in: row)
    successors[index].boost = min(Self.weightMax, successors[index].boost + Self.increment)
    settle(row)
  }

  private mutating func count(_ token: UInt32, in row: Int) {
    let index = entry(of: token, in: row)
    let range = row * Self.successorMax..<row * Self.successorMax + Int(counts[row])
    let counted = range.filter { successors[$0].count > 0 }
    if successors[index].count == 0, counted.count == Self.corpusWidth,
      let rarest = counted.min(by: {
        (successors[$0].count, successors[$1].token) < (successors[$1].count, successors[$0].token)
      })
    {
      successors[rarest].count = 0
    }
    successors[index].count += 1
    totals[row] += 1
    if totals[row] >= Self.totalMax {
      totals[row] /= 2
      for index in range { successors[index].count /= 2 }
    }
    settle(row)
  }

  /// The place of a successor, a fresh one's where it is new.
  private mutating func entry(of token: UInt32, in row: Int) -> Int {
    let start = row * Self.successorMax
    let count = Int(counts[row])
    for index in start..<start + count where successors[index].token == token { return index }
    let index = start + min(count, Self.successorMax - 1)
    successors[index] = Successor(token: token)
    counts[row] = UInt8(index - start + 1)
    return index
  }

  /// Weighs the successors of a row anew, drops what has no weight, and puts them in order.
  mutating func settle(_ row: Int) {
    let start = row * Self.successorMax
    var count = 0
    for index in start..<start + Int(counts[row]) {
      var entry = successors[index]
      entry.weight = weight(of: entry, total: totals[row])
      guard entry.weight > 0 else { continue }
      var place = start + count
      while place > start, Self.comesFirst(entry, successors[place - 1]) {
        successors[place] = successors[place - 1]
        place -= 1
      }
      successors[place] = entry
      count += 1
    }
    counts[row] = UInt8(count)
  }

  private func weight(of entry: Successor, total: UInt32) -> Float {
    let share = total == 0 ? 0 : Float(entry.count) / Float(total)
    return min(Self.weightMax, share + entry.boost)
  }

  static func comesFirst(_ left: Successor, _ right: Successor) -> Bool {
    (right.weight, left.token) < (left.weight, right.token)
  }
}

/// The paths of a search that become drafts.
struct AdaptivePaths: Sendable {
  private static let visitedLevels = 6
  private static let unvisitedLevel = 6
  private static let unsearchedLevel = 7
  /// A trigram seen before is right about half of the time in ordinary text.
  private static let trust: Float = 0.6
  private static let claimMin: Float = 0.005

  let pathMax: Int
  let tokenMax: Int

  /// Fills an empty draft with the most visited paths, each continued by its heaviest successor.
  func fill(
    _ draft: inout PlannedDraft, from nodes: [TrigramSearch.Node], of table: some TrigramTable
  ) {
    let order = nodes.indices.sorted {
      (nodes[$1].visitCount, $0) < (nodes[$0].visitCount, $1)
    }
    var paths: [[Step]] = []
    for node in order.prefix(pathMax) {
      var path = Self.path(to: node, in: nodes, of: table)
      if let next = Self.heaviest(after: node, in: nodes, of: table) { path.append(next) }
      if !path.isEmpty { paths.append(path) }
    }
    cut(&paths)
    let byLength = paths.indices.sorted { (paths[$0].count, $0) < (paths[$1].count, $1) }
    for index in byLength {
      var parent = 0
      for step in paths[index] {
        if let known = draft.child(of: parent, token: step.token) {
          parent = known
          continue
        }
        guard draft.count < tokenMax else { return }
        parent = draft.add(
          step.token, below: parent, claimed: step.claimed, level: step.level)
      }
    }
  }

  /// One token of a path with what the search thinks of it.
  private struct Step {
    var token: UInt32
    var claimed: Float
    var level: Int
  }

  /// Removes the paths with most different tokens, the least visited one first, until the tokens
  /// of all paths are few enough.
  private func cut(_ paths: inout [[Step]]) {
    var counts = paths.map { Set($0.map(\.token)).count }
    var total = counts.reduce(0, +)
    while total > tokenMax,
      let worst = counts.indices.max(by: { (counts[$0], $0) < (counts[$1], $1) })
    {
      total -= counts.remove(at: worst)
      paths.remove(at: worst)
    }
  }

  /// From below the root to a node.
  private static func path(
    to node: Int, in nodes: [TrigramSearch.Node], of table: some TrigramTable
  ) -> [Step] {
    var path: [Step] = []
    var node = node
    while nodes[node].parent >= 0 {
      path.append(step(to: node, in: nodes))
      node = nodes[node].parent
    }
    return path.reversed()
  }

  private static func step(to node: Int, in nodes: [TrigramSearch.Node]) -> Step {
    let parent = nodes[nodes[node].parent]
    let visits = nodes[node].visitCount
    guard visits > 0 else {
      return Step(token: nodes[node].token, claimed: claimMin, level: unvisitedLevel)
    }
    let siblings = parent.firstChild..<parent.firstChild + parent.childCount
    let rank = siblings.count { (visits, $0) < (nodes[$0].visitCount, node) }
    return Step(
      token: nodes[node].token, claimed: max(claimMin, trust * visits / parent.visitCount),
      level: min(rank, visitedLevels - 1))
  }

  /// The heaviest successor of a node, from the tree where it was expanded.
  private static func heaviest(
    after node: Int, in nodes: [TrigramSearch.Node], of table: some TrigramTable
  ) -> Step? {
    if nodes[node].childCount > 0 { return step(to: nodes[node].firstChild, in: nodes) }
    guard let row = table.row(nodes[node].previous, nodes[node].token), row.count > 0 else {
      return nil
    }
    var total: Float = 0
    for index in row.start..<row.start + row.count { total += table.successor(at: index).weight }
    let best = table.successor(at: row.start)
    return Step(
      token: best.token, claimed: max(claimMin, trust * best.weight / total),
      level: unsearchedLevel)
  }
}

package import InferenceTypes

/// Token Recycling as it was published, for comparison with ``TokenRecycling``: for every token the
/// eight likeliest successors that the target named last, and one fixed tree that is filled from
/// them.
///
/// How much of the tree is verified is left to the planner, as for every source; the order of its
/// nodes, and how often each rank was right so far, tell it where to cut.
///
/// Memory: 32 bytes · vocabulary, 1.6 MB for a vocabulary of 49,152.
///
/// - SeeAlso: Luo et al. 2025, arXiv:2408.08696. Departs from it in fixing the order of the
///   updates: rows of the truth come last. Ranks that are empty or repeat a sibling are left out.
package struct RecycleTemplate: PlannedSource {
  package static var origin: DraftOrigin { .recyclePublished }
  static let rowLength = 8
  /// Share of each rank at first.
  private static let priors: [Float] = [0.35, 0.14, 0.08, 0.05, 0.04, 0.03, 0.025, 0.02]

  private let vocabularyCount: Int
  private var rows: [UInt32]

  package init(vocabularyCount: Int) {
    precondition((1...1 << 21).contains(vocabularyCount), "vocabulary of \(vocabularyCount)")
    self.vocabularyCount = vocabularyCount
    rows = [UInt32](repeating: TokenContext.absent, count: vocabularyCount * Self.rowLength)
  }

  /// The template "2.2.2" without its root: for each node its parent, and the rank that it takes in
  /// the parent's row. Layer by layer, 8, 21, 25, 15, 8 and 3 nodes.
  package static let template: [(parent: Int, rank: Int)] = {
    /// Ranks below the nodes of a layer in order; how many each of them has, the others none.
    let counts: [[Int]] = [
      [8],
      [8, 4, 3, 2, 1, 1, 1, 1],
      // Below 00…07, 10…13, 20…22, 30, 31, 4, 5, 6, 7.
      [8, 3, 2, 1, 1, 1, 1, 1, 2, 1, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0],
      // Below 000…007, 010…012, 020, 021, 030…070, 100, 101, 110, 200, 300, 400, 500.
      [5, 2, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0],
      // Below 0000…0004, 0010, 0011, 0020, 0030, 0040, 0100, 0200, 1000, 2000, 3000.
      [3, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 1, 0, 0],
      // Below 00000…00002, 00010, 00020, 00100, 01000, 10000.
      [2, 0, 0, 1, 0, 0, 0, 0],
    ]
    var nodes: [(parent: Int, rank: Int)] = []
    var layer = [-1]
    for below in counts {
      var next: [Int] = []
      for (parent, count) in zip(layer, below) {
        for rank in 0..<count {
          next.append(nodes.count)
          nodes.append((parent, rank))
        }
      }
      layer = next
    }
    return nodes
  }()

  /// Remembers the largest logits after a token, the largest first.
  package mutating func observe(_ token: UInt32, top: Span<TokenLogit>) {
    guard token < vocabularyCount, top.count > 0, top[0].logit > -.infinity else { return }
    let start = Int(token) * Self.rowLength
    rows.replaceSubrange(start..<start + Self.rowLength, with: likeliest(top))
  }

  package mutating func plan(after text: inout SessionText, into draft: inout PlannedDraft) {
    guard let root = text.last else { return }
    var indices: [Int] = []
    for (parent, rank) in Self.template {
      let above = parent < 0 ? 0 : indices[parent]
      let token = parent < 0 ? root : above < 0 ? TokenContext.absent : draft.nodes[above].token
      guard token < vocabularyCount else {
        indices.append(-1)
        continue
      }
      let next = rows[Int(token) * Self.rowLength + rank]
      guard next != TokenContext.absent else {
        indices.append(-1)
        continue
      }
      indices.append(
        draft.add(next, below: above, claimed: Self.priors[rank], level: rank))
    }
  }
}

/// The tokens of the first entries, filled up with no token.
private func likeliest(_ top: Span<TokenLogit>) -> [UInt32] {
  var tokens: [UInt32] = []
  for rank in 0..<min(top.count, RecycleTemplate.rowLength) where top[rank].logit > -.infinity {
    tokens.append(top[rank].token.rawValue)
  }
  while tokens.count < RecycleTemplate.rowLength { tokens.append(TokenContext.absent) }
  return tokens
}

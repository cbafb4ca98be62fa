import InferenceTypes

/// For pairs of tokens what came after them, each with a weight, the heaviest first.
protocol TrigramTable {
  /// Where the successors of a pair stand, and their number.
  func row(_ first: UInt32, _ second: UInt32) -> (start: Int, count: Int)?
  func successor(at index: Int) -> (token: UInt32, weight: Float)
}

/// The tree search of ADED over a trigram table, with a PUCT rule.
///
/// - SeeAlso: Liu et al. 2024, arXiv:2407.12021, section 3.
struct TrigramSearch: Sendable {
  /// Tokens on a path, the root included.
  private static let horizon = 4
  private static let exploration: Float = 32
  private static let explorationBase: Float = 8
  /// What the search uses of the generator's third counter word.
  private static let stream: UInt32 = 7

  struct Node: Sendable {
    var previous: UInt32
    var token: UInt32
    /// -1 for the root.
    var parent: Int
    /// Weight of the trigram that leads here.
    var prior: Float
    var firstChild = 0
    var childCount = 0
    var visitCount: Float = 0
    var scoreSum: Float = 0
  }

  /// Which child a node that was just expanded goes on with.
  enum Entry: Sendable {
    case heaviest
    /// As in the code that was published, where the order of children was left to chance.
    case last
  }

  var iterationCount = 0
  var entry = Entry.heaviest
  /// Node 0 is the root.
  private(set) var nodes: [Node] = []

  /// Replaces the tree by a fresh one below a pair of tokens.
  ///
  /// - Parameters:
  ///   - table: what is searched.
  ///   - pair: the last two tokens of the text.
  ///   - seed: the key of the randomness.
  ///   - position: of the token after the pair.
  mutating func run(
    in table: borrowing some TrigramTable, below pair: (UInt32, UInt32), seed: UInt64,
    position: Int
  ) {
    nodes.removeAll(keepingCapacity: true)
    nodes.append(Node(previous: pair.0, token: pair.1, parent: -1, prior: 0))
    for iteration in 0..<iterationCount {
      let noise = Philox4x32.block(
        key: seed,
        counter: (
          UInt32(truncatingIfNeeded: iteration), UInt32(truncatingIfNeeded: position),
          Self.stream, 0
        ))
      iterate(in: table, noise: noise)
    }
  }

  /// Exchanges the tree for another one.
  mutating func exchange(_ other: inout [Node]) { swap(&nodes, &other) }

  private mutating func iterate(in table: borrowing some TrigramTable, noise: SIMD4<UInt32>) {
    var path = (0, -1, -1, -1)
    var length = 1
    var node = 0
    var score: Float = 1
    func step(to child: Int, _ path: inout (Int, Int, Int, Int)) {
      switch length {
      case 1: path.1 = child
      case 2: path.2 = child
      default: path.3 = child
      }
      length += 1
    }
    while length < Self.horizon && nodes[node].childCount > 0 {
      node = bestChild(of: node)
      score += nodes[node].prior
      step(to: node, &path)
    }
    if length < Self.horizon, expand(node, in: table) {
      let children = nodes[node]
      node = children.firstChild + (entry == .last ? children.childCount - 1 : 0)
      score += nodes[node].prior
      step(to: node, &path)
    }
    score += rollout(from: nodes[node], stepCount: Self.horizon - length, in: table, noise: noise)
    for visited in [path.0, path.1, path.2, path.3] where visited >= 0 {
      nodes[visited].visitCount += 1
      nodes[visited].scoreSum += score
    }
  }

  private func bestChild(of index: Int) -> Int {
    let node = nodes[index]
    let growth = ExactMath.log(
      Double((node.visitCount + Self.explorationBase + 1) / Self.explorationBase))
    let factor = (Self.exploration + Float(growth)) * node.visitCount.squareRoot()
    var best = node.firstChild
    var bestValue = -Float.infinity
    for child in node.firstChild..<node.firstChild + node.childCount {
      let visits = nodes[child].visitCount
      if visits == 0 { return child }
      let value = nodes[child].scoreSum / visits + factor * nodes[child].prior / (1 + visits)
      if value > bestValue {
        best = child
        bestValue = value
      }
    }
    return best
  }

  /// Creates all children of a node, heaviest first.
  private mutating func expand(_ index: Int, in table: borrowing some TrigramTable) -> Bool {
    guard let row = table.row(nodes[index].previous, nodes[index].token), row.count > 0 else {
      return false
    }
    nodes[index].firstChild = nodes.count
    nodes[index].childCount = row.count
    let token = nodes[index].token
    for entry in row.start..<row.start + row.count {
      let successor = table.successor(at: entry)
      nodes.append(
        Node(
          previous: token, token: successor.token, parent: index, prior: successor.weight))
    }
    return true
  }

  /// Sum of the weights along a random path, each successor as likely as it is heavy.
  private func rollout(
    from node: Node, stepCount: Int, in table: borrowing some TrigramTable, noise: SIMD4<UInt32>
  ) -> Float {
    var pair = (node.previous, node.token)
    var sum: Float = 0
    for step in 0..<stepCount {
      guard let row = table.row(pair.0, pair.1), row.count > 0 else { break }
      var total: Float = 0
      for entry in row.start..<row.start + row.count { total += table.successor(at: entry).weight }
      var left = Float(noise[step] >> 8) * 0x1p-24 * total
      var entry = row.start
      while entry < row.start + row.count - 1, left >= table.successor(at: entry).weight {
        left -= table.successor(at: entry).weight
        entry += 1
      }
      sum += table.successor(at: entry).weight
      pair = (pair.1, table.successor(at: entry).token)
    }
    return sum
  }
}

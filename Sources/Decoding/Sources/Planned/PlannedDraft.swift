package import InferenceTypes

/// The drafts of one source for one step: a tree below the last token of the truth, planned before
/// the common tree grows. Node 0 is the root; parents stand before their children.
package struct PlannedDraft: Sendable {
  /// Levels of trust that a source may tell apart.
  static let levelCount = 8

  struct Node: Sendable {
    var token: UInt32
    var parent: Int
    /// What the source believes of the token, given that its parent is right: a probability.
    var claimed: Float
    /// What the belief rests on, for example a class of match lengths; below ``levelCount``.
    var level: Int
    var firstChild = -1
    var nextSibling = -1
  }

  private(set) var nodes: [Node] = []

  package init() { removeAll() }

  /// Draft tokens, the root not counted.
  package var count: Int { nodes.count - 1 }

  package mutating func removeAll() {
    nodes.removeAll(keepingCapacity: true)
    nodes.append(Node(token: TokenContext.absent, parent: -1, claimed: 1, level: 0))
  }

  /// Adds a child; the node that is there already where a sibling carries the token.
  ///
  /// - Returns: the index of the node.
  @discardableResult
  mutating func add(_ token: UInt32, below parent: Int, claimed: Float, level: Int) -> Int {
    precondition(nodes.indices.contains(parent), "parent \(parent) of \(nodes.count) nodes")
    precondition((0..<Self.levelCount).contains(level), "level \(level)")
    if let known = child(of: parent, token: token) { return known }
    // Siblings stay in the order in which the source names them, best first.
    var last = -1
    var index = nodes[parent].firstChild
    while index >= 0 {
      last = index
      index = nodes[index].nextSibling
    }
    nodes.append(Node(token: token, parent: parent, claimed: claimed, level: level))
    if last < 0 {
      nodes[parent].firstChild = nodes.count - 1
    } else {
      nodes[last].nextSibling = nodes.count - 1
    }
    return nodes.count - 1
  }

  /// The child of `parent` that carries `token`.
  func child(of parent: Int, token: UInt32) -> Int? {
    var index = nodes[parent].firstChild
    while index >= 0 {
      if nodes[index].token == token { return index }
      index = nodes[index].nextSibling
    }
    return nil
  }

  /// The node that a path of tokens leads to; `nil` where it leaves the tree.
  func node(after path: [TokenID]) -> Int? {
    var node = 0
    for token in path {
      guard let next = child(of: node, token: token.rawValue) else { return nil }
      node = next
    }
    return node
  }

  /// The planned tokens in the order of the nodes, for tests and reports.
  package var tokens: [TokenID] { nodes.dropFirst().map { TokenID($0.token) } }

  /// Indices in ``tokens`` of each token's parent; -1 below the root.
  package var parents: [Int] { nodes.dropFirst().map { $0.parent - 1 } }
}

/// A source that plans all its drafts of a step at once.
package protocol PlannedSource: Sendable {
  static var origin: DraftOrigin { get }

  /// Fills `draft`, which is empty, with what should follow `text`.
  mutating func plan(after text: inout SessionText, into draft: inout PlannedDraft)
}

/// A planned source with its drafts of the current step and its record: what it claims is corrected
/// by how often it was right, for each level of trust and each bin of the claim.
struct PlannedSlot<Source: PlannedSource>: Sendable {
  var source: Source
  private(set) var draft = PlannedDraft()
  var hitRates = HitRateTable(
    cellCount: PlannedDraft.levelCount * HitRateTable.binCount)

  init(_ source: Source) { self.source = source }

  mutating func plan(after text: inout SessionText) {
    draft.removeAll()
    source.plan(after: &text, into: &draft)
  }

  mutating func exchangePlan(_ other: inout PlannedDraft) { swap(&draft, &other) }

  func propose(after path: [TokenID], into candidates: inout [DraftCandidate]) {
    guard draft.count > 0, let parent = draft.node(after: path) else { return }
    var index = draft.nodes[parent].firstChild
    while index >= 0 {
      let node = draft.nodes[index]
      let cell = node.level * HitRateTable.binCount + HitRateTable.bin(node.claimed)
      candidates.append(
        DraftCandidate(
          token: TokenID(node.token), claimed: node.claimed,
          estimate: hitRates.estimate(cell: cell, claimed: node.claimed), origin: Source.origin,
          cell: cell))
      index = node.nextSibling
    }
  }

  mutating func learn(_ candidates: ArraySlice<DraftCandidate>, truth: TokenID) {
    for candidate in candidates {
      hitRates.record(
        cell: candidate.cell, claimed: candidate.claimed, isHit: candidate.token == truth)
    }
  }
}

/// The class of a match of so many tokens: 0 for none, 1, 2, 3, 4–5, 6–8, 9–15, 16 and more.
func matchLevel(_ length: Int) -> Int {
  switch length {
  case ...0: 0
  case 1...3: length
  case 4...5: 4
  case 6...8: 5
  case 9...15: 6
  default: 7
  }
}

/// What a copied token is worth at first, by the class of its match: the rest is learnt.
func matchPrior(_ level: Int) -> Float {
  [0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95][level]
}

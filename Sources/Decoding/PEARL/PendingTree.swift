import InferenceTypes

/// What happened to a received draft node.
package enum NodeReception: Int, Sendable, CaseIterable {
  /// It waits below the truth.
  case pending
  /// It came late and was right.
  case onTruth
  /// It came late and was wrong, or its parent was.
  case dead
  /// The id is 0 or not larger than one before it on the link.
  case badID
  /// The parent was never sent on this link.
  case unknownParent
  case unknownToken
  /// The score is not finite, or larger than 0.
  case badScore
  /// The anchor lies beyond the truth, or is not positive.
  case badAnchor
  /// The node lies beyond the last token that can be decided.
  case beyondEnd
  /// The session holds as many pending nodes, siblings or links as it may.
  case refused
}

/// The drafts that a verifier session holds: one trie for all links, below the last truth token.
///
/// | A node's parent is | and | the node is |
/// |---|---|---|
/// | the truth at i | truth[i + 1] is its token | the truth at i + 1 |
/// | the truth at i | truth[i + 1] is another token | dead |
/// | the truth at i | i is the last | pending |
/// | pending | | pending |
/// | dead, or forgotten | | dead |
///
/// Ids of the last ``historyLength`` truth tokens are remembered, so that nodes in flight find
/// their parents.
struct PendingTree: Sendable {
  static let historyLength = 512
  static let linkMax = 16
  private static let siblingMax = 64
  private static let none = -1

  /// Node 0 is the root; it has no claims.
  private struct Node {
    var token: TokenID
    var firstChild = none
    var nextSibling = none
    var firstClaim = none
    var depth: Int
  }

  /// One link's draft of a node.
  private struct Claim {
    var link: Int
    var id: NodeID
    var score: Float
    var next: Int
  }

  private struct Entry {
    var id: NodeID
    /// Index of the node, or the complement of a truth position.
    var place: Int
  }

  private struct Link {
    var number: Int
    var isOpen = true
    var origin: DraftOrigin
    var lastID = NodeID.none
    /// In the order of ids.
    var entries: [Entry] = []
    var hitRates = HitRateTable(cellCount: HitRateTable.binCount)
  }

  private static let dead = Int.min
  private let nodeMax: Int
  private var nodes: [Node]
  private var claims: [Claim] = []
  private var links: [Link] = []
  private var spareNodes: [Node] = []
  private var spareClaims: [Claim] = []
  private var fates: [Int] = []

  /// Pending draft nodes, those of several links for one token counted each.
  var count: Int { claims.count }

  init(root: TokenID, nodeMax: Int) {
    self.nodeMax = nodeMax
    nodes = [Node(token: root, depth: 0)]
  }

  var openLinks: [Int] { links.filter(\.isOpen).map(\.number) }

  /// The open link of this number; opened where there is room.
  mutating func open(_ number: Int, origin: DraftOrigin) -> Int? {
    if let index = links.firstIndex(where: { $0.isOpen && $0.number == number }) { return index }
    let link = Link(number: number, origin: origin)
    if let index = links.firstIndex(where: { !$0.isOpen }) {
      links[index] = link
      return index
    }
    guard links.count < Self.linkMax else { return nil }
    links.append(link)
    return links.count - 1
  }

  /// Forgets a link; its nodes stay in place until the next re-rooting, without effect.
  mutating func close(_ number: Int) {
    guard let index = links.firstIndex(where: { $0.isOpen && $0.number == number }) else { return }
    links[index].isOpen = false
    links[index].entries = []
    for claim in claims.indices where claims[claim].link == index {
      claims[claim].link = Self.none
    }
  }

  /// Classifies one node and keeps it where it is pending.
  mutating func receive(
    _ node: DraftNode, anchor: Int, link: Int, truth: [TokenID], lastPosition: Int,
    vocabularyCount: Int
  ) -> NodeReception {
    let lastID = links[link].lastID
    guard node.id > lastID else { return .badID }
    links[link].lastID = node.id
    guard node.token.rawValue < vocabularyCount else { return .unknownToken }
    guard node.score <= 0, node.score > -.infinity else { return .badScore }
    var parent: Int
    if node.parent == .none {
      guard anchor >= 1, anchor <= truth.count else { return .badAnchor }
      parent = ~(anchor - 1)
    } else {
      guard node.parent <= lastID else { return .unknownParent }
      guard let place = place(of: node.parent, link: link) else { return .dead }
      parent = place
    }
    if parent < 0 {
      let position = ~parent + 1
      if position < truth.count {
        guard truth[position] == node.token else { return .dead }
        // Late nodes take no place in the tree, but are remembered for their children.
        guard links[link].entries.count < 2 * nodeMax else { return .refused }
        links[link].entries.append(Entry(id: node.id, place: ~position))
        return .onTruth
      }
      parent = 0
    }
    guard truth.count + nodes[parent].depth <= lastPosition else { return .beyondEnd }
    guard claims.count < nodeMax, let index = insert(node.token, below: parent) else {
      return .refused
    }
    claims.append(
      Claim(link: link, id: node.id, score: node.score, next: nodes[index].firstClaim))
    nodes[index].firstClaim = claims.count - 1
    links[link].entries.append(Entry(id: node.id, place: index))
    return .pending
  }

  func child(of node: Int, token: TokenID) -> Int? {
    var index = nodes[node].firstChild
    while index >= 0 {
      if nodes[index].token == token { return index }
      index = nodes[index].nextSibling
    }
    return nil
  }

  /// Appends the drafts for the token after `node`; their handles name the node of the draft, their
  /// cells are known to ``learn(_:truth:)``.
  func propose(at node: Int, into candidates: inout [DraftCandidate]) {
    var index = nodes[node].firstChild
    while index >= 0 {
      var claim = nodes[index].firstClaim
      while claim >= 0 {
        let link = claims[claim].link
        if link >= 0 {
          let claimed = Float(ExactMath.exp(Double(claims[claim].score)))
          let bin = HitRateTable.bin(claimed)
          candidates.append(
            DraftCandidate(
              token: nodes[index].token, claimed: claimed,
              estimate: links[link].hitRates.estimate(cell: bin, claimed: claimed),
              origin: links[link].origin, cell: link * HitRateTable.binCount + bin, handle: index))
        }
        claim = claims[claim].next
      }
      index = nodes[index].nextSibling
    }
  }

  func hasChildren(_ node: Int) -> Bool { nodes[node].firstChild >= 0 }

  /// The path from the root that takes the likeliest child at every place: its probability and length.
  func likeliestPath() -> (probability: Float, depth: Int) {
    var (node, probability, depth) = (0, Float(1), 0)
    var candidates: [DraftCandidate] = []
    while true {
      candidates.removeAll(keepingCapacity: true)
      propose(at: node, into: &candidates)
      guard let best = candidates.max(by: { $0.estimate < $1.estimate }) else {
        return (probability, depth)
      }
      node = best.handle
      probability *= best.estimate
      depth += 1
    }
  }

  mutating func learn(_ candidates: ArraySlice<DraftCandidate>, truth: TokenID) {
    for candidate in candidates where candidate.origin == .remote || candidate.origin == .model {
      let (link, cell) = candidate.cell.quotientAndRemainder(dividingBy: HitRateTable.binCount)
      links[link].hitRates.record(
        cell: cell, claimed: candidate.claimed, isHit: candidate.token == truth)
    }
  }

  /// The id that a link gave to a node.
  func id(of node: Int, linkNumber: Int) -> NodeID {
    var claim = nodes[node].firstClaim
    while claim >= 0 {
      let link = claims[claim].link
      if link >= 0 && links[link].number == linkNumber { return claims[claim].id }
      claim = claims[claim].next
    }
    return .none
  }

  /// Moves the root along the truth and forgets what left it.
  ///
  /// - Parameters:
  ///   - path: nodes that became truth, the first at `position`; the decided tokens after them
  ///     matched no node.
  ///   - position: of the first newly decided token.
  ///   - truth: all decided tokens.
  mutating func reroot(path: [Int], position: Int, truth: [TokenID]) {
    fates.removeAll(keepingCapacity: true)
    fates.append(contentsOf: repeatElement(Self.dead, count: nodes.count))
    fates[0] = ~(position - 1)
    for (offset, node) in path.enumerated() { fates[node] = ~(position + offset) }
    swap(&nodes, &spareNodes)
    swap(&claims, &spareClaims)
    nodes.removeAll(keepingCapacity: true)
    claims.removeAll(keepingCapacity: true)
    nodes.append(Node(token: truth[truth.count - 1], depth: 0))
    if path.count == truth.count - position { copyChildren(of: path.last ?? 0) }
    let oldest = truth.count - Self.historyLength
    for link in links.indices {
      links[link].entries.removeAll { entry in
        entry.place >= 0 ? fates[entry.place] == Self.dead : ~entry.place < oldest
      }
      for index in links[link].entries.indices where links[link].entries[index].place >= 0 {
        links[link].entries[index].place = fates[links[link].entries[index].place]
      }
    }
  }

  /// Copies everything below a spare node to below the root, in breadth-first order, which needs no
  /// stack: the fates of the copied nodes lead back from the copies.
  private mutating func copyChildren(of spareRoot: Int) {
    var queue = [(spare: spareRoot, copy: 0)]
    var next = 0
    while next < queue.count {
      let (spare, copy) = queue[next]
      next += 1
      var index = spareNodes[spare].firstChild
      while index >= 0 {
        let firstClaim = copyClaims(of: index)
        if firstClaim >= 0 {
          nodes.append(
            Node(
              token: spareNodes[index].token, nextSibling: nodes[copy].firstChild,
              firstClaim: firstClaim, depth: nodes[copy].depth + 1))
          nodes[copy].firstChild = nodes.count - 1
          fates[index] = nodes.count - 1
          queue.append((index, nodes.count - 1))
        }
        index = spareNodes[index].nextSibling
      }
    }
  }

  private mutating func copyClaims(of spare: Int) -> Int {
    var first = Self.none
    var claim = spareNodes[spare].firstClaim
    while claim >= 0 {
      if spareClaims[claim].link >= 0 {
        var copy = spareClaims[claim]
        copy.next = first
        claims.append(copy)
        first = claims.count - 1
      }
      claim = spareClaims[claim].next
    }
    return first
  }

  private mutating func insert(_ token: TokenID, below parent: Int) -> Int? {
    var siblingCount = 0
    var index = nodes[parent].firstChild
    while index >= 0 {
      if nodes[index].token == token { return index }
      siblingCount += 1
      index = nodes[index].nextSibling
    }
    guard siblingCount < Self.siblingMax else { return nil }
    nodes.append(
      Node(token: token, nextSibling: nodes[parent].firstChild, depth: nodes[parent].depth + 1))
    nodes[parent].firstChild = nodes.count - 1
    return nodes.count - 1
  }

  /// Where the node of this id stands; `nil` where it is dead.
  private func place(of id: NodeID, link: Int) -> Int? {
    var low = 0
    var high = links[link].entries.count
    while low < high {
      let middle = (low + high) / 2
      if links[link].entries[middle].id < id { low = middle + 1 } else { high = middle }
    }
    guard low < links[link].entries.count, links[link].entries[low].id == id else { return nil }
    return links[link].entries[low].place
  }
}

import InferenceTypes

/// How often every sequence of up to ``depthMax`` tokens occurred in some texts, as a trie.
///
/// Texts come one after the other, token by token. What only one place continues is not stored as
/// nodes: such a leaf names the place in the text, and is pushed down by one token each time that
/// a second place joins it. So there are about as many nodes as there are repeated sequences.
///
/// Children stand in the order of their counts, but not those of the root, which nobody asks for.
///
/// Memory: ``bytesPerNode`` for each node and 4 bytes for each token; ``byteCount`` says how much.
///
/// - SeeAlso: Oliaro et al. 2024, arXiv:2411.04975 (SuffixDecoding). Departs from it in the lazy
///   leaves in place of compressed edges.
package struct SuffixTrie: Sendable {
  /// A node with its links, and its entry in the table of children.
  package static let bytesPerNode = 64
  /// Between two texts, and nowhere else.
  private static let separator = TokenContext.absent
  private static let none: Int32 = -1

  private struct Node {
    var token: UInt32
    /// Occurrences of the path down to here.
    var count: Int32
    var parent: Int32
    var firstChild: Int32
    var lastChild: Int32
    var next: Int32
    var previous: Int32
    /// For a leaf of one occurrence: index of the token that continues it, since the beginning of
    /// all texts; -1 where children tell.
    var place: Int
  }

  /// A suffix of the text that grows, whose path is stored as nodes to its end.
  private struct Active {
    var node: Int32
    var depth: Int32
  }

  package let depthMax: Int
  private var nodes: [Node]
  private var freeNodes: [Int32] = []
  private var children: [UInt64: Int32] = [:]
  private var active: [Active] = []
  private var tokens: [UInt32] = []
  /// Tokens dropped from the front of `tokens`.
  private var base = 0
  /// Index of the first token of each text that is kept.
  private var starts: [Int] = []

  /// - Parameter depthMax: tokens of the longest counted sequence, from 2 on.
  package init(depthMax: Int) {
    precondition(depthMax >= 2, "sequences of \(depthMax) tokens")
    self.depthMax = depthMax
    nodes = [Self.node(token: Self.separator, parent: Self.none, place: -1)]
    nodes[0].count = 0
  }

  /// Nodes in use, the root included.
  package var nodeCount: Int { nodes.count - freeNodes.count }
  package var byteCount: Int { nodeCount * Self.bytesPerNode + tokens.count * 4 }
  package var textCount: Int { starts.count }
  /// Tokens of the text that grows, and its separator's.
  private var end: Int { base + tokens.count }

  /// The kept texts, the oldest first.
  var texts: [ArraySlice<UInt32>] {
    starts.indices.map { index in
      // A separator stands between two texts.
      let textEnd = index + 1 < starts.count ? starts[index + 1] - 1 : end
      return tokens[starts[index] - base..<textEnd - base]
    }
  }

  /// Begins another text: no counted sequence reaches across.
  package mutating func beginText() {
    if !tokens.isEmpty { tokens.append(Self.separator) }
    active.removeAll(keepingCapacity: true)
    starts.append(end)
  }

  /// Appends a token to the text that grows.
  ///
  /// - Complexity: one table look-up for each suffix that occurred before, at most ``depthMax``.
  package mutating func append(_ token: UInt32) {
    precondition(token != Self.separator, "token \(token)")
    if starts.isEmpty { starts.append(end) }
    tokens.append(token)
    active.append(Active(node: 0, depth: 0))
    nodes[0].count += 1
    var growing: [Active] = []
    swap(&growing, &active)
    for suffix in growing {
      if let child = child(of: suffix.node, token: token) {
        join(child, depth: suffix.depth + 1)
      } else {
        addLeaf(token, below: suffix.node, place: end)
      }
    }
  }

  /// Counts one more occurrence of a node's path, one that ends at the end of the text.
  private mutating func join(_ node: Int32, depth: Int32) {
    let index = Int(node)
    let place = nodes[index].place
    nodes[index].place = -1
    nodes[index].count += 1
    moveForward(node)
    guard depth < depthMax else { return }
    active.append(Active(node: node, depth: depth))
    guard place >= 0 else { return }
    if place < end {
      let token = tokens[place - base]
      if token != Self.separator { addLeaf(token, below: node, place: place + 1) }
    } else {
      // The other occurrence ends where the text ends, too.
      active.append(Active(node: node, depth: depth))
    }
  }

  /// The stored suffixes of the growing text, shortest first, each with its length: those that
  /// occurred before, too.
  var growingSuffixes: [(length: Int, point: SuffixPoint)] {
    var found: [(length: Int, point: SuffixPoint)] = []
    // The newest suffix is the shortest and stands last; of two equal ones the second is dropped.
    for suffix in active.reversed() where Int(suffix.depth) != found.last?.length {
      found.append((Int(suffix.depth), SuffixPoint(node: suffix.node, place: -1)))
    }
    return found
  }

  /// The node of a path below the root; `nil` where the sequence never occurred.
  func find(_ path: some Collection<UInt32>) -> SuffixPoint? {
    var point = SuffixPoint(node: 0, place: -1)
    for token in path {
      guard let next = step(point, token: token) else { return nil }
      point = next
    }
    return point
  }

  /// Occurrences of a sequence of at most ``depthMax`` tokens.
  package func count(of path: some Collection<UInt32>) -> Int {
    guard let point = find(path) else { return 0 }
    return count(at: point)
  }

  func count(at point: SuffixPoint) -> Int {
    point.place >= 0 ? 1 : Int(nodes[Int(point.node)].count)
  }

  /// One token further.
  func step(_ point: SuffixPoint, token: UInt32) -> SuffixPoint? {
    if let place = place(of: point) {
      guard place < end, tokens[place - base] == token else { return nil }
      return SuffixPoint(node: point.node, place: place + 1)
    }
    return child(of: point.node, token: token).map { SuffixPoint(node: $0, place: -1) }
  }

  /// What followed at a point, the most frequent first, up to `limit` of them.
  ///
  /// - Returns: tokens with the points that they lead to.
  func continuations(
    of point: SuffixPoint, limit: Int
  ) -> [(token: UInt32, point: SuffixPoint)] {
    if let place = place(of: point) {
      guard place < end, tokens[place - base] != Self.separator else { return [] }
      return [(tokens[place - base], SuffixPoint(node: point.node, place: place + 1))]
    }
    var found: [(token: UInt32, point: SuffixPoint)] = []
    var index = nodes[Int(point.node)].firstChild
    while index >= 0, found.count < limit {
      found.append((nodes[Int(index)].token, SuffixPoint(node: index, place: -1)))
      index = nodes[Int(index)].next
    }
    return found
  }

  /// Drops the oldest text and all that it counted.
  package mutating func dropOldest() {
    precondition(!starts.isEmpty, "no text to drop")
    let start = starts.removeFirst()
    let next = starts.first ?? end
    if starts.isEmpty { active.removeAll(keepingCapacity: true) }
    for index in start..<next where tokens[index - base] != Self.separator {
      uncount(from: index)
    }
    tokens.removeFirst(next - base)
    base = next
  }

  private mutating func uncount(from start: Int) {
    nodes[0].count -= 1
    var node: Int32 = 0
    for depth in 0..<depthMax {
      let index = start + depth - base
      guard index < tokens.count, tokens[index] != Self.separator,
        let child = child(of: node, token: tokens[index])
      else { return }
      nodes[Int(child)].count -= 1
      if nodes[Int(child)].count == 0 {
        // What is left below is this occurrence's own, one child each.
        var rest = child
        while rest >= 0 {
          let next = nodes[Int(rest)].firstChild
          remove(rest)
          rest = next
        }
        return
      }
      moveBackward(child)
      node = child
    }
  }

  /// Every node counts at least what its children do, children stand in the order of their counts,
  /// and nothing is lost.
  package var isConsistent: Bool {
    var reached = 0
    var queue: [Int32] = [0]
    while let node = queue.popLast() {
      reached += 1
      var sum: Int32 = 0
      var last = Int32.max
      var index = nodes[Int(node)].firstChild
      while index >= 0 {
        let child = nodes[Int(index)]
        guard child.parent == node, child.count >= 1 else { return false }
        guard node == 0 || child.count <= last else { return false }
        guard child.place < 0 || (child.count == 1 && child.firstChild < 0) else { return false }
        guard self.child(of: node, token: child.token) == index else { return false }
        last = child.count
        sum += child.count
        queue.append(index)
        index = child.next
      }
      guard sum <= nodes[Int(node)].count else { return false }
    }
    return reached == nodeCount && children.count == nodeCount - 1
  }

  /// The place that continues a point which no node tells of.
  private func place(of point: SuffixPoint) -> Int? {
    if point.place >= 0 { return point.place }
    let place = nodes[Int(point.node)].place
    return place >= 0 ? place : nil
  }

  private func child(of node: Int32, token: UInt32) -> Int32? {
    children[Self.key(node, token)]
  }

  private static func key(_ node: Int32, _ token: UInt32) -> UInt64 {
    UInt64(UInt32(bitPattern: node)) << 32 | UInt64(token)
  }

  private static func node(token: UInt32, parent: Int32, place: Int) -> Node {
    Node(
      token: token, count: 1, parent: parent, firstChild: none, lastChild: none, next: none,
      previous: none, place: place)
  }

  private mutating func addLeaf(_ token: UInt32, below parent: Int32, place: Int) {
    var node = Self.node(token: token, parent: parent, place: place)
    let last = nodes[Int(parent)].lastChild
    node.previous = last
    let index: Int32
    if let free = freeNodes.popLast() {
      index = free
      nodes[Int(free)] = node
    } else {
      index = Int32(nodes.count)
      nodes.append(node)
    }
    // One occurrence is the fewest there can be, so the end is the right place.
    if last >= 0 { nodes[Int(last)].next = index } else { nodes[Int(parent)].firstChild = index }
    nodes[Int(parent)].lastChild = index
    children[Self.key(parent, token)] = index
  }

  private mutating func remove(_ node: Int32) {
    unlink(node)
    children[Self.key(nodes[Int(node)].parent, nodes[Int(node)].token)] = nil
    freeNodes.append(node)
  }

  private mutating func unlink(_ node: Int32) {
    let removed = nodes[Int(node)]
    if removed.previous >= 0 {
      nodes[Int(removed.previous)].next = removed.next
    } else {
      nodes[Int(removed.parent)].firstChild = removed.next
    }
    if removed.next >= 0 {
      nodes[Int(removed.next)].previous = removed.previous
    } else {
      nodes[Int(removed.parent)].lastChild = removed.previous
    }
  }

  /// Puts a node before `successor`, at the end where that is none.
  private mutating func link(_ node: Int32, before successor: Int32) {
    let parent = Int(nodes[Int(node)].parent)
    let previous = successor >= 0 ? nodes[Int(successor)].previous : nodes[parent].lastChild
    nodes[Int(node)].next = successor
    nodes[Int(node)].previous = previous
    if previous >= 0 { nodes[Int(previous)].next = node } else { nodes[parent].firstChild = node }
    if successor >= 0 {
      nodes[Int(successor)].previous = node
    } else {
      nodes[parent].lastChild = node
    }
  }

  private mutating func moveForward(_ node: Int32) {
    guard nodes[Int(node)].parent != 0 else { return }
    let count = nodes[Int(node)].count
    var successor = node
    while nodes[Int(successor)].previous >= 0 {
      let previous = nodes[Int(successor)].previous
      guard nodes[Int(previous)].count < count else { break }
      successor = previous
    }
    guard successor != node else { return }
    unlink(node)
    link(node, before: successor)
  }

  private mutating func moveBackward(_ node: Int32) {
    guard nodes[Int(node)].parent != 0 else { return }
    let count = nodes[Int(node)].count
    var successor = nodes[Int(node)].next
    guard successor >= 0, nodes[Int(successor)].count > count else { return }
    while successor >= 0, nodes[Int(successor)].count > count {
      successor = nodes[Int(successor)].next
    }
    unlink(node)
    link(node, before: successor)
  }
}

/// A place in a ``SuffixTrie``: a node, or a place in the text below a leaf.
struct SuffixPoint: Sendable, Equatable {
  var node: Int32
  var place: Int
}

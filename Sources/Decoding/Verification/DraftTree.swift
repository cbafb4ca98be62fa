package import InferenceTypes

/// Drafts to be judged in one step, with the laws that they were drawn from.
///
/// Node 0 is the root, the last token of the truth; parents stand before their children, and
/// siblings in the order in which they were drawn. A node is either drawn from the law of its
/// parent's place or certain: found by a method without chance, such as a search in the text, or
/// the largest of a model's probabilities. A drafter must not leave out a token because of what was
/// drawn: that changes the law of the ones that stay, and with it the text.
package struct DraftTree: Sendable, Equatable {
  /// How the drawn siblings of one place came about.
  package enum SiblingDraws: Sendable, Hashable {
    /// Each from the law without those before it: they differ.
    case withoutReplacement
    /// Each from the whole law: they may be equal.
    case independent
  }

  /// A tree has no more nodes.
  package static let nodeMax = 4096

  package let draws: SiblingDraws
  package private(set) var tokens: [TokenID]
  /// Index of the parent; -1 for the root.
  package private(set) var parents: [Int]
  /// Edges from the root.
  package private(set) var depths: [Int]
  /// Whether chance had no part in the choice of the token.
  package private(set) var isCertain: [Bool]
  /// Indices of the children, in the order of their draws.
  package private(set) var children: [[Int]]
  /// For each node the law from which its children were drawn, where it is known.
  package private(set) var laws: [TokenDistribution?]

  package var count: Int { tokens.count }

  package init(root: TokenID, draws: SiblingDraws = .withoutReplacement) {
    self.draws = draws
    tokens = [root]
    parents = [-1]
    depths = [0]
    isCertain = [true]
    children = [[]]
    laws = [nil]
  }

  /// Adds a draft.
  ///
  /// - Parameters:
  ///   - token: what is drafted.
  ///   - parent: index of the node that it continues.
  ///   - isCertain: whether chance had no part in it; all other drafts are drawn from the law of
  ///     their parent's place.
  /// - Returns: the index of the new node.
  /// - Throws: ``VerificationError`` where the parent does not exist, the tree is full, or a
  ///   sibling carries the token and the draws are not independent.
  @discardableResult
  package mutating func add(
    _ token: TokenID, below parent: Int, isCertain: Bool = false
  ) throws(VerificationError) -> Int {
    guard tokens.indices.contains(parent) else {
      throw .unknownParent(parent, nodeCount: count)
    }
    guard count < Self.nodeMax else { throw .treeTooLarge(nodeMax: Self.nodeMax) }
    for sibling in children[parent] where tokens[sibling] == token {
      // A search and a draw may well find the same.
      guard self.isCertain[sibling] == isCertain, isCertain || draws == .withoutReplacement else {
        continue
      }
      throw .duplicateSibling(token, parent: parent)
    }
    let index = count
    tokens.append(token)
    parents.append(parent)
    depths.append(depths[parent] + 1)
    self.isCertain.append(isCertain)
    children.append([])
    laws.append(nil)
    children[parent].append(index)
    return index
  }

  /// States the law from which the children of a node were drawn.
  ///
  /// - Throws: ``VerificationError/unknownParent(_:nodeCount:)`` where there is no such node.
  package mutating func setLaw(
    _ law: TokenDistribution, ofChildrenOf node: Int
  ) throws(VerificationError) {
    guard tokens.indices.contains(node) else { throw .unknownParent(node, nodeCount: count) }
    laws[node] = law
  }

  /// Nodes from the root to `node`, both included.
  package func path(to node: Int) -> [Int] {
    var path: [Int] = []
    var index = node
    while index >= 0 {
      path.append(index)
      index = parents[index]
    }
    return path.reversed()
  }

  /// For each node the first one that stands for the same text: the target need only evaluate
  /// those that stand for themselves.
  package var representatives: [Int] {
    var result = Array(tokens.indices)
    var known: [[TokenID: Int]] = tokens.indices.map { _ in [:] }
    for node in tokens.indices.dropFirst() {
      let parent = result[parents[node]]
      if let twin = known[parent][tokens[node]] {
        result[node] = twin
      } else {
        known[parent][tokens[node]] = node
      }
    }
    return result
  }

  /// Whether a rule can judge this tree.
  ///
  /// - Throws: ``VerificationError`` that says what the rule needs.
  package func check(for rule: VerifyRule) throws(VerificationError) {
    let demand = rule.demand
    guard demand.needsLaw else { return }
    for node in tokens.indices where !children[node].isEmpty {
      if demand == .chainWithLaw, children[node].count > 1 {
        throw .notAChain(rule, parent: node)
      }
      for child in children[node] where !isCertain[child] {
        guard let law = laws[node] else { throw .lawMissing(rule, parent: node) }
        guard law.rest > 0 || law.probability(of: tokens[child]) > 0 else {
          throw .tokenOutsideLaw(tokens[child], node: child)
        }
      }
    }
    if demand == .independentWithLaw { try checkIndependence(rule) }
  }

  private func checkIndependence(_ rule: VerifyRule) throws(VerificationError) {
    let representatives = representatives
    var candidateCounts = [Int](repeating: 0, count: count)
    var hasCertain = [Bool](repeating: false, count: count)
    var firstParents = [Int?](repeating: nil, count: count)
    for node in tokens.indices.dropFirst() {
      let place = representatives[parents[node]]
      candidateCounts[place] += 1
      if isCertain[node] { hasCertain[place] = true }
      // A lone token is independent of its siblings, however it came about.
      guard candidateCounts[place] == 1 || (draws == .independent && !hasCertain[place]) else {
        throw .dependentSiblings(rule)
      }
      if let first = firstParents[place], laws[first] != laws[parents[node]] {
        throw .lawsDiffer(first, parents[node])
      }
      firstParents[place] = parents[node]
    }
  }
}

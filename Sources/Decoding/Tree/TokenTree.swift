package import InferenceTypes

/// A tree of draft tokens below a root, which is the last token of the truth.
///
/// Node 0 is the root; parents stand before their children. Siblings differ in their tokens.
package struct TokenTree: Sendable, Equatable {
  package private(set) var tokens: [TokenID]
  /// Index of the parent; -1 for the root.
  package private(set) var parents: [Int]
  /// Edges from the root.
  package private(set) var depths: [Int]
  /// Natural logarithm of the estimated probability of the token given its parent; 0 for the root.
  package private(set) var scores: [Float]
  /// Source of the draft; the root's means nothing.
  package private(set) var origins: [DraftOrigin]
  private var firstChildren: [Int]
  private var nextSiblings: [Int]

  package var count: Int { tokens.count }

  package init(root: TokenID) {
    tokens = [root]
    parents = [-1]
    depths = [0]
    scores = [0]
    origins = [.model]
    firstChildren = [-1]
    nextSiblings = [-1]
  }

  /// The child of `parent` that carries `token`.
  package func child(of parent: Int, token: TokenID) -> Int? {
    var index = firstChildren[parent]
    while index >= 0 {
      if tokens[index] == token { return index }
      index = nextSiblings[index]
    }
    return nil
  }

  /// Adds a node, or merges it into the sibling that carries the same token: the probabilities
  /// join as those of independent events, and the origin of the more probable one stays.
  ///
  /// - Returns: the index of the node.
  @discardableResult
  package mutating func add(
    _ token: TokenID, below parent: Int, score: Float, origin: DraftOrigin
  ) -> Int {
    precondition(parents.indices.contains(parent), "parent \(parent) of \(count) nodes")
    if let index = child(of: parent, token: token) {
      if score > scores[index] { origins[index] = origin }
      let joined = joinedProbability(
        Float(ExactMath.exp(Double(scores[index]))), Float(ExactMath.exp(Double(score))))
      scores[index] = Float(ExactMath.log(Double(joined)))
      return index
    }
    let index = count
    tokens.append(token)
    parents.append(parent)
    depths.append(depths[parent] + 1)
    scores.append(score)
    origins.append(origin)
    firstChildren.append(-1)
    nextSiblings.append(firstChildren[parent])
    firstChildren[parent] = index
    return index
  }

  /// Drops the nodes from index `count` on.
  package mutating func truncate(to count: Int) {
    precondition((1...self.count).contains(count), "\(count) of \(self.count) nodes")
    for index in stride(from: self.count - 1, through: count, by: -1) {
      // A node is the newest child of its parent once all later nodes are gone.
      firstChildren[parents[index]] = nextSiblings[index]
    }
    let dropped = self.count - count
    tokens.removeLast(dropped)
    parents.removeLast(dropped)
    depths.removeLast(dropped)
    scores.removeLast(dropped)
    origins.removeLast(dropped)
    firstChildren.removeLast(dropped)
    nextSiblings.removeLast(dropped)
  }
}

/// Probability that one of two independent sources is right.
func joinedProbability(_ first: Float, _ second: Float) -> Float {
  1 - (1 - first) * (1 - second)
}

package import InferenceTypes

extension TreeDrafter {
  /// What a drafter needs to know at its start.
  package struct Configuration: Sendable {
    /// As for chains; the window is the largest depth, the width the most children of a node.
    package var session: DrafterSession.Configuration
    /// Most nodes of one pass.
    package var levelWidth = 8
    /// Most evaluated nodes below the truth; the engine's cache holds them beside it.
    package var nodeMax = 64
    /// Paths that are less probable are not sent.
    package var sendFloor: Float = 0.004
    package var costs = DraftCosts.assumed
    /// Whether the target verifies meanwhile; else it waits, and drafting ends where more of it
    /// would cost more than it brings.
    package var runsAhead = true

    package init(_ session: DrafterSession.Configuration) { self.session = session }
  }

  /// What the draft model computes next. Nodes in its cache are counted in the order in which they
  /// came.
  package struct Forward: Sendable, Equatable {
    /// Nodes in the cache that are truth now, each the child of the one before.
    package let committed: [Int]
    /// Nodes in the cache that live on below them; they are counted from 0 afterwards.
    package let kept: [Int]
    /// Nodes to evaluate, counted from `kept.count` on.
    package let tokens: [TokenID]
    /// For each of `tokens` its parent; -1 for the last committed position.
    package let parents: [Int]
    /// Indices in `tokens` of those whose logits are needed.
    package let logitNodes: [Int]
  }
}

extension TreeDrafter {
  /// Whether truth on its way leaves the running pass without use: no node that it evaluates becomes
  /// truth, or lives on below it.
  package func isVoid(_ forward: Forward, after update: TruthUpdate) -> Bool {
    // Truth that the model has to read anyway is of use, also what became truth meanwhile.
    guard let first = inFlight, forward.tokens.count == forward.logitNodes.count,
      !truthRows.contains(where: { $0 >= first }), let known = knownCount(of: update)
    else { return false }
    let evaluated = Set(rows[first...].filter { $0 >= 0 })
    var root = 0
    for token in update.tokens.dropFirst(known) {
      if evaluated.contains(root) { return false }
      guard let next = child(of: root, token: token) else { return true }
      root = next
    }
    return !evaluated.contains { isBelow($0, root) }
  }

  /// Tokens of an update that are truth already; `nil` where it cannot be followed.
  private func knownCount(of update: TruthUpdate) -> Int? {
    let known = truth.count - update.fromPosition
    return known >= 0 && known < update.tokens.count ? known : nil
  }

  private func isBelow(_ node: Int, _ root: Int) -> Bool {
    var index = node
    while index > root { index = nodes[index].parent }
    return index == root
  }
}

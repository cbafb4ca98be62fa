import InferenceTypes

extension Verification {
  /// A node whose subtree is being judged.
  private struct Visit {
    let node: Int
    /// How much of the target's law the path to the node carries; 1 at the root for ever.
    var carried: Double
    /// What the target's law after the node has left.
    var left: TokenDistribution
    var candidates: Candidates
    /// Number of candidates that were judged.
    var judgedCount = 0
  }

  /// ``VerifyRule/traversal``: every path is tested as a whole, the deeper ones first.
  ///
  /// A node carries the share a of the target's law. A child y is judged first, with its subtree,
  /// under the share min(1, a P(y)/Q(y)). If nothing of it survives, D = max(0, a P - Q) of mass s
  /// is left, the node carries s/(s + 1 - a) of the law that D makes, and the next sibling's turn
  /// comes. After the last one the node itself survives with probability a.
  func traversal(
    _ chooser: inout some VerifyChooser, _ target: (Int) -> TokenDistribution
  ) -> Verdict {
    var visits = [visit(0, carried: 1, &chooser, target)]
    while var visit = visits.popLast() {
      if let candidate = next(&visit) {
        let draft = visit.candidates.law(of: candidate)
        let carried =
          draft.map {
            acceptance(
              of: candidate.token, target: visit.left, draft: $0, scale: visit.carried)
          } ?? 0
        // Below a node that carries nothing, nothing survives.
        if carried > 0, candidate.isDrafted {
          visits.append(visit)
          visits.append(self.visit(candidate.node, carried: carried, &chooser, target))
        } else if chooser.happens(carried, key(.acceptance, candidate.node)) {
          return Verdict(tree, last: visit.node, token: candidate.token)
        } else {
          refuse(candidate, at: &visit)
          visits.append(visit)
        }
      } else if chooser.happens(visit.carried, key(.acceptance, visit.node)) {
        return verdict(last: visit.node, drawing: visit.left, &chooser)
      } else if var parent = visits.popLast() {
        let candidate = parent.candidates.list[parent.judgedCount - 1]
        refuse(candidate, at: &parent)
        visits.append(parent)
      }
    }
    preconditionFailure("the root of \(tree.count) nodes did not survive")
  }

  private func visit(
    _ node: Int, carried: Double, _ chooser: inout some VerifyChooser,
    _ target: (Int) -> TokenDistribution
  ) -> Visit {
    let law = target(node)
    let candidates = Candidates(
      tree.children[node], in: self, law: tree.laws[node], target: law, &chooser)
    return Visit(node: node, carried: carried, left: law, candidates: candidates)
  }

  /// The next candidate that can be judged.
  private func next(_ visit: inout Visit) -> Candidate? {
    while visit.judgedCount < visit.candidates.list.count {
      let candidate = visit.candidates.list[visit.judgedCount]
      visit.judgedCount += 1
      if visit.candidates.law(of: candidate) != nil { return candidate }
    }
    return nil
  }

  private func refuse(_ candidate: Candidate, at visit: inout Visit) {
    guard let draft = visit.candidates.law(of: candidate) else { return }
    let excess = visit.left.excess(scale: visit.carried, over: draft)
    let total = excess.mass + (1 - visit.carried)
    // The parentheses keep the root's share at exactly 1.
    visit.carried = total > 0 ? excess.mass / total : 1
    guard let left = excess.law else {
      visit.judgedCount = visit.candidates.list.count
      return
    }
    visit.left = left
    visit.candidates.refuse(candidate, draws: tree.draws)
  }
}

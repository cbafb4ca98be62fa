package import InferenceTypes

/// What a verification decided.
package struct Verdict: Sendable, Equatable {
  /// Nodes that became truth, root first.
  package let acceptedPath: [Int]
  /// The tokens of these nodes, without the root's, and the target's own one after them.
  package let tokens: [TokenID]
  /// Whether drafts were refused at the last place: the last token is a correction then, and a
  /// bonus otherwise.
  package let isCorrected: Bool

  /// Drafts that became truth.
  package var acceptedCount: Int { acceptedPath.count - 1 }

  init(_ tree: DraftTree, last node: Int, token: TokenID) {
    acceptedPath = tree.path(to: node)
    tokens = acceptedPath.dropFirst().map { tree.tokens[$0] } + [token]
    isCorrected = !tree.children[node].isEmpty
  }
}

/// One step of the target: drafts below the last token of the truth, to be judged by any rule.
///
/// A pure function of the drafts, the target's laws and the chooser's numbers. The laws are asked
/// for when a rule gets to them, at most once for each node, so that rules which go down from the
/// root never pay for the branches that they leave.
package struct Verification: Sendable {
  package let tree: DraftTree
  /// Index of the root in the whole sequence; the first decided token is the next one.
  package let rootPosition: Int

  package init(_ tree: DraftTree, rootPosition: Int) {
    self.tree = tree
    self.rootPosition = rootPosition
  }

  /// Judges the drafts without changing the law of the text.
  ///
  /// Stop tokens are not looked at: the caller cuts ``Verdict/tokens`` after the first.
  ///
  /// - Parameters:
  ///   - rule: see ``VerifyRule`` for what each needs.
  ///   - chooser: makes the decisions.
  ///   - target: the target's law of the token after a node, without rest, out of the sampling
  ///     pipeline with the node's path as context.
  /// - Returns: at least one token.
  /// - Throws: ``VerificationError`` where the rule cannot judge this tree.
  package func verdict(
    by rule: LosslessRule, chooser: inout some VerifyChooser,
    target: (_ node: Int) -> TokenDistribution
  ) throws(VerificationError) -> Verdict {
    try tree.check(for: rule.rule)
    return switch rule {
    case .gumbelMatch: match(.sharedNoise, &chooser, target)
    case .match: match(.target, &chooser, target)
    case .ratio, .rejection: rejection(&chooser, target)
    case .kSequential: sequentialSelection(&chooser, target)
    case .block: block(&chooser, target)
    case .traversal: traversal(&chooser, target)
    }
  }

  /// Name of a decision of this step.
  func key(_ purpose: RandomPurpose, _ node: Int) -> RandomKey {
    RandomKey(purpose, position: rootPosition, index: node)
  }

  /// The token after the last accepted node, drawn from what is left of the target's law.
  func verdict(
    last node: Int, drawing law: TokenDistribution, _ chooser: inout some VerifyChooser
  ) -> Verdict {
    let purpose: RandomPurpose = tree.children[node].isEmpty ? .bonus : .residual
    return Verdict(tree, last: node, token: chooser.draw(law, key(purpose, node)))
  }

  /// ``VerifyRule/match`` and ``VerifyRule/gumbelMatch``: follows the target's own choices for as
  /// long as they were drafted.
  private func match(
    _ purpose: RandomPurpose, _ chooser: inout some VerifyChooser,
    _ target: (Int) -> TokenDistribution
  ) -> Verdict {
    // Equal siblings stand for the same text, so all of them are followed.
    var alive = [0]
    while true {
      let node = alive[0]
      let position = rootPosition + tree.depths[node] + 1
      let token = chooser.draw(target(node), RandomKey(purpose, position: position))
      var next: [Int] = []
      for parent in alive {
        for child in tree.children[parent] where tree.tokens[child] == token {
          next.append(child)
        }
      }
      guard !next.isEmpty else {
        let last = alive.first { !tree.children[$0].isEmpty }
        return Verdict(tree, last: last ?? node, token: token)
      }
      alive = next
    }
  }
}

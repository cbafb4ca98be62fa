package import InferenceTypes

/// What one forward pass of the target evaluates for one session: the last truth token and some
/// drafts below it. All arrays have the root at index 0, and parents before children.
package struct VerifyBatch: Sendable {
  package let tree: TokenTree
  /// Index of the root in the whole sequence.
  package let rootPosition: Int
  /// Expected number of emitted tokens, by the estimates.
  package let expectedCount: Float
  /// Guesses for the places of the tree, and where those of each node lie.
  let candidates: [DraftCandidate]
  let joined: [JoinedCandidate]
  let ranges: [(candidates: Range<Int>, joined: Range<Int>)]

  package var count: Int { tree.count }
  package var tokens: [TokenID] { tree.tokens }
  /// Index in the batch; -1 for the root.
  package var parents: [Int] { tree.parents }
  package var origins: [DraftOrigin] { tree.origins }
  /// Natural logarithm of the estimated probability given the parent.
  package var scores: [Float] { tree.scores }
  /// Index of each token in the whole sequence.
  package var positions: [Int] { tree.depths.map { rootPosition + $0 } }
}

/// What one forward pass decided.
package struct VerifyOutcome: Sendable, Equatable {
  /// Index of the first of `tokens` in the whole sequence.
  package let fromPosition: Int
  /// Newly decided tokens, at least one; an end token is among them and is the last.
  package let tokens: [TokenID]
  /// Indices in the batch whose keys and values become part of the truth's, root first. The last
  /// decided token is not among them: it is the next root.
  package let acceptedPath: [Int]
  package let finish: FinishReason?
  /// Draft tokens that the pass evaluated.
  package let usedNodeCount: Int
  let matches: [(link: Int, nodeIDs: [NodeID])]
  /// Whether the tokens left the drafts at a place that had some.
  package let contradictsDrafts: Bool

  /// The message for a link; also for links that never sent a node.
  package func update(forLink link: Int) -> TruthUpdate {
    let known = matches.first { $0.link == link }?.nodeIDs
    return TruthUpdate(
      fromPosition: fromPosition, tokens: tokens,
      nodeIDs: known ?? [NodeID](repeating: .none, count: tokens.count))
  }

  package static func == (left: VerifyOutcome, right: VerifyOutcome) -> Bool {
    left.fromPosition == right.fromPosition && left.tokens == right.tokens
      && left.acceptedPath == right.acceptedPath && left.finish == right.finish
  }
}

/// Truth on its way to a drafter.
package struct TruthUpdate: Sendable, Equatable {
  /// Index of the first token in the whole sequence.
  package var fromPosition: Int
  package var tokens: [TokenID]
  /// For each token the link's node that it matched, or ``NodeID/none``.
  package var nodeIDs: [NodeID]

  package init(fromPosition: Int, tokens: [TokenID], nodeIDs: [NodeID]) {
    self.fromPosition = fromPosition
    self.tokens = tokens
    self.nodeIDs = nodeIDs
  }
}

/// Drafts on their way to a verifier.
package struct DraftUpdate: Sendable, Equatable {
  /// Nodes without a parent guess the truth at this index.
  package var anchor: Int
  /// Parents before children, ids strictly increasing.
  package var nodes: [DraftNode]

  package init(anchor: Int, nodes: [DraftNode]) {
    self.anchor = anchor
    self.nodes = nodes
  }
}

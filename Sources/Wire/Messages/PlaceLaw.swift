package import InferenceTypes

/// The law that a draft model drew the children of one node from: each token's weight over the sum
/// of all. What it leaves out is never drawn.
package struct PlaceLaw: Sendable, Equatable {
  /// ``NodeID/none`` for nodes that continue the anchor.
  package var parent: NodeID
  /// Strictly increasing, 1 to ``Limits/lawEntryCountMax``.
  package var tokens: [TokenID]
  /// As many as tokens, each at least 1.
  package var weights: [UInt16]

  package init(parent: NodeID, tokens: [TokenID], weights: [UInt16]) {
    self.parent = parent
    self.tokens = tokens
    self.weights = weights
  }
}

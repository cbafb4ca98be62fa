/// Where a draft token came from.
package enum DraftOrigin: UInt8, Sendable, CaseIterable, Hashable {
  /// A drafter worker on the other end of the data link.
  case remote = 0
  /// A draft model in the same process.
  case model = 1
  /// The trigram store.
  case trigram = 2
  /// Token Recycling.
  case recycling = 3
  /// CopySpec.
  case copy = 4
  /// Prompt lookup.
  case lookup = 5
  /// The n-gram cache.
  case ngram = 6
  /// SuffixDecoding.
  case suffix = 7
  /// A text that the user expects.
  case prediction = 8
  /// Token Recycling in its published form.
  case recyclePublished = 9
  /// ADED in its published form.
  case aded = 10
}

/// One drafted token as it travels from a drafter to a verifier.
package struct DraftNode: Sendable, Equatable {
  /// Given by the drafter, strictly increasing within a session, never ``NodeID/none``.
  package var id: NodeID
  /// The draft node that this one continues; ``NodeID/none`` where it continues the truth token
  /// at the anchor of the message it travels in.
  package var parent: NodeID
  package var token: TokenID
  /// Natural logarithm of the estimated probability that `token` is right given that its parent
  /// is: at most 0.
  package var score: Float

  package init(id: NodeID, parent: NodeID, token: TokenID, score: Float) {
    self.id = id
    self.parent = parent
    self.token = token
    self.score = score
  }
}

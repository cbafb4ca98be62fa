package import Decoding
package import Engine
package import InferenceTypes
package import Wire

/// A draft model that works for a session whose rule has to know the laws of the draws: in turns
/// with the verifier, a whole tree below each root.
package struct DrawDrafting {
  /// Levels of a tree.
  private static let length = 4
  private var drafter: LawDrafter
  /// Names of nodes are never used again.
  private var lastID: UInt32 = 0

  /// - Throws: ``EngineError`` without memory.
  package init(
    _ acceptance: AttachAcceptance, stopTokens: [TokenID], engine: InferenceEngine
  ) throws(EngineError) {
    drafter = LawDrafter(
      demand: acceptance.rule.demand, sampling: acceptance.sampling, stopTokens: stopTokens,
      engine: engine, cache: try engine.makeCache())
  }

  /// Draws a tree.
  ///
  /// - Parameters:
  ///   - truth: what to draw below.
  ///   - shouldStop: asked before each pass: whether the tree is of no use any more.
  /// - Returns: what to send, without nodes where the draft model's context is full; `nil` where it
  ///   was stopped.
  /// - Throws: ``EngineError`` where a pass fails, ``DecodingError`` for unfit parameters.
  package mutating func draft(below truth: [TokenID], shouldStop: () -> Bool) throws -> Nodes? {
    let tree = try drafter.draft(
      below: truth, length: Self.length, limit: Limits.nodeCountMax, shouldStop: shouldStop)
    guard let tree else { return nil }
    let message = Nodes(anchor: truth.count - 1, tree: tree, firstID: lastID &+ 1)
    lastID = message.nodes.last?.id.rawValue ?? lastID
    return message
  }
}

extension Nodes {
  /// A whole tree with its laws.
  ///
  /// - Parameters:
  ///   - anchor: position of the tree's root.
  ///   - tree: at most ``Limits/nodeCountMax`` drafts, each drawn from the law of its place.
  ///   - firstID: of the first draft, not 0.
  package init(anchor: Int, tree: DraftTree, firstID: UInt32) {
    func id(_ node: Int) -> NodeID {
      node == 0 ? .none : NodeID(rawValue: firstID + UInt32(node) - 1)
    }
    self.init(anchor: anchor, nodes: [])
    for node in tree.tokens.indices {
      if node > 0 {
        let parent = tree.parents[node]
        let probability = tree.laws[parent]?.probability(of: tree.tokens[node]) ?? 1
        nodes.append(
          DraftNode(
            id: id(node), parent: id(parent), token: tree.tokens[node],
            score: Float(ExactMath.log(min(1, max(1e-6, probability))))))
      }
      // A law of whole weights comes out of itself unchanged.
      if let law = tree.laws[node].map({ DraftLaw($0) }) {
        laws.append(PlaceLaw(parent: id(node), tokens: law.tokens, weights: law.weights))
      }
    }
  }
}

extension DrafterMail {
  /// Whether this leaves draws for a session without use.
  func voidsDraws(of id: SessionID, endpoint: String) -> Bool {
    switch self {
    case .truth(id, _), .endDraft(id), .assign(id, _), .attachReply(id, _), .unlinked(endpoint),
      .reset, .stop:
      true
    case .truth, .endDraft, .assign, .attachReply, .unlinked, .linked, .roundTrip, .ingest: false
    }
  }
}

package import InferenceTypes

/// A batch for a rule, with what the rule has to know about how its drafts came about.
///
/// The target evaluates equal texts once, so several drafts may stand for one node of the batch.
package struct RuledBatch: Sendable {
  package let batch: VerifyBatch
  /// Drafts in the order of their draws; the root is the batch's.
  package let drafts: DraftTree
  /// For each draft its node in the batch.
  package let batchNodes: [Int]

  /// Joins what sources found with what a draft model drew.
  ///
  /// - Parameters:
  ///   - found: certain drafts.
  ///   - drawn: below the same root.
  ///   - origin: of what was drawn.
  /// - Throws: ``VerificationError/treeTooLarge(nodeMax:)``.
  init(
    _ found: VerifyBatch, drawn: DraftTree?, origin: DraftOrigin
  ) throws(VerificationError) {
    var tree = found.tree
    var ranges = found.ranges
    var drafts = drawn ?? DraftTree(root: found.tree.tokens[0])
    var nodes = [0]
    var standing: [[Int]] = tree.tokens.indices.map { _ in [] }
    standing[0] = [0]
    for draft in drafts.tokens.indices.dropFirst() {
      let parent = drafts.parents[draft]
      let probability = drafts.laws[parent]?.probability(of: drafts.tokens[draft]) ?? 1
      let node = tree.add(
        drafts.tokens[draft], below: nodes[parent],
        score: Float(ExactMath.log(max(1e-6, probability))), origin: origin)
      if node == standing.count {
        standing.append([])
        ranges.append((0..<0, 0..<0))
      }
      nodes.append(node)
      standing[node].append(draft)
    }
    // What was found continues every draft of the same text, and stands beside what was drawn even
    // where both are the same token: nothing may be left out because of what was drawn.
    for node in found.tree.tokens.indices.dropFirst() {
      let token = found.tree.tokens[node]
      for parent in standing[found.tree.parents[node]] {
        let isKnown = drafts.children[parent].contains {
          drafts.isCertain[$0] && drafts.tokens[$0] == token
        }
        guard !isKnown else { continue }
        standing[node].append(try drafts.add(token, below: parent, isCertain: true))
        nodes.append(node)
      }
    }
    batch = VerifyBatch(
      tree: tree, rootPosition: found.rootPosition, expectedCount: found.expectedCount,
      candidates: found.candidates, joined: found.joined, ranges: ranges)
    self.drafts = drafts
    batchNodes = nodes
  }
}

extension VerifyBatch {
  /// The path that follows the first child of each node, which was the most probable one.
  fileprivate var firstPath: VerifyBatch {
    var path = TokenTree(root: tree.tokens[0])
    var kept = [0]
    for node in tree.tokens.indices.dropFirst() where tree.parents[node] == kept[kept.count - 1] {
      path.add(
        tree.tokens[node], below: path.count - 1, score: tree.scores[node],
        origin: tree.origins[node])
      kept.append(node)
    }
    return VerifyBatch(
      tree: path, rootPosition: rootPosition, expectedCount: expectedCount,
      candidates: candidates, joined: joined, ranges: kept.map { ranges[$0] })
  }
}

extension VerifierSession {
  /// Drafts that owe their acceptance to a lossy rule.
  package var relaxedCount: Int { judge?.relaxedCount ?? 0 }

  /// Chooses what the next forward pass evaluates, under any rule but
  /// ``VerifyRule/gumbelMatch``.
  ///
  /// - Parameters:
  ///   - drawn: drafts with their laws below the last token of the truth; all of them are
  ///     evaluated.
  ///   - origin: of `drawn`.
  ///   - sources: the local sources of the model.
  ///   - costs: time of a forward pass by its size.
  ///   - limit: largest size, at least 1 more than `drawn` has drafts.
  /// - Returns: the batch; the session must not be finished.
  /// - Throws: ``VerificationError/treeTooLarge(nodeMax:)``.
  package mutating func nextRuledBatch(
    drawn: DraftTree?, origin: DraftOrigin = .model, sources: inout LocalSources,
    costs: VerifyCosts, limit: Int
  ) throws(VerificationError) -> RuledBatch {
    guard let judge else { preconditionFailure("no rule but gumbel-match") }
    let demand = judge.choice.rule.demand
    let drawnCount = (drawn?.count ?? 1) - 1
    let isAlone = drawnCount > 0 && demand != .treeWithLaw
    let found = nextBatch(
      sources: &sources, costs: costs, limit: isAlone ? 1 : max(1, limit - drawnCount))
    let isChain = demand == .chainWithLaw || demand == .independentWithLaw
    return try RuledBatch(isChain ? found.firstPath : found, drawn: drawn, origin: origin)
  }

  /// Decides tokens as ``conclude(_:logits:top:topCount:sources:decided:)`` does, by the session's
  /// rule.
  ///
  /// - Throws: ``VerificationError`` where the rule cannot judge the drafts; nothing changed then.
  package mutating func conclude(
    _ ruled: RuledBatch, logits: Span<Float>, top: Span<TokenLogit>, topCount: Int,
    sources: inout LocalSources
  ) throws(VerificationError) -> VerifyOutcome {
    guard var judge else { preconditionFailure("no rule but gumbel-match") }
    precondition(
      ruled.batch.rootPosition == truth.count - 1,
      "batch below \(ruled.batch.rootPosition), truth of \(truth.count)")
    let tokens = try judge.decide(ruled, truth: truth, logits: logits)
    self.judge = judge
    return conclude(
      ruled.batch, logits: logits, top: top, topCount: topCount, sources: &sources,
      decided: tokens)
  }
}

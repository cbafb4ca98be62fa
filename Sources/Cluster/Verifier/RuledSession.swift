package import Decoding
package import Engine
package import InferenceTypes
package import Wire

/// What a verifier keeps for a session whose drafts are not judged by equality under shared noise:
/// its rule, and the draws that wait for the next step. Lives on the thread of the target model.
///
/// A session whose rule needs the laws of the draws works in turns with its drafter, which draws a
/// whole tree below each root: what was drawn below another root is dropped, and never because of
/// the tokens that came out.
package final class RuledSession {
  package let choice: RuleChoice
  /// Whether a draft model draws for it and sends the laws.
  package let drawsDrafts: Bool
  private let vocabularyCount: Int
  /// Most nodes of a step.
  private let nodeLimit: Int
  private var drawn: (rootPosition: Int, tree: DraftTree)?

  /// `nil` under ``VerifyRule/gumbelMatch``.
  package init?(
    _ choice: RuleChoice, sampling: SamplingParameters, vocabularyCount: Int, nodeLimit: Int
  ) {
    guard choice != .standard else { return nil }
    self.choice = choice
    self.vocabularyCount = vocabularyCount
    self.nodeLimit = nodeLimit
    drawsDrafts = choice.rule.drawsDrafts(sampling)
  }

  /// Takes a tree of draws in.
  ///
  /// - Returns: whether it stands below the last token of the truth.
  /// - Throws: ``VerificationError`` where the rule cannot judge it.
  package func receive(
    _ message: Nodes, target: TargetSession
  ) throws(VerificationError) -> Bool {
    let truth = target.truth
    guard message.anchor == truth.count - 1, !target.isFinished else {
      return false
    }
    let tree = try DraftTree(
      message, root: truth[truth.count - 1], rule: choice.rule, vocabularyCount: vocabularyCount,
      countMax: nodeLimit - 1, depthMax: target.machine.draftDepthMax)
    drawn = (message.anchor, tree)
    return true
  }

  /// One step of the target.
  ///
  /// - Parameters:
  ///   - target: of this session; neither finished nor without its prompt.
  ///   - engine: of the target model.
  ///   - sources: the local sources.
  ///   - costs: measured.
  ///   - limit: most nodes of a step of an exact rule.
  /// - Returns: what was decided.
  /// - Throws: ``EngineError`` where the pass fails.
  package func step(
    _ target: TargetSession, engine: InferenceEngine, sources: inout LocalSources,
    costs: VerifyCosts, limit: Int
  ) throws(EngineError) -> VerifyOutcome {
    var tree: DraftTree?
    if let drawn, drawn.rootPosition == target.truth.count - 1 { tree = drawn.tree }
    drawn = nil
    while true {
      do {
        return try target.step(
          drawn: tree, origin: .remote, engine: engine, sources: &sources,
          // As in one process: where drafts decide about the text, nothing that was measured decides
          // about them.
          costs: choice.isExact ? costs : .assumed, limit: drawsDrafts ? nodeLimit : limit)
      } catch let error as EngineError {
        throw error
      } catch {
        // Draws that the rule cannot judge after all are left out; without any it judges everything.
        guard tree != nil else { preconditionFailure("no drafts to judge, yet \(error)") }
        tree = nil
      }
    }
  }
}

extension DraftTree {
  /// The tree of a message.
  ///
  /// Levels deeper than `depthMax` and draws after the first `countMax` are left out, which depends
  /// on nothing that was drawn.
  ///
  /// - Parameters:
  ///   - message: a whole tree with its laws.
  ///   - root: the token that nodes without a parent continue.
  ///   - rule: what will judge it.
  ///   - vocabularyCount: tokens of the model.
  ///   - countMax: most drafts.
  ///   - depthMax: most levels.
  /// - Throws: ``VerificationError`` for parents, tokens and laws that do not fit, or a tree that the
  ///   rule cannot judge.
  package init(
    _ message: Nodes, root: TokenID, rule: VerifyRule, vocabularyCount: Int, countMax: Int,
    depthMax: Int
  ) throws(VerificationError) {
    self.init(
      root: root,
      draws: rule.demand == .independentWithLaw ? .independent : .withoutReplacement)
    var laws: [NodeID: TokenDistribution] = [:]
    for law in message.laws {
      laws[law.parent] = try TokenDistribution(
        tokens: law.tokens, weights: law.weights.map(Double.init),
        vocabularyCount: vocabularyCount)
    }
    var indices: [NodeID: Int] = [.none: 0]
    if let law = laws[.none] { try setLaw(law, ofChildrenOf: 0) }
    for node in message.nodes {
      guard let parent = indices[node.parent] else {
        throw .unknownParent(Int(node.parent.rawValue), nodeCount: count)
      }
      guard node.token.rawValue < vocabularyCount else {
        throw .unknownToken(node.token, vocabularyCount: vocabularyCount)
      }
      // Parents come before their children, so the rest is no shallower.
      guard count <= countMax, depths[parent] < depthMax else { break }
      let index = try add(node.token, below: parent, isCertain: laws[node.parent] == nil)
      indices[node.id] = index
      if let law = laws[node.id] { try setLaw(law, ofChildrenOf: index) }
    }
    try check(for: rule)
  }
}

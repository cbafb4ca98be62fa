package import InferenceTypes

/// The law that a draft model draws from, in the form in which it comes with the drafts: its most
/// probable tokens, with whole numbers for weights, so that both ends make exactly the same law.
///
/// What is cut off is never drawn, so the law has no rest.
package struct DraftLaw: Sendable, Equatable {
  /// Most tokens of a law.
  package static let entryMax = 64
  /// Weight of the most probable token.
  package static let weightMax = UInt16.max

  /// Strictly increasing.
  package let tokens: [TokenID]
  /// Each at least 1.
  package let weights: [UInt16]

  /// The nearest such law.
  package init(_ law: TokenDistribution) {
    let short = law.truncated(to: Self.entryMax, keepsRest: false)
    let largest = short.probabilities.max() ?? 1
    tokens = short.tokens
    weights = short.probabilities.map {
      max(1, UInt16(($0 / largest * Double(Self.weightMax)).rounded()))
    }
  }

  /// The law itself.
  ///
  /// - Throws: ``VerificationError`` where the tokens are none, not in the vocabulary, or out of
  ///   order.
  package func distribution(
    vocabularyCount: Int
  ) throws(VerificationError) -> TokenDistribution {
    try TokenDistribution(
      tokens: tokens, weights: weights.map(Double.init), vocabularyCount: vocabularyCount)
  }
}

/// How a draft model drafts for the rules that need to know the law of its draws: a chain of first
/// draws, with further draws beside it where the rule has a use for them.
///
/// How many draws a place gets depends on nothing that was drawn there, and no draw is dropped, as
/// ``DraftTree`` demands.
package struct DraftDraws: Sendable {
  /// How the draws of one place came about.
  package let siblingDraws: DraftTree.SiblingDraws
  /// Draws for each place.
  package let siblingCount: Int
  /// Index in the whole sequence of the token that the tree grows below.
  private let rootPosition: Int
  private let isGreedy: Bool
  private var laws: TokenChooser
  private var numbers: KeyedChooser

  /// Latest tokens that the law of a place depends on.
  package var historyLength: Int { laws.historyLength }

  /// - Parameters:
  ///   - demand: of the rule; it needs the law.
  ///   - sampling: of the session.
  ///   - rootPosition: see above; the name of this step's draws.
  ///   - vocabularyCount: tokens of the model.
  /// - Throws: ``DecodingError`` for a parameter out of its range.
  package init(
    _ demand: DraftDemand, sampling: SamplingParameters, rootPosition: Int, vocabularyCount: Int
  ) throws(DecodingError) {
    precondition(demand.needsLaw, "draws for a rule that needs no law")
    self.rootPosition = rootPosition
    isGreedy = sampling.temperature == 0
    siblingDraws = demand == .independentWithLaw && !isGreedy ? .independent : .withoutReplacement
    switch demand {
    case .treeWithLaw: siblingCount = 2
    case .independentWithLaw: siblingCount = isGreedy ? 1 : 2
    case .chainWithLaw, .tokens, .sharedNoise: siblingCount = 1
    }
    var parameters = sampling
    // A greedy draft is certain; the law only ranks.
    if isGreedy { parameters.temperature = 1 }
    laws = try TokenChooser(parameters: parameters, vocabularyCount: vocabularyCount)
    numbers = KeyedChooser(seed: sampling.seed)
  }

  /// Drafts the token after a node.
  ///
  /// - Shape: `logits`: `[vocabulary]`, the draft model's.
  /// - Parameters:
  ///   - logits: of the node.
  ///   - recent: the context, the node's token last.
  ///   - node: what to draft below.
  ///   - tree: where the drafts go.
  /// - Returns: the draft that the chain goes on below.
  /// - Throws: ``VerificationError/treeTooLarge(nodeMax:)``.
  package mutating func draft(
    logits: Span<Float>, recent: Span<TokenID>, below node: Int, of tree: inout DraftTree
  ) throws(VerificationError) -> Int {
    let whole = laws.distribution(logits: logits, recent: recent)
    let first = tree.count
    guard !isGreedy else {
      let best = whole.truncated(to: siblingCount, keepsRest: false)
      let ranks = best.probabilities.indices.sorted {
        best.probabilities[$0] > best.probabilities[$1]
          || (best.probabilities[$0] == best.probabilities[$1] && $0 < $1)
      }
      for rank in ranks { try tree.add(best.tokens[rank], below: node, isCertain: true) }
      return first
    }
    let law = try DraftLaw(whole).distribution(vocabularyCount: laws.vocabularyCount)
    try tree.setLaw(law, ofChildrenOf: node)
    var left = law
    for _ in 0..<siblingCount {
      let key = RandomKey(.draft, position: rootPosition, index: tree.count)
      let token = numbers.draw(left, key)
      try tree.add(token, below: node)
      guard siblingDraws == .withoutReplacement else { continue }
      guard let others = left.removing(token) else { break }
      left = others
    }
    return first
  }
}

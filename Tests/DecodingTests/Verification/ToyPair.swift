import Decoding
import InferenceTypes
import Testing

/// A target and a drafter whose laws are tables over whole contexts.
struct ToyPair {
  /// How the two laws of a place relate.
  enum Kind: Int, CaseIterable {
    case unrelated
    case targetHasZeros
    case draftHasZeros
    case bothHaveZeros
    case equal
    case disjoint
    case certainTarget
    case certainDraft
    case close
  }

  var kind = Kind.unrelated
  var seed: UInt64 = 0
  var vocabularyCount = 3
  /// Laws that are the same everywhere; tables where `nil`.
  var constant: (target: [Double], draft: [Double])?

  func target(_ context: [TokenID]) -> TokenDistribution { law(weights(context).target) }
  func draft(_ context: [TokenID]) -> TokenDistribution { law(weights(context).draft) }

  /// The target's law after a node.
  func target(after node: Int, of tree: DraftTree) -> TokenDistribution {
    target(tree.path(to: node).dropFirst().map { tree.tokens[$0] })
  }

  private func law(_ weights: [Double]) -> TokenDistribution {
    var rest: [Double] = weights
    if rest.allSatisfy({ $0 == 0 }) { rest[0] = 1 }
    return distribution(rest)
  }

  private func weights(_ context: [TokenID]) -> (target: [Double], draft: [Double]) {
    if let constant { return constant }
    var state = seed
    for token in context {
      var random = SmallRandom(state ^ UInt64(token.rawValue + 1))
      state = random.next()
    }
    var random = SmallRandom(state)
    func table(zeros: Bool) -> [Double] {
      (0..<vocabularyCount).map { _ in
        let weight = Double(random.unit()) + 0.02
        return zeros && random.below(3) == 0 ? 0 : weight
      }
    }
    let both = kind == .bothHaveZeros
    var target = table(zeros: both || kind == .targetHasZeros)
    var draft = table(zeros: both || kind == .draftHasZeros)
    let split = 1 + random.below(vocabularyCount - 1)
    for token in 0..<vocabularyCount {
      switch kind {
      case .equal: draft[token] = target[token]
      case .close: draft[token] = target[token] * (1 + 0.3 * draft[token])
      case .disjoint: if token < split { draft[token] = 0 } else { target[token] = 0 }
      case .certainTarget: if token != split { target[token] = 0 }
      case .certainDraft: if token != split { draft[token] = 0 }
      case .unrelated, .targetHasZeros, .draftHasZeros, .bothHaveZeros: break
      }
    }
    return (target, draft)
  }

  /// Law of the first `length` tokens of decoding without drafts.
  func plainLaw(length: Int) -> [[TokenID]: Double] { extended([[]: 1], to: length) }

  /// Goes on without drafts, or cuts, until all texts have this length.
  func extended(_ law: [[TokenID]: Double], to length: Int) -> [[TokenID]: Double] {
    var result: [[TokenID]: Double] = [:]
    var open = law
    while !open.isEmpty {
      var longer: [[TokenID]: Double] = [:]
      for (text, probability) in open {
        guard text.count < length else {
          result[Array(text.prefix(length)), default: 0] += probability
          continue
        }
        let next = target(text)
        for index in next.tokens.indices {
          longer[text + [next.tokens[index]], default: 0] += probability * next.probabilities[index]
        }
      }
      open = longer
    }
    return result
  }

  /// Largest difference between the law of texts that a rule begins and the target's.
  func error(of law: [[TokenID]: Double], length: Int) -> Double {
    distance(extended(law, to: length), plainLaw(length: length)).maximum
  }

  /// Total variation distance of the same.
  func totalVariation(of law: [[TokenID]: Double], length: Int) -> Double {
    distance(extended(law, to: length), plainLaw(length: length)).sum / 2
  }
}

func distribution(_ weights: [Double]) -> TokenDistribution {
  let tokens = weights.indices.map { TokenID(UInt32($0)) }
  guard
    let law = try? TokenDistribution(
      tokens: tokens, weights: weights, vocabularyCount: weights.count)
  else { preconditionFailure("weights \(weights)") }
  return law
}

func distance<Outcome>(
  _ left: [Outcome: Double], _ right: [Outcome: Double]
) -> (maximum: Double, sum: Double) {
  var maximum = 0.0
  var sum = 0.0
  for outcome in Set(left.keys).union(right.keys) {
    let difference = abs((left[outcome] ?? 0) - (right[outcome] ?? 0))
    maximum = max(maximum, difference)
    sum += difference
  }
  return (maximum, sum)
}

/// What is drafted: the parent of every node after the root, and how each token comes about.
struct DraftPlan {
  var parents: [Int]
  var draws = DraftTree.SiblingDraws.withoutReplacement
  /// Nodes whose tokens are the drafter's most probable ones instead of draws.
  var certain: Set<Int> = []
  /// Entries of the drafter's law that the verifier gets to see; the rest is one number.
  var sentCount: Int?

  static func chain(_ length: Int) -> DraftPlan { DraftPlan(parents: Array(0..<length)) }

  /// Every tree with this many drafts, in every order of growth.
  static func shapes(_ count: Int) -> [[Int]] {
    guard count > 0 else { return [[]] }
    return shapes(count - 1).flatMap { shape in (0..<count).map { shape + [$0] } }
  }

  /// Drafts below the end of `context`; leaves out what the drafter has no token for.
  func draft(
    _ pair: ToyPair, context: [TokenID] = [], rootPosition: Int = 0,
    _ chooser: inout some VerifyChooser
  ) throws -> DraftTree {
    var tree = DraftTree(root: context.last ?? 0, draws: draws)
    var nodes: [Int?] = [0]
    var left: [TokenDistribution?] = []
    func law(after node: Int) -> TokenDistribution {
      pair.draft(context + tree.path(to: node).dropFirst().map { tree.tokens[$0] })
    }
    func state(_ node: Int) throws {
      let law = law(after: node)
      left.append(law)
      let sent = sentCount.map { law.truncated(to: $0, keepsRest: true) } ?? law
      try tree.setLaw(sent, ofChildrenOf: node)
    }
    try state(0)
    for (index, plannedParent) in parents.enumerated() {
      guard let parent = nodes[plannedParent] else {
        nodes.append(nil)
        continue
      }
      if certain.contains(index + 1) {
        let law = law(after: parent)
        let rank = tree.children[parent].filter { tree.isCertain[$0] }.count
        guard rank < law.tokens.count else {
          nodes.append(nil)
          continue
        }
        let ranked = law.tokens.sorted { law.probability(of: $0) > law.probability(of: $1) }
        nodes.append(try tree.add(ranked[rank], below: parent, isCertain: true))
      } else {
        guard let law = left[parent] else {
          nodes.append(nil)
          continue
        }
        let key = RandomKey(.draft, position: rootPosition, index: index)
        let token = chooser.draw(law, key)
        if draws == .withoutReplacement { left[parent] = law.removing(token) }
        nodes.append(try tree.add(token, below: parent))
      }
      try state(tree.count - 1)
    }
    return tree
  }

  /// One step from nothing.
  func verdict(
    by rule: LosslessRule, _ pair: ToyPair, _ chooser: inout some VerifyChooser
  ) throws -> Verdict {
    let tree = try draft(pair, &chooser)
    return try Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser) {
      pair.target(after: $0, of: tree)
    }
  }

  /// Exact law of the tokens that one step decides.
  func law(by rule: LosslessRule, _ pair: ToyPair) throws -> [[TokenID]: Double] {
    try exactLaw { try verdict(by: rule, pair, &$0).tokens }
  }

  /// Exact mean of the number of accepted drafts.
  func expectedAccepted(by rule: LosslessRule, _ pair: ToyPair) throws -> Double {
    try exactMean { Double(try verdict(by: rule, pair, &$0).acceptedCount) }
  }

  /// Steps until `length` tokens are decided.
  func text(
    by rule: LosslessRule, _ pair: ToyPair, length: Int, _ chooser: inout some VerifyChooser
  ) throws -> [TokenID] {
    var text: [TokenID] = []
    while text.count < length {
      let context = text
      let tree = try draft(pair, context: context, rootPosition: text.count, &chooser)
      let step = Verification(tree, rootPosition: text.count)
      let verdict = try step.verdict(by: rule, chooser: &chooser) { node in
        pair.target(context + tree.path(to: node).dropFirst().map { tree.tokens[$0] })
      }
      text += verdict.tokens
    }
    return Array(text.prefix(length))
  }
}

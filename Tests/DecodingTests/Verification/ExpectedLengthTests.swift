import Decoding
import InferenceTypes
import Testing

/// Mean numbers of accepted drafts, exact, and what theory says about them.
@Suite struct ExpectedLengthTests {
  private let first = ToyPair(constant: ([1.0 / 3, 2.0 / 3], [2.0 / 3, 1.0 / 3]))
  private let second = ToyPair(constant: ([0.5, 0.3, 0.2], [0.2, 0.5, 0.3]))

  private func isNear(_ value: Double, _ golden: Double) -> Bool { abs(value - golden) <= 6e-7 }

  @Test func chainsHaveTheirKnownLengths() throws {
    let goldens: [(pair: ToyPair, ratio: [Double], block: [Double])] = [
      (
        first, [0.666_667, 1.111_111, 1.407_407, 1.604_938],
        [0.666_667, 1.222_222, 1.666_667, 2.049_383]
      ),
      (
        second, [0.7, 1.19, 1.533, 1.7731],
        [0.7, 1.25, 1.72, 2.1141]
      ),
    ]
    for golden in goldens {
      for length in 1...4 {
        let plan = DraftPlan.chain(length)
        let ratio = try plan.expectedAccepted(by: .ratio, golden.pair)
        let block = try plan.expectedAccepted(by: .block, golden.pair)
        #expect(isNear(ratio, golden.ratio[length - 1]), "ratio, \(length): \(ratio)")
        #expect(isNear(block, golden.block[length - 1]), "block, \(length): \(block)")
        let traversal = try plan.expectedAccepted(by: .traversal, golden.pair)
        #expect(abs(traversal - block) <= 1e-12)
      }
    }
  }

  @Test func dynamicTreesHaveTheirKnownLengths() throws {
    let goldens: [(pair: ToyPair, rejection: [Double], traversal: [Double])] = [
      (
        first, [0.666_667, 0.888_889, 0.962_963, 1.185_185],
        [0.666_667, 1, 1.111_111, 1.444_444]
      ),
      (
        second, [0.7, 0.808_571, 1.018_571, 1.077_143],
        [0.7, 0.808_571, 1.058_571, 1.133_714]
      ),
    ]
    for golden in goldens {
      for count in 1...4 {
        for (rule, expected) in [
          (LosslessRule.rejection, golden.rejection), (.traversal, golden.traversal),
        ] {
          let pair = golden.pair
          let length = try exactMean { chooser in
            let tree = try dynamicTree(pair, nodeCount: count, &chooser)
            let step = Verification(tree, rootPosition: 0)
            return Double(
              try step.verdict(by: rule, chooser: &chooser) { pair.target(after: $0, of: tree) }
                .acceptedCount)
          }
          #expect(isNear(length, expected[count - 1]), "\(rule), \(count) nodes: \(length)")
        }
      }
    }
  }

  /// Trees whose shape follows from what is drawn keep the law too: each draw is decided on before
  /// its outcome is known.
  @Test func dynamicTreesKeepTheLaw() throws {
    for rule in [LosslessRule.rejection, .traversal, .match] {
      for seed in 0..<18 as Range<UInt64> {
        let pair = ToyPair(
          kind: ToyPair.Kind.allCases[Int(seed) % ToyPair.Kind.allCases.count], seed: seed)
        let law = try exactLaw { chooser in
          let tree = try dynamicTree(pair, nodeCount: 4, &chooser)
          return try Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser) {
            pair.target(after: $0, of: tree)
          }.tokens
        }
        #expect(pair.error(of: law, length: 5) <= 1e-12, "\(rule), \(pair.kind)")
      }
    }
  }

  @Test func sequentialSelectionHasItsKnownDivisors() throws {
    let goldens: [(pair: ToyPair, count: Int, divisor: Double, acceptance: Double)] = [
      (first, 2, 1.434_259, 0.811_420), (first, 3, 1.689_729, 0.896_576),
      (second, 2, 1.456_776, 0.791_355), (second, 3, 1.792_593, 0.858_519),
    ]
    for golden in goldens {
      let selection = SequentialSelection(
        target: golden.pair.target([]), draft: golden.pair.draft([]),
        candidateCount: golden.count)
      #expect(isNear(selection.divisor, golden.divisor))
      #expect(isNear(selection.acceptance, golden.acceptance))
      let plan = DraftPlan(
        parents: [Int](repeating: 0, count: golden.count), draws: .independent)
      let accepted = try plan.expectedAccepted(by: .kSequential, golden.pair)
      #expect(abs(accepted - selection.acceptance) <= 1e-12)
    }
  }

  /// Two independent chains of two: after equal first tokens both go on, and both second tokens are
  /// candidates.
  @Test func equalCandidatesGoOnTogether() throws {
    for pair in [first, second] {
      let p = pair.target([])
      let q = pair.draft([])
      let two = SequentialSelection(target: p, draft: q, candidateCount: 2)
      let one = SequentialSelection(target: p, draft: q, candidateCount: 1)
      var expected = 0.0
      for x in q.tokens {
        for y in q.tokens {
          let taken = [x, y].map {
            min(1, p.probability(of: $0) / (two.divisor * q.probability(of: $0)))
          }
          let any = taken[0] + (1 - taken[0]) * taken[1]
          let next = x == y ? two.acceptance : one.acceptance
          expected += q.probability(of: x) * q.probability(of: y) * any * (1 + next)
        }
      }
      let plan = DraftPlan(parents: [0, 0, 1, 2], draws: .independent)
      let accepted = try plan.expectedAccepted(by: .kSequential, pair)
      #expect(abs(accepted - expected) <= 1e-12, "\(accepted), \(expected)")
    }
  }

  /// One draft: the sum of min(p, q) is the most that any rule can accept, and the rules with q do.
  @Test func oneDraftIsAcceptedAsOftenAsCanBe() throws {
    for seed in 0..<36 as Range<UInt64> {
      let pair = ToyPair(
        kind: ToyPair.Kind.allCases[Int(seed) % ToyPair.Kind.allCases.count], seed: seed)
      let p = pair.target([])
      let q = pair.draft([])
      let overlap = p.tokens.reduce(0) { $0 + min(p.probability(of: $1), q.probability(of: $1)) }
      for rule in [LosslessRule.ratio, .rejection, .kSequential, .block, .traversal] {
        let accepted = try DraftPlan.chain(1).expectedAccepted(by: rule, pair)
        #expect(abs(accepted - overlap) <= 1e-12, "\(rule), \(pair.kind)")
      }
      let match = try DraftPlan.chain(1).expectedAccepted(by: .match, pair)
      #expect(match <= overlap + 1e-12)
    }
  }

  @Test func wholePathsAreNeverWorseThanSingleTokens() throws {
    var gains = (block: 0, traversal: 0)
    for seed in 0..<45 as Range<UInt64> {
      let pair = ToyPair(
        kind: ToyPair.Kind.allCases[Int(seed) % ToyPair.Kind.allCases.count], seed: seed)
      for length in 2...3 {
        let ratio = try DraftPlan.chain(length).expectedAccepted(by: .ratio, pair)
        let block = try DraftPlan.chain(length).expectedAccepted(by: .block, pair)
        #expect(block >= ratio - 1e-12, "chain of \(length), \(pair.kind) \(seed)")
        if block > ratio + 1e-3 { gains.block += 1 }
      }
      for shape in [[0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 0, 1, 2]] {
        let plan = DraftPlan(parents: shape)
        let rejection = try plan.expectedAccepted(by: .rejection, pair)
        let traversal = try plan.expectedAccepted(by: .traversal, pair)
        #expect(traversal >= rejection - 1e-12, "\(shape), \(pair.kind) \(seed)")
        if traversal > rejection + 1e-3 { gains.traversal += 1 }
      }
    }
    #expect(gains.block > 20 && gains.traversal > 40, "\(gains)")
  }

  /// A sibling more never hurts, and draws without replacement waste none.
  @Test func siblingsHelp() throws {
    for seed in 0..<27 as Range<UInt64> {
      let pair = ToyPair(
        kind: ToyPair.Kind.allCases[Int(seed) % ToyPair.Kind.allCases.count], seed: seed)
      func accepted(_ rule: LosslessRule, _ count: Int, _ draws: DraftTree.SiblingDraws) throws
        -> Double
      {
        try DraftPlan(parents: [Int](repeating: 0, count: count), draws: draws)
          .expectedAccepted(by: rule, pair)
      }
      for count in 1...2 {
        for (rule, draws) in [
          (LosslessRule.rejection, DraftTree.SiblingDraws.withoutReplacement),
          (.traversal, .withoutReplacement), (.match, .withoutReplacement),
          (.rejection, .independent), (.kSequential, .independent),
        ] {
          let fewer = try accepted(rule, count, draws)
          let more = try accepted(rule, count + 1, draws)
          #expect(more >= fewer - 1e-12, "\(rule), \(draws), \(pair.kind) \(seed)")
        }
        let without = try accepted(.rejection, count + 1, .withoutReplacement)
        let with = try accepted(.rejection, count + 1, .independent)
        #expect(without >= with - 1e-12, "\(pair.kind) \(seed)")
      }
    }
  }
}

/// The tree that a drafter grows which always draws where a draft is most probable to be tested
/// and accepted, if the drafter's probabilities were the target's (DySpec).
private func dynamicTree(
  _ pair: ToyPair, nodeCount: Int, _ chooser: inout some VerifyChooser
) throws -> DraftTree {
  var tree = DraftTree(root: 0)
  var open: [(value: Double, order: Int, node: Int, law: TokenDistribution)] = [
    (1, 0, 0, pair.draft([]))
  ]
  var order = 0
  try tree.setLaw(pair.draft([]), ofChildrenOf: 0)
  while tree.count - 1 < nodeCount {
    guard
      let best = open.indices.max(by: {
        open[$0].value < open[$1].value
          || (open[$0].value == open[$1].value && open[$0].order > open[$1].order)
      })
    else { break }
    let entry = open.remove(at: best)
    let token = chooser.draw(
      entry.law, RandomKey(.draft, position: 0, index: tree.count))
    let node = try tree.add(token, below: entry.node)
    let probability = entry.law.probability(of: token)
    if let rest = entry.law.removing(token) {
      order += 1
      open.append((entry.value * (1 - probability), order, entry.node, rest))
    }
    let law = pair.draft(tree.path(to: node).dropFirst().map { tree.tokens[$0] })
    try tree.setLaw(law, ofChildrenOf: node)
    order += 1
    open.append((entry.value * probability, order, node, law))
  }
  return tree
}

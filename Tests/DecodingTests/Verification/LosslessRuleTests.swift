import Decoding
import InferenceTypes
import Testing

/// The exact law of every lossless rule, by enumeration of all drafts and decisions.
@Suite struct LosslessRuleTests {
  /// Larger errors are no rounding.
  private let tolerance = 1e-12

  /// Tables of every kind.
  private func pairs(_ count: Int, vocabularyCount: Int = 3) -> [ToyPair] {
    (0..<count).map { index in
      ToyPair(
        kind: ToyPair.Kind.allCases[index % ToyPair.Kind.allCases.count],
        seed: UInt64(index), vocabularyCount: vocabularyCount)
    }
  }

  private func check(
    _ rule: LosslessRule, _ plan: DraftPlan, _ pair: ToyPair, length: Int = 4
  ) throws {
    let error = pair.error(of: try plan.law(by: rule, pair), length: length)
    #expect(error <= tolerance, "\(rule), \(plan), \(pair.kind) \(pair.seed): off by \(error)")
  }

  @Test(arguments: LosslessRule.allCases)
  func chainsKeepTheLaw(rule: LosslessRule) throws {
    for pair in pairs(63) {
      for length in 0...3 { try check(rule, .chain(length), pair) }
    }
  }

  @Test(arguments: [LosslessRule.match, .gumbelMatch, .rejection, .traversal])
  func everyTreeOfFiveNodesKeepsTheLaw(rule: LosslessRule) throws {
    for count in 1...4 {
      for (index, shape) in DraftPlan.shapes(count).enumerated() {
        for kind in ToyPair.Kind.allCases where count < 4 || kind.rawValue % 3 == index % 3 {
          let pair = ToyPair(kind: kind, seed: UInt64(index))
          try check(rule, DraftPlan(parents: shape), pair, length: 5)
        }
      }
    }
  }

  @Test(arguments: [LosslessRule.match, .rejection, .traversal, .kSequential])
  func independentSiblingsKeepTheLaw(rule: LosslessRule) throws {
    for count in 1...4 {
      for (index, shape) in DraftPlan.shapes(count).enumerated() {
        for kind in ToyPair.Kind.allCases where count < 4 || kind.rawValue % 3 == index % 3 {
          let pair = ToyPair(kind: kind, seed: UInt64(index) + 100)
          try check(rule, DraftPlan(parents: shape, draws: .independent), pair, length: 5)
        }
      }
    }
  }

  /// Token 3 and others are drawn but never named.
  @Test(arguments: LosslessRule.allCases)
  func aRestThatIsNotSentKeepsTheLaw(rule: LosslessRule) throws {
    let isForChains = rule.rule.demand == .chainWithLaw
    let draws: [DraftTree.SiblingDraws] =
      switch rule {
      case .kSequential: [.independent]
      case .rejection, .traversal: [.independent, .withoutReplacement]
      case .gumbelMatch, .match, .ratio, .block: [.withoutReplacement]
      }
    let shapes =
      isForChains ? [[0], [0, 1], [0, 1, 2]] : [[0], [0, 1], [0, 0], [0, 0, 1], [0, 0, 0]]
    for pair in pairs(27, vocabularyCount: 4) {
      for shape in shapes {
        for sentCount in [1, 2] {
          for draws in draws {
            try check(
              rule, DraftPlan(parents: shape, draws: draws, sentCount: sentCount), pair, length: 3)
          }
        }
      }
    }
  }

  /// Tokens that were found instead of drawn, alone and among drawn ones.
  @Test func certainDraftsKeepTheLaw() throws {
    for rule in [LosslessRule.match, .gumbelMatch, .ratio, .rejection, .block, .traversal] {
      let isForChains = rule.rule.demand == .chainWithLaw
      for count in 1...3 {
        let shapes = isForChains ? [Array(0..<count)] : DraftPlan.shapes(count)
        for (index, shape) in shapes.enumerated() {
          for mask in 1..<1 << count {
            let certain = Set((1...count).filter { mask >> ($0 - 1) & 1 == 1 })
            for kind in [ToyPair.Kind.unrelated, .targetHasZeros, .certainTarget, .close] {
              try check(
                rule, DraftPlan(parents: shape, certain: certain),
                ToyPair(kind: kind, seed: UInt64(index + 10 * mask)))
            }
          }
        }
      }
    }
    for pair in pairs(27) {
      // A lone candidate for each place is independent, however it came about.
      try check(.kSequential, DraftPlan(parents: [0, 1, 2], certain: [1, 3]), pair)
      for count in 1...3 {
        try check(
          .kSequential,
          DraftPlan(parents: [Int](repeating: 0, count: count), draws: .independent),
          ToyPair(kind: .certainDraft, seed: pair.seed))
      }
    }
  }

  /// Later steps decide anew about places that earlier ones have looked at.
  @Test(arguments: LosslessRule.allCases)
  func manyStepsKeepTheLawAndNeverUseANumberTwice(rule: LosslessRule) throws {
    let draws: DraftTree.SiblingDraws =
      rule == .kSequential ? .independent : .withoutReplacement
    let shape = rule.rule.demand == .chainWithLaw ? [0, 1] : [0, 0]
    for pair in pairs(9) {
      let plan = DraftPlan(parents: shape, draws: draws)
      var law: [[TokenID]: Double] = [:]
      var repeated: RandomKey?
      try forEachOutcome { chooser in
        let text = try plan.text(by: rule, pair, length: 3, &chooser)
        law[text, default: 0] += chooser.weight
        repeated = repeated ?? chooser.repeatedKey
      }
      #expect(repeated == nil, "\(rule), \(pair.kind)")
      #expect(pair.error(of: law, length: 3) <= tolerance, "\(rule), \(pair.kind)")
    }
  }

  /// On a chain, rules that are the same by their theory give the same verdicts.
  @Test func rulesAgreeOnChains() throws {
    for pair in pairs(27) {
      for length in 1...3 {
        let plan = DraftPlan.chain(length)
        func law(_ rule: LosslessRule) throws -> [Verdict.Identity: Double] {
          try exactLaw { Verdict.Identity(try plan.verdict(by: rule, pair, &$0)) }
        }
        #expect(distance(try law(.ratio), try law(.rejection)).maximum == 0)
        #expect(distance(try law(.ratio), try law(.kSequential)).maximum <= tolerance)
        #expect(distance(try law(.block), try law(.traversal)).maximum <= tolerance)
        #expect(distance(try law(.match), try law(.gumbelMatch)).maximum == 0)
      }
    }
  }

  @Test func nothingIsDraftedNothingIsAccepted() throws {
    let law = distribution([0.2, 0.3, 0.5])
    for rule in LosslessRule.allCases {
      var chooser = KeyedChooser(seed: 3)
      let step = Verification(DraftTree(root: 1), rootPosition: 7)
      let verdict = try step.verdict(by: rule, chooser: &chooser) { _ in law }
      #expect(verdict.acceptedPath == [0])
      #expect(verdict.tokens.count == 1)
      #expect(!verdict.isCorrected)
    }
  }

  /// Rules that go down from the root leave the other branches alone.
  @Test func lawsAreAskedForAtMostOnceForEachNode() throws {
    for rule in LosslessRule.allCases {
      let draws: DraftTree.SiblingDraws =
        rule == .kSequential ? .independent : .withoutReplacement
      let shape = rule.rule.demand == .chainWithLaw ? [0, 1, 2] : [0, 0, 1, 2]
      let pair = ToyPair(kind: .unrelated, seed: 5)
      for seed in 0..<200 as Range<UInt64> {
        var chooser = KeyedChooser(seed: seed)
        let tree = try DraftPlan(parents: shape, draws: draws).draft(pair, &chooser)
        var asked: [Int] = []
        let verdict = try Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser) {
          asked.append($0)
          return pair.target(after: $0, of: tree)
        }
        #expect(Set(asked).count == asked.count, "\(rule), seed \(seed)")
        switch rule {
        case .block, .traversal: break
        default: #expect(asked.count == verdict.acceptedPath.count, "\(rule), seed \(seed)")
        }
      }
    }
  }
}

extension Verdict {
  /// A verdict without the numbers of nodes.
  struct Identity: Hashable {
    let tokens: [TokenID]
    let acceptedCount: Int

    init(_ verdict: Verdict) {
      tokens = verdict.tokens
      acceptedCount = verdict.acceptedCount
    }
  }
}

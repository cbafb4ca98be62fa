import Decoding
import Foundation
import InferenceTypes
import Testing

/// The rules with the numbers of production: laws by many seeds, texts by one.
@Suite struct SampledRuleTests {
  /// A plan that each rule can judge.
  private func plan(_ rule: LosslessRule) -> DraftPlan {
    switch rule {
    case .ratio, .block: .chain(2)
    case .kSequential: DraftPlan(parents: [0, 0, 1, 2], draws: .independent)
    case .gumbelMatch, .match, .rejection, .traversal: DraftPlan(parents: [0, 0, 1])
    }
  }

  /// How many standard deviations the statistic of a chi-square test lies above its mean
  /// (Wilson and Hilferty).
  private func surprise(_ counts: [[TokenID]: Int], _ law: [[TokenID]: Double]) -> Double {
    let total = Double(counts.values.reduce(0, +))
    var statistic = 0.0
    var cells = 0
    var pooled = (expected: 0.0, observed: 0.0)
    for (text, probability) in law {
      let expected = probability * total
      let observed = Double(counts[text] ?? 0)
      guard expected >= 5 else {
        pooled = (pooled.expected + expected, pooled.observed + observed)
        continue
      }
      statistic += (observed - expected) * (observed - expected) / expected
      cells += 1
    }
    if pooled.expected >= 1 {
      let difference = pooled.observed - pooled.expected
      statistic += difference * difference / pooled.expected
      cells += 1
    }
    let freedom = Double(cells - 1)
    let spread = 2 / (9 * freedom)
    return (Foundation.cbrt(statistic / freedom) - (1 - spread)) / spread.squareRoot()
  }

  private func surprise(
    _ rule: LosslessRule, _ pair: ToyPair, seeds: Range<UInt64>,
    chooser: (UInt64) -> some VerifyChooser
  ) throws -> Double {
    let plan = plan(rule)
    var counts: [[TokenID]: Int] = [:]
    for seed in seeds {
      var chooser = chooser(seed)
      counts[try plan.text(by: rule, pair, length: 3, &chooser), default: 0] += 1
    }
    return surprise(counts, pair.plainLaw(length: 3))
  }

  /// One in a million correct rules would fail; the seeds are fixed, so none does by chance.
  @Test(arguments: LosslessRule.allCases)
  func manySeedsGiveTheTargetsLaw(rule: LosslessRule) throws {
    for (index, kind) in [ToyPair.Kind.unrelated, .close].enumerated() {
      let pair = ToyPair(kind: kind, seed: UInt64(40 + index))
      let first = UInt64(index) << 32
      let surprise = try surprise(rule, pair, seeds: first..<first + 40_000) {
        KeyedChooser(seed: $0)
      }
      #expect(surprise < 4.75, "\(rule), \(kind): \(surprise)")
    }
  }

  /// Uses one number for all tests of a session.
  private struct CarelessChooser: VerifyChooser {
    let numbers: KeyedChooser

    mutating func happens(_ probability: Double, _ key: RandomKey) -> Bool {
      numbers.happens(probability, RandomKey(.acceptance, position: 0))
    }

    mutating func draw(_ law: TokenDistribution, _ key: RandomKey) -> TokenID {
      numbers.draw(law, key)
    }
  }

  /// Names tests after the place of the token instead of the step: the next step then decides with
  /// numbers that this one has looked at.
  private struct PlaceChooser: VerifyChooser {
    let numbers: KeyedChooser

    mutating func happens(_ probability: Double, _ key: RandomKey) -> Bool {
      numbers.happens(
        probability, RandomKey(.acceptance, position: key.position + key.index - 1))
    }

    mutating func draw(_ law: TokenDistribution, _ key: RandomKey) -> TokenID {
      numbers.draw(law, key)
    }
  }

  @Test func numbersThatAreUsedTwiceShow() throws {
    let pair = ToyPair(kind: .unrelated, seed: 40)
    let careless = try surprise(.ratio, pair, seeds: 0..<40_000) {
      CarelessChooser(numbers: KeyedChooser(seed: $0))
    }
    #expect(careless > 6, "\(careless)")
    let pairs =
      [ToyPair(constant: ([1.0 / 3, 2.0 / 3], [2.0 / 3, 1.0 / 3]))]
      + (41..<45).map { ToyPair(kind: .unrelated, seed: $0) }
    let place =
      try pairs.map { pair in
        try surprise(.block, pair, seeds: 0..<40_000) {
          PlaceChooser(numbers: KeyedChooser(seed: $0))
        }
      }.max() ?? 0
    #expect(place > 6, "\(place)")
  }

  @Test func numbersAreEvenAndDiffer() {
    let chooser = KeyedChooser(seed: 9)
    var seen: Set<Double> = []
    var sum = 0.0
    var squares = 0.0
    var count = 0.0
    for purpose in RandomPurpose.allCases {
      for position in 0..<40 {
        for index in 0..<40 {
          let number = chooser.uniform(RandomKey(purpose, position: position, index: index))
          #expect(number > 0 && number < 1)
          seen.insert(number)
          sum += number
          squares += number * number
          count += 1
        }
      }
    }
    #expect(seen.count == Int(count))
    #expect(abs(sum / count - 0.5) < 0.01)
    #expect(abs(squares / count - 1.0 / 3) < 0.01)
    #expect(
      KeyedChooser(seed: 10).uniform(RandomKey(.draft, position: 0))
        != chooser.uniform(RandomKey(.draft, position: 0)))
  }

  @Test func theSameSeedGivesTheSameText() throws {
    for rule in LosslessRule.allCases {
      var texts: Set<[TokenID]> = []
      for seed in 0..<20 as Range<UInt64> {
        let pair = ToyPair(kind: .close, seed: 3)
        var first = KeyedChooser(seed: seed)
        var second = KeyedChooser(seed: seed)
        let text = try plan(rule).text(by: rule, pair, length: 12, &first)
        #expect(try plan(rule).text(by: rule, pair, length: 12, &second) == text)
        texts.insert(text)
      }
      #expect(texts.count > 10, "\(rule)")
    }
  }

  /// Under both rules of equality, drafts change the speed and never the text.
  @Test(arguments: [LosslessRule.match, .gumbelMatch])
  func equalityGivesOneTextForAllDrafts(rule: LosslessRule) throws {
    for seed in 0..<40 as Range<UInt64> {
      let pair = ToyPair(kind: .close, seed: 3, vocabularyCount: 6)
      var plain = KeyedChooser(seed: seed)
      let expected = try DraftPlan(parents: []).text(by: rule, pair, length: 16, &plain)
      for plan in [
        DraftPlan.chain(4), DraftPlan(parents: [0, 0, 1, 1, 2]),
        DraftPlan(parents: [0, 0, 0, 1, 2, 3], draws: .independent),
        DraftPlan(parents: [0, 0, 1, 3], certain: [1, 3]),
      ] {
        for drafter in [pair, ToyPair(kind: .unrelated, seed: 77, vocabularyCount: 6)] {
          var chooser = KeyedChooser(seed: seed)
          var text: [TokenID] = []
          while text.count < expected.count {
            let context = text
            let tree = try plan.draft(
              drafter, context: context, rootPosition: text.count, &chooser)
            let step = Verification(tree, rootPosition: text.count)
            text += try step.verdict(by: rule, chooser: &chooser) { node in
              pair.target(context + tree.path(to: node).dropFirst().map { tree.tokens[$0] })
            }.tokens
          }
          #expect(Array(text.prefix(expected.count)) == expected, "seed \(seed), \(plan)")
        }
      }
    }
  }

  /// With the noise of the session, a drafter guesses much better than without; never worse than
  /// the bound of the coupling.
  @Test func sharedNoiseMakesDraftsAgree() throws {
    let pair = ToyPair(kind: .close, seed: 11, vocabularyCount: 8)
    let p = pair.target([])
    let q = pair.draft([])
    let apart = p.tokens.reduce(0) { $0 + abs(p.probability(of: $1) - q.probability(of: $1)) } / 2
    let equal = p.tokens.reduce(0) { $0 + p.probability(of: $1) * q.probability(of: $1) }
    var shared = 0
    var own = 0
    let count = 20_000
    for seed in 0..<UInt64(count) {
      for rule in [LosslessRule.gumbelMatch, .match] {
        var chooser = KeyedChooser(seed: seed)
        var tree = DraftTree(root: 0)
        try tree.add(
          chooser.draw(q, RandomKey(.sharedNoise, position: 1)), below: 0, isCertain: true)
        let accepted = try Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser)
        {
          pair.target(after: $0, of: tree)
        }.acceptedCount
        if rule == .gumbelMatch { shared += accepted } else { own += accepted }
      }
    }
    #expect(Double(shared) / Double(count) > (1 - apart) / (1 + apart) - 0.01)
    #expect(abs(Double(own) / Double(count) - equal) < 0.02)
  }

  /// At temperature 0 every rule gives the chain of largest logits, whatever is drafted.
  @Test func temperatureZeroGivesTheLargestLogits() throws {
    var parameters = SamplingParameters()
    parameters.temperature = 0
    var tokenChooser = try TokenChooser(parameters: parameters, vocabularyCount: 5)
    let model = ToyModel(seed: 8)
    func greedy(_ context: [TokenID]) -> TokenDistribution {
      let row = model.row(context[...])
      return tokenChooser.distribution(logits: row.span, recent: context.span)
    }
    var expected: [TokenID] = []
    while expected.count < 24 {
      let row = model.row(expected[...])
      expected.append(topEntries(row, count: 1)[0].token)
    }
    for rule in LosslessRule.allCases {
      for kind in [ToyPair.Kind.unrelated, .certainDraft, .draftHasZeros] {
        let drafter = ToyPair(kind: kind, seed: 2, vocabularyCount: 5)
        var chooser = KeyedChooser(seed: 6)
        var text: [TokenID] = []
        while text.count < 24 {
          let context = text
          let tree = try plan(rule).draft(
            drafter, context: context, rootPosition: text.count, &chooser)
          let step = Verification(tree, rootPosition: text.count)
          text += try step.verdict(by: rule, chooser: &chooser) { node in
            greedy(context + tree.path(to: node).dropFirst().map { tree.tokens[$0] })
          }.tokens
        }
        #expect(Array(text.prefix(24)) == expected, "\(rule), \(kind)")
      }
    }
  }
}

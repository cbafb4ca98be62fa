import Decoding
import InferenceTypes
import Testing

@Suite struct DraftLawTests {
  private func logits(_ count: Int) -> [Float] {
    var random = SmallRandom(5)
    return (0..<count).map { _ in Float(random.unit()) * 8 }
  }

  private func draws(
    _ demand: DraftDemand, temperature: Float = 1, seed: UInt64 = 0, count: Int
  ) throws -> DraftDraws {
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    sampling.seed = seed
    return try DraftDraws(demand, sampling: sampling, rootPosition: 3, vocabularyCount: count)
  }

  @Test func aLawIsShortAndTheSameAtBothEnds() throws {
    var chooser = try TokenChooser(parameters: SamplingParameters(), vocabularyCount: 300)
    let whole = chooser.distribution(logits: logits(300).span, recent: Span())
    let sent = DraftLaw(whole)
    #expect(sent.tokens.count == DraftLaw.entryMax && sent.weights.count == sent.tokens.count)
    #expect(sent.weights.max() == DraftLaw.weightMax && sent.weights.allSatisfy { $0 >= 1 })
    let law = try sent.distribution(vocabularyCount: 300)
    #expect(law.rest == 0 && law.tokens == sent.tokens)
    let short = whole.truncated(to: DraftLaw.entryMax, keepsRest: false)
    for token in law.tokens {
      #expect(abs(law.probability(of: token) - short.probability(of: token)) < 1e-4)
    }
    // A law of quantised weights quantises to itself.
    #expect(DraftLaw(law) == sent)
    #expect(throws: VerificationError.self) { try sent.distribution(vocabularyCount: 10) }
  }

  /// Frequencies of first draws follow the law that comes with them.
  @Test func drawsFollowTheLawThatComesWithThem() throws {
    let row = logits(12)
    var counts: [TokenID: Int] = [:]
    var law: TokenDistribution?
    let count = 4000
    for seed in 0..<UInt64(count) {
      var draws = try draws(.treeWithLaw, seed: seed, count: 12)
      var tree = DraftTree(root: 0, draws: draws.siblingDraws)
      let node = try draws.draft(logits: row.span, recent: Span(), below: 0, of: &tree)
      #expect(node == 1 && tree.children[0] == [1, 2] && tree.tokens[1] != tree.tokens[2])
      counts[tree.tokens[1], default: 0] += 1
      law = tree.laws[0]
      try tree.check(for: .rejection)
    }
    let stated = try #require(law)
    var statistic = 0.0
    for token in stated.tokens where stated.probability(of: token) * Double(count) >= 5 {
      let expected = stated.probability(of: token) * Double(count)
      let difference = Double(counts[token] ?? 0) - expected
      statistic += difference * difference / expected
    }
    // The 0.99999 quantile of chi-square with 11 degrees of freedom is 43.
    #expect(statistic < 43, "\(statistic)")
  }

  @Test(arguments: [VerifyRule.ratio, .rejection, .kSequential, .block, .traversal])
  func draftsFitTheirRule(rule: VerifyRule) throws {
    for temperature in [0, 0.8] as [Float] {
      var draws = try draws(rule.demand, temperature: temperature, count: 12)
      var tree = DraftTree(root: 0, draws: draws.siblingDraws)
      var node = 0
      for _ in 0..<3 {
        node = try draws.draft(logits: logits(12).span, recent: Span(), below: node, of: &tree)
      }
      try tree.check(for: rule)
      #expect(tree.count == 1 + 3 * draws.siblingCount)
      #expect(tree.isCertain.dropFirst().allSatisfy { $0 == (temperature == 0) })
    }
  }
}

import Decoding
import InferenceTypes
import Testing

@Suite struct LossyRuleTests {
  /// Laws that depend on the number of tokens since the root only.
  private func verdict(
    _ rule: LossyRule, _ nodes: [(token: TokenID, parent: Int)], _ laws: [[Double]],
    seed: UInt64 = 0
  ) throws -> LossyVerdict {
    var tree = DraftTree(root: 0)
    for node in nodes { try tree.add(node.token, below: node.parent, isCertain: true) }
    var chooser = KeyedChooser(seed: seed)
    return Verification(tree, rootPosition: 4).verdict(by: rule, chooser: &chooser) {
      distribution(laws[min(tree.depths[$0], laws.count - 1)])
    }
  }

  private func chain(_ tokens: [TokenID]) -> [(token: TokenID, parent: Int)] {
    tokens.enumerated().map { ($0.element, $0.offset) }
  }

  @Test func typicalAcceptanceComparesWithTheEntropy() throws {
    // exp(-H) of this law is 0.4425, so the threshold is the smaller of 0.09 and 0.1327.
    let law = [0.6, 0.3, 0.091, 0.009]
    let rule = LossyRule.typical(try TypicalAcceptance())
    for (token, isAccepted) in [(0, true), (1, true), (2, true), (3, false)] {
      let result = try verdict(rule, chain([TokenID(UInt32(token))]), [law])
      #expect(result.verdict.acceptedCount == (isAccepted ? 1 : 0), "token \(token)")
      #expect(result.relaxedCount == (isAccepted && token > 0 ? 1 : 0))
    }
    // In an even law every token is typical: the threshold falls with the entropy.
    let even = [Double](repeating: 1, count: 40)
    #expect(try verdict(rule, chain([30]), [even]).verdict.acceptedCount == 1)
    let strict = LossyRule.typical(try TypicalAcceptance(probabilityMin: 0.5, entropyScale: 0.9))
    #expect(try verdict(strict, chain([1]), [law]).verdict.acceptedCount == 0)
    // What follows is never below the threshold either.
    for seed in 0..<200 as Range<UInt64> {
      #expect(try verdict(rule, [], [law], seed: seed).verdict.tokens != [3])
    }
  }

  @Test func typicalAcceptanceTakesTheDeepestPath() throws {
    let rule = LossyRule.typical(try TypicalAcceptance())
    let law = [0.5, 0.3, 0.2]
    // Three paths of two: the one with the largest product wins, the shorter ones do not.
    let nodes: [(TokenID, Int)] = [(0, 0), (1, 0), (2, 1), (1, 1), (0, 2)]
    let result = try verdict(rule, nodes, [law])
    #expect(result.verdict.acceptedPath == [0, 1, 4])
    #expect(result.relaxedCount == 1)
    let refused = try verdict(rule, [(0, 0), (1, 1), (2, 0)], [law, [1, 0, 0]])
    #expect(refused.verdict.acceptedPath == [0, 1])
    #expect(refused.verdict.tokens == [0, 0])
  }

  /// What a client says of a rule is what judges its drafts.
  @Test func theSettingsOfAClientCount() throws {
    func choice(_ parameters: VerifyRuleParameters, topK: Int = 0) throws -> RuleChoice {
      var sampling = SamplingParameters()
      sampling.topK = topK
      return try RuleChoice(parameters, sampling: sampling, vocabularyCount: 100)
    }
    var typical = VerifyRuleParameters(.typical)
    typical.typicalProbability = 0.125
    typical.typicalEntropy = 0.5
    let threshold = try TypicalAcceptance(probabilityMin: 0.125, entropyScale: 0.5)
    #expect(try choice(typical) == .lossy(.typical(threshold)))
    var relaxed = VerifyRuleParameters(.relaxed)
    relaxed.relaxedCandidates = 3
    relaxed.relaxedMargin = 0.25
    let candidates = try RelaxedAcceptance(candidateCount: 3, margin: 0.25)
    #expect(try choice(relaxed) == .lossy(.relaxed(candidates)))
    var deferred = VerifyRuleParameters(.deferred)
    deferred.deferredWindow = 2
    for (entropy, topK, expected) in [
      (1.5, 40, 1.5), (nil, 40, 0.3 * ExactMath.log(40)), (nil, 0, 0.3 * ExactMath.log(100)),
    ] as [(Double?, Int, Double)] {
      deferred.deferredEntropy = entropy
      let settings = try DeferredAcceptance(entropyMin: expected, windowLength: 2)
      #expect(try choice(deferred, topK: topK) == .lossy(.deferred(settings)))
    }
    #expect(try choice(VerifyRuleParameters(.ratio)) == .lossless(.ratio))
  }

  @Test func relaxedAcceptanceLooksAtRankAndMargin() throws {
    let law = [0.4, 0.35, 0.15, 0.1]
    func accepted(_ count: Int, _ margin: Double, _ token: TokenID) throws -> LossyVerdict {
      let settings = try RelaxedAcceptance(candidateCount: count, margin: margin, isGreedy: true)
      return try verdict(.relaxed(settings), chain([token]), [law])
    }
    #expect(try accepted(0, 1, 0).verdict.acceptedCount == 1)
    #expect(try accepted(0, 1, 0).relaxedCount == 0)
    #expect(try accepted(0, 1, 1).verdict.tokens == [0])
    #expect(try accepted(1, 1, 1).verdict.acceptedCount == 0)
    #expect(try accepted(2, 0.06, 1).relaxedCount == 1)
    #expect(try accepted(2, 0.04, 1).relaxedCount == 0)
    #expect(try accepted(2, 1, 2).relaxedCount == 0)
    #expect(try accepted(3, 1, 2).relaxedCount == 1)
    let settings = try RelaxedAcceptance(
      candidateCount: 4, margin: 1, isGreedy: true, strictTokens: [1])
    #expect(try verdict(.relaxed(settings), chain([1]), [law]).verdict.acceptedCount == 0)
    // The target's own choice first, then the most probable draft.
    let all = LossyRule.relaxed(try RelaxedAcceptance(candidateCount: 4, margin: 1, isGreedy: true))
    #expect(try verdict(all, [(1, 0), (0, 0)], [law]).verdict.acceptedPath == [0, 2])
    #expect(try verdict(all, [(3, 0), (2, 0)], [law]).verdict.acceptedPath == [0, 2])
    #expect(try verdict(all, [(3, 0)], [[0.5, 0.5, 0, 0]]).verdict.acceptedCount == 0)
  }

  /// Settings that relax nothing leave the lossless rule, token by token.
  @Test func nothingRelaxedIsLossless() throws {
    let rules: [LossyRule] = [
      .relaxed(try RelaxedAcceptance(candidateCount: 0)),
      .deferred(try DeferredAcceptance(entropyMin: 10)),
      .deferred(try DeferredAcceptance(entropyMin: 0, windowLength: 9)),
    ]
    let pair = ToyPair(kind: .close, seed: 4, vocabularyCount: 5)
    for seed in 0..<100 as Range<UInt64> {
      var chooser = KeyedChooser(seed: seed)
      let tree = try DraftPlan(parents: [0, 0, 1, 2, 3, 3]).draft(pair, &chooser)
      let step = Verification(tree, rootPosition: 0)
      let exact = try step.verdict(by: .gumbelMatch, chooser: &chooser) {
        pair.target(after: $0, of: tree)
      }
      for rule in rules {
        let result = step.verdict(by: rule, chooser: &chooser) { pair.target(after: $0, of: tree) }
        #expect(result.verdict == exact, "seed \(seed), \(rule)")
        #expect(result.relaxedCount == 0)
      }
    }
  }

  @Test func moreRelaxedAcceptsMoreAndSameSeedSameVerdict() throws {
    let pair = ToyPair(kind: .unrelated, seed: 14, vocabularyCount: 6)
    var totals: [Int] = []
    for margin in [0, 0.1, 0.3, 1] {
      let rule = LossyRule.relaxed(try RelaxedAcceptance(candidateCount: 6, margin: margin))
      var total = 0
      for seed in 0..<400 as Range<UInt64> {
        var chooser = KeyedChooser(seed: seed)
        let tree = try DraftPlan.chain(4).draft(pair, &chooser)
        let step = Verification(tree, rootPosition: 0)
        let result = step.verdict(by: rule, chooser: &chooser) { pair.target(after: $0, of: tree) }
        #expect(
          step.verdict(by: rule, chooser: &chooser) { pair.target(after: $0, of: tree) } == result)
        total += result.verdict.acceptedCount
      }
      totals.append(total)
    }
    #expect(totals == totals.sorted() && Set(totals).count == 4, "\(totals)")
  }

  @Test func aDeferredDraftNeedsDoubtAndAConfirmedWindow() throws {
    // The target is unsure at the root (0.943 nats) and sure of token 0 after it.
    let laws = [[0.5, 0.4, 0.1], [0.9, 0.05, 0.05]]
    func result(
      entropyMin: Double = 0.9, window: Int = 2, _ tokens: [TokenID], strict: [TokenID] = []
    ) throws -> LossyVerdict {
      let settings = try DeferredAcceptance(
        entropyMin: entropyMin, windowLength: window, isGreedy: true, strictTokens: strict)
      return try verdict(.deferred(settings), chain(tokens), laws)
    }
    let passed = try result([1, 0, 0])
    #expect(passed.verdict.tokens == [1, 0, 0, 0])
    #expect(passed.relaxedCount == 1)
    #expect(try result(entropyMin: 0.95, [1, 0, 0]).verdict.tokens == [0])
    #expect(try result(window: 3, [1, 0, 0]).verdict.tokens == [0])
    #expect(try result([1, 0, 1]).verdict.tokens == [0])
    #expect(try result([1, 0, 0], strict: [1]).verdict.tokens == [0])
    #expect(try result(window: 1, [1, 0, 1]).verdict.tokens == [1, 0, 0])
    #expect(try result([0, 0]).relaxedCount == 0)
  }

  /// Lossy rules are lossy: the law of the text is another one.
  @Test func theLawOfTheTextChanges() throws {
    let pair = ToyPair(constant: ([0.5, 0.3, 0.2], [0.1, 0.1, 0.8]))
    let rules: [LossyRule] = [
      .typical(try TypicalAcceptance()),
      .relaxed(try RelaxedAcceptance(candidateCount: 3, margin: 0.5)),
      .deferred(try DeferredAcceptance(entropyMin: 0, windowLength: 1)),
    ]
    for rule in rules {
      var counts = [0, 0, 0]
      for seed in 0..<4000 as Range<UInt64> {
        var chooser = KeyedChooser(seed: seed)
        let tree = try DraftPlan.chain(3).draft(pair, &chooser)
        let result = Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser) {
          pair.target(after: $0, of: tree)
        }
        counts[Int(result.verdict.tokens[0].rawValue)] += 1
      }
      // A sample of 4000 has a standard deviation of 25 here.
      #expect(abs(counts[2] - 800) > 200, "\(rule): \(counts)")
    }
  }

  @Test func settingsAreChecked() {
    #expect(
      throws: VerificationError.settingOutOfRange(
        name: "probabilityMin", value: 1, allowed: "0..<1")
    ) { try TypicalAcceptance(probabilityMin: 1) }
    #expect(throws: VerificationError.self) { try TypicalAcceptance(entropyScale: .nan) }
    #expect(throws: VerificationError.self) { try RelaxedAcceptance(candidateCount: -1) }
    #expect(throws: VerificationError.self) { try RelaxedAcceptance(margin: .nan) }
    #expect(throws: VerificationError.self) { try RelaxedAcceptance(margin: 1.5) }
    #expect(throws: VerificationError.self) { try DeferredAcceptance(entropyMin: -1) }
    #expect(throws: VerificationError.self) { try DeferredAcceptance(entropyMin: .nan) }
    #expect(throws: VerificationError.self) {
      try DeferredAcceptance(entropyMin: 1, windowLength: 0)
    }
  }
}

import Cluster
import Decoding
import Engine
import InferenceTypes
import Testing

private let lossy: [RuleChoice] = {
  guard let typical = try? TypicalAcceptance(),  // The defaults are in range.
    let relaxed = try? RelaxedAcceptance(candidateCount: 3, margin: 0.3),  // Likewise.
    let deferred = try? DeferredAcceptance(entropyMin: 0, windowLength: 1)  // Likewise.
  else { preconditionFailure("settings out of range") }
  return [.lossy(.typical(typical)), .lossy(.relaxed(relaxed)), .lossy(.deferred(deferred))]
}()

@Suite struct LocalRulesTests {
  private static let drafting = ["draft", "recycle", "trigram", "draft,recycle,trigram"]

  /// One in a million correct rules would fail; the seeds are fixed, so none does by chance.
  @Test(arguments: LosslessRule.allCases)
  func twoThousandSeedsGiveTheTargetsLaw(rule: LosslessRule) throws {
    let pair = try RulePair()
    for methods in ["draft", "draft,recycle"] {
      let (surprise, accepted) = try pair.surprise(.lossless(rule), methods)
      #expect(surprise < 4.75, "\(rule), \(methods): \(surprise)")
      #expect(accepted > 0.1 && accepted < 0.95, "\(rule), \(methods): \(accepted)")
    }
  }

  /// The same measurement sees a law that is not the target's.
  @Test func aLossyRuleShows() throws {
    let (surprise, _) = try RulePair().surprise(lossy[0], "draft")
    #expect(surprise > 6, "\(surprise)")
  }

  @Test(arguments: LosslessRule.allCases)
  func atTemperatureZeroEveryRuleWritesThePlainText(rule: LosslessRule) throws {
    let pair = try RulePair(temperature: 0)
    let plain = try pair.generate(.standard, "none").tokens
    #expect(plain.count == 30 && Set(plain).count > 3, "\(plain)")
    #expect(try pair.generate(.lossless(rule), "none").tokens == plain)
    for methods in Self.drafting {
      let result = try pair.generate(.lossless(rule), methods)
      #expect(result.tokens == plain, "\(rule), \(methods)")
      #expect(result.statistics.acceptedCount > 0, "\(rule), \(methods)")
      #expect(result.relaxedCount == 0)
    }
  }

  /// The text of ``VerifyRule/match`` depends on the seed alone, and is not that of the shared noise.
  @Test func matchWritesOneTextForAllDrafts() throws {
    let pair = try RulePair()
    let plain = try pair.generate(.lossless(.match), "none").tokens
    #expect(plain != (try pair.generate(.standard, "none").tokens))
    for methods in Self.drafting {
      let result = try pair.generate(.lossless(.match), methods)
      #expect(result.tokens == plain, "\(methods)")
    }
  }

  @Test func theSameSeedGivesTheSameTextAgain() throws {
    let pair = try RulePair()
    for rule in LosslessRule.allCases.map(RuleChoice.lossless) + lossy {
      for methods in Self.drafting {
        let first = try pair.generate(rule, methods)
        let second = try pair.generate(rule, methods)
        #expect(first.tokens == second.tokens, "\(rule), \(methods)")
        // Of exact rules, measured times may decide how much is drafted: no draft changes the text.
        #expect(
          rule.isExact || first.statistics == second.statistics, "\(rule), \(methods)")
      }
    }
  }

  @Test func penaltiesSeeThePathOfTheDrafts() throws {
    var pair = try RulePair(temperature: 0)
    pair.configuration.sampling.repetitionPenalty = 1.4
    pair.configuration.sampling.penaltyWindow = 8
    let plain = try pair.generate(.standard, "none").tokens
    for rule in LosslessRule.allCases {
      #expect(try pair.generate(.lossless(rule), "draft,recycle").tokens == plain, "\(rule)")
    }
  }

  /// With nothing to relax, the rule is the choice under shared noise.
  @Test func relaxingNothingIsGumbelMatch() throws {
    for temperature in [0, 1] as [Float] {
      let pair = try RulePair(temperature: temperature)
      let nothing = RuleChoice.lossy(.relaxed(try RelaxedAcceptance(candidateCount: 0)))
      let expected = try pair.generate(.standard, "none").tokens
      for methods in Self.drafting {
        let result = try pair.generate(nothing, methods)
        #expect(result.tokens == expected && result.relaxedCount == 0, "\(methods)")
      }
    }
  }

  @Test func lossyRulesAcceptWhatTheOthersRefuse() throws {
    for rule in lossy.dropFirst() {
      for temperature in [0, 1] as [Float] {
        let pair = try RulePair(temperature: temperature)
        let result = try pair.generate(rule, "draft")
        let strict = try pair.generate(.standard, "draft")
        #expect(result.relaxedCount > 0, "\(rule), \(temperature)")
        #expect(result.tokens != strict.tokens, "\(rule), \(temperature)")
      }
    }
  }

  @Test func textsEndAtTheFirstStopTokenAndAtTheLimit() throws {
    var pair = try RulePair()
    for rule in LosslessRule.allCases.map(RuleChoice.lossless) + lossy {
      pair.configuration.stopTokens = []
      for limit in [1, 2, 7] {
        pair.configuration.tokenLimit = limit
        let result = try pair.generate(rule, "draft,recycle")
        #expect(result.tokens.count == limit && result.finishReason == .length, "\(rule)")
      }
      pair.configuration.tokenLimit = nil
      let whole = try pair.generate(rule, "draft,recycle")
      #expect(whole.tokens.count == 48 - pair.configuration.prompt.count)
      pair.configuration.stopTokens = (0..<8).map { TokenID($0) }
      let stopped = try pair.generate(rule, "draft,recycle")
      #expect(stopped.finishReason == .stop, "\(rule)")
      let stops = stopped.tokens.indices.filter {
        pair.configuration.stopTokens.contains(stopped.tokens[$0])
      }
      #expect(stops == [stopped.tokens.count - 1], "\(rule)")
    }
  }

  @Test func mirostatHasNoLawToJudgeBy() throws {
    var pair = try RulePair()
    pair.configuration.sampling.topK = 0
    pair.configuration.sampling.mirostatTau = 3
    _ = try pair.generate(.standard, "draft")
    for rule in [RuleChoice.lossless(.match), .lossless(.block), lossy[1]] {
      #expect(
        throws: DecodingError.notPossible(
          choice: "mirostatTau", with: "the verify rule \(rule.rule.rawValue)")
      ) { try pair.generate(rule, "draft") }
    }
  }
}

import Cluster
import Decoding
import Engine
import Foundation
import InferenceTypes
import Testing

/// Two models that are alike, and whole generations with them.
private struct Pair {
  let target: InferenceEngine
  let draft: InferenceEngine
  let costs: MeasuredCosts
  var configuration: VerifierSession.Configuration

  init(temperature: Float = 1) throws {
    target = try RandomModel().engine()
    draft = try RandomModel(deviation: 0.35).engine()
    costs = MeasuredCosts(known: .assumed, single: .milliseconds(1))
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    sampling.topK = 5
    sampling.seed = 7
    configuration = VerifierSession.Configuration(
      prompt: [3, 14, 9, 3, 14], sampling: sampling, contextLength: 48,
      vocabularyCount: RandomModel.vocabularyCount)
    configuration.tokenLimit = 30
  }

  func generator(_ methods: String) throws -> LocalGenerator {
    try LocalGenerator(
      engine: target, draftEngine: draft,
      methods: try DraftMethods(parsing: methods, hasDraftModel: true), nodeLimit: 16,
      costs: costs)
  }

  func generate(_ rule: RuleChoice, _ methods: String) throws -> LocalGenerator.Result {
    var configuration = configuration
    configuration.rule = rule
    return try generator(methods).generate(configuration)
  }

  /// The target's law of the first two tokens, computed without any draft.
  func pairLaw() throws -> [[TokenID]: Double] {
    var chooser = try TokenChooser(
      parameters: configuration.sampling, vocabularyCount: configuration.vocabularyCount)
    func law(after text: [TokenID]) throws -> TokenDistribution {
      try target.forward(ForwardBatch(chain: text, logits: .last), cache: try target.makeCache())
      return target.withLogits { chooser.distribution(logits: $0, recent: Span()) }
    }
    var all: [[TokenID]: Double] = [:]
    let first = try law(after: configuration.prompt)
    for token in first.tokens {
      let second = try law(after: configuration.prompt + [token])
      for next in second.tokens {
        all[[token, next]] = first.probability(of: token) * second.probability(of: next)
      }
    }
    return all
  }

  /// How many standard deviations the chi-square statistic of the first two tokens of 2,000 texts
  /// lies above its mean (Wilson and Hilferty), and the share of drafts that survived.
  func surprise(
    _ rule: RuleChoice, _ methods: String
  ) throws -> (surprise: Double, accepted: Double) {
    let law = try pairLaw()
    let generator = try generator(methods)
    var configuration = configuration
    configuration.rule = rule
    configuration.tokenLimit = 5
    var counts: [[TokenID]: Int] = [:]
    var drafted = 0
    var accepted = 0
    let textCount = 2000
    for seed in 0..<UInt64(textCount) {
      configuration.sampling.seed = seed &* 0x9e37_79b9_7f4a_7c15
      let result = try generator.generate(configuration)
      counts[Array(result.tokens.prefix(2)), default: 0] += 1
      drafted += result.statistics.verifiedCount
      accepted += result.statistics.acceptedCount
    }
    #expect(counts.keys.allSatisfy { law[$0] != nil }, "a text that the target never writes")
    var statistic = 0.0
    var cells = 0.0
    var pooled = (expected: 0.0, observed: 0.0)
    for (text, probability) in law {
      let expected = probability * Double(textCount)
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
    let freedom = cells - 1
    let spread = 2 / (9 * freedom)
    return (
      (Foundation.cbrt(statistic / freedom) - (1 - spread)) / spread.squareRoot(),
      Double(accepted) / Double(max(1, drafted))
    )
  }
}

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
    let pair = try Pair()
    for methods in ["draft", "draft,recycle"] {
      let (surprise, accepted) = try pair.surprise(.lossless(rule), methods)
      #expect(surprise < 4.75, "\(rule), \(methods): \(surprise)")
      #expect(accepted > 0.1 && accepted < 0.95, "\(rule), \(methods): \(accepted)")
    }
  }

  /// The same measurement sees a law that is not the target's.
  @Test func aLossyRuleShows() throws {
    let (surprise, _) = try Pair().surprise(lossy[0], "draft")
    #expect(surprise > 6, "\(surprise)")
  }

  @Test(arguments: LosslessRule.allCases)
  func atTemperatureZeroEveryRuleWritesThePlainText(rule: LosslessRule) throws {
    let pair = try Pair(temperature: 0)
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
    let pair = try Pair()
    let plain = try pair.generate(.lossless(.match), "none").tokens
    #expect(plain != (try pair.generate(.standard, "none").tokens))
    for methods in Self.drafting {
      let result = try pair.generate(.lossless(.match), methods)
      #expect(result.tokens == plain, "\(methods)")
    }
  }

  @Test func theSameSeedGivesTheSameTextAgain() throws {
    let pair = try Pair()
    for rule in LosslessRule.allCases.map(RuleChoice.lossless) + lossy {
      for methods in Self.drafting {
        let first = try pair.generate(rule, methods)
        let second = try pair.generate(rule, methods)
        #expect(first.tokens == second.tokens, "\(rule), \(methods)")
        #expect(first.statistics == second.statistics, "\(rule), \(methods)")
      }
    }
  }

  @Test func penaltiesSeeThePathOfTheDrafts() throws {
    var pair = try Pair(temperature: 0)
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
      let pair = try Pair(temperature: temperature)
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
        let pair = try Pair(temperature: temperature)
        let result = try pair.generate(rule, "draft")
        let strict = try pair.generate(.standard, "draft")
        #expect(result.relaxedCount > 0, "\(rule), \(temperature)")
        #expect(result.tokens != strict.tokens, "\(rule), \(temperature)")
      }
    }
  }

  @Test func textsEndAtTheFirstStopTokenAndAtTheLimit() throws {
    var pair = try Pair()
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
    var pair = try Pair()
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

import Cluster
import Decoding
import Engine
import Foundation
import InferenceTypes
import Testing

/// Two models that are alike, and whole generations with them.
struct RulePair {
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
    let generator = try generator(methods)
    var configuration = configuration
    configuration.rule = rule
    configuration.tokenLimit = 5
    return try surprise { seed in
      configuration.sampling.seed = seed
      let result = try generator.generate(configuration)
      return (result.tokens, result.statistics)
    }
  }

  /// The same of any way to write a text of at least two tokens with a seed.
  func surprise(
    _ write: (_ seed: UInt64) throws -> (tokens: [TokenID], statistics: DraftStatistics)
  ) throws -> (surprise: Double, accepted: Double) {
    let law = try pairLaw()
    var counts: [[TokenID]: Int] = [:]
    var drafted = 0
    var accepted = 0
    let textCount = 2000
    for seed in 0..<UInt64(textCount) {
      let (tokens, statistics) = try write(seed &* 0x9e37_79b9_7f4a_7c15)
      counts[Array(tokens.prefix(2)), default: 0] += 1
      drafted += statistics.verifiedCount
      accepted += statistics.acceptedCount
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

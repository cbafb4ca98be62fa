import Decoding
import InferenceTypes
import Testing

/// The law of a row of logits against the choices that the sampler makes from it.
@Suite struct TargetDistributionTests {
  /// The largest noise plus logarithm of the law is the sampler's choice, for every combination of
  /// settings and odd rows.
  @Test func theLawHoldsTheSamplersChoice() throws {
    var random = SmallRandom(4)
    for trial in 0..<3000 {
      let count = [1, 3, 17, 64][random.below(4)]
      var parameters = SamplingParameters()
      parameters.seed = random.next()
      parameters.temperature = [0, 0.3, 1, 2][random.below(4)]
      parameters.topK = [0, 0, 1, 5, 500][random.below(5)]
      parameters.topP = [1, 1, 0.9, 0.5, 0][random.below(5)]
      parameters.minP = [0, 0, 0.05, 0.4, 1][random.below(5)]
      if random.below(3) == 0 {
        parameters.repetitionPenalty = 1.4
        parameters.presencePenalty = [0, 1][random.below(2)]
      }
      if random.below(4) == 0 {
        parameters.logitBias = [LogitBias(token: 0, bias: [-.infinity, 2][random.below(2)])]
      }
      let row = (0..<count).map { _ -> Float in
        let value = (random.unit() - 0.5) * 10
        return switch random.below(8) {
        case 0: -.infinity
        case 1: .nan
        case 2: value.rounded()
        default: value
        }
      }
      let recent = (0..<random.below(6)).map { _ in TokenID(UInt32(random.below(count))) }
      var sampler = try TokenChooser(parameters: parameters, vocabularyCount: count)
      let law = sampler.distribution(logits: row.span, recent: recent.span)
      #expect(abs(law.probabilities.reduce(0, +) - 1) < 1e-12)
      #expect(law.rest == 0)
      let chooser = KeyedChooser(seed: parameters.seed)
      for position in 0..<8 {
        let token = sampler.choose(
          logits: row.span, top: Span(), recent: recent.span, position: position)
        let drawn = chooser.draw(law, RandomKey(.sharedNoise, position: position))
        #expect(drawn == token, "trial \(trial), \(parameters), \(row)")
      }
    }
  }

  @Test func probabilitiesAreThoseOfTheSoftmax() throws {
    var parameters = SamplingParameters()
    parameters.temperature = 0.5
    var sampler = try TokenChooser(parameters: parameters, vocabularyCount: 4)
    let row: [Float] = [0, 1, -.infinity, 0.5]
    let law = sampler.distribution(logits: row.span, recent: Span())
    #expect(law.tokens == [0, 1, 3])
    let weights = [0.0, 2, 1].map { ExactMath.exp($0) }
    let sum = weights.reduce(0, +)
    for index in 0..<3 {
      #expect(abs(law.probabilities[index] - weights[index] / sum) < 1e-12)
    }
    parameters.topK = 2
    sampler = try TokenChooser(parameters: parameters, vocabularyCount: 4)
    let cut = sampler.distribution(logits: row.span, recent: Span())
    #expect(cut.tokens == [1, 3])
    #expect(abs(cut.probabilities[0] - weights[1] / (weights[1] + weights[2])) < 1e-12)
  }

  /// The rule over laws and the session over logits give one text.
  @Test func gumbelMatchGivesTheTextOfTheSession() throws {
    let model = ToyModel(vocabularyCount: 7, seed: 3)
    for seed in 0..<12 as Range<UInt64> {
      let configuration = model.configuration(temperature: 0.9, seed: seed, tokenLimit: 20)
      let expected = try model.plain(configuration).tokens
      var sampler = try TokenChooser(
        parameters: configuration.sampling, vocabularyCount: model.vocabularyCount)
      var chooser = KeyedChooser(seed: seed)
      let drafter = ToyPair(kind: .unrelated, seed: 5, vocabularyCount: 7)
      var text = configuration.prompt
      while text.count < configuration.prompt.count + expected.count {
        let truth = text
        let tree = try DraftPlan(parents: [0, 0, 0, 1, 2]).draft(
          drafter, context: truth, rootPosition: truth.count - 1, &chooser)
        let step = Verification(tree, rootPosition: truth.count - 1)
        text += try step.verdict(by: .gumbelMatch, chooser: &chooser) { node in
          let context = truth + tree.path(to: node).dropFirst().map { tree.tokens[$0] }
          let row = model.row(context[...])
          return sampler.distribution(logits: row.span, recent: context.span)
        }.tokens
      }
      let emitted = text.dropFirst(configuration.prompt.count).prefix(expected.count)
      #expect(Array(emitted) == expected, "seed \(seed)")
    }
  }
}

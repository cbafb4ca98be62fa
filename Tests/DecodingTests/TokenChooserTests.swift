import Decoding
import Foundation
import InferenceTypes
import Testing

/// The pipeline as its definition reads, with sorting and the whole vocabulary.
private func reference(
  _ logits: [Float], _ parameters: SamplingParameters, recent: [TokenID], position: Int
) -> TokenID {
  var row = logits
  for entry in parameters.logitBias { row[Int(entry.token.rawValue)] += entry.bias }
  if parameters.penaltyWindow > 0 {
    let window = recent.suffix(parameters.penaltyWindow)
    for token in Set(window) {
      let index = Int(token.rawValue)
      let count = Float(window.filter { $0 == token }.count)
      let penalty = parameters.repetitionPenalty
      row[index] = row[index] > 0 ? row[index] / penalty : row[index] * penalty
      row[index] =
        row[index] - count * parameters.frequencyPenalty - parameters.presencePenalty
    }
  }
  var order = topEntries(row, count: row.count).filter { $0.logit > -.infinity }
  guard let largest = order.first?.logit else { return 0 }
  if parameters.temperature == 0 { return order[0].token }
  let inverse = 1 / Double(parameters.temperature)
  func share(_ entry: TokenLogit) -> Double {
    entry.logit == largest
      ? 1 : ExactMath.exp((Double(entry.logit) - Double(largest)) * inverse)
  }
  if parameters.topK > 0 { order = Array(order.prefix(parameters.topK)) }
  if parameters.topP < 1 {
    let truncates = parameters.topK > 0 && parameters.topK < logits.count
    let summands = truncates ? order : order.sorted { $0.token < $1.token }
    let total = summands.reduce(0) { $0 + share($1) }
    var mass = 0.0
    var kept: [TokenLogit] = []
    for entry in order {
      kept.append(entry)
      mass += share(entry)
      if mass >= total * Double(parameters.topP) { break }
    }
    order = kept
  }
  order.removeAll { share($0) < Double(parameters.minP) }
  let noise = GumbelNoise(seed: parameters.seed)
  func score(_ entry: TokenLogit) -> Double {
    Double(entry.logit) * inverse + noise.value(position: position, token: entry.token)
  }
  let best = order.max {
    score($0) < score($1) || (score($0) == score($1) && $0.token > $1.token)
  }
  return best?.token ?? 0
}

private func randomRow(_ random: inout SmallRandom, count: Int) -> [Float] {
  let kind = random.below(5)
  return (0..<count).map { _ in
    let value = (random.unit() - 0.5) * 12
    return switch (kind, random.below(6)) {
    case (0, _): value.rounded()
    case (1, 0): .nan
    case (1, 1), (2, 0), (2, 1), (2, 2): -.infinity
    case (3, _): value * 8
    default: value
    }
  }
}

@Suite struct TokenChooserTests {
  @Test func everyPathGivesTheTokenOfTheDefinition() throws {
    var random = SmallRandom(1)
    for trial in 0..<4000 {
      let count = [1, 3, 4, 17, 64, 203][random.below(6)]
      var parameters = SamplingParameters()
      parameters.seed = random.next()
      parameters.temperature = [0, 0.3, 0.8, 1, 2][random.below(5)]
      parameters.topK = [0, 0, 1, 5, 40, 500][random.below(6)]
      parameters.topP = [1, 1, 0.95, 0.5, 0][random.below(5)]
      parameters.minP = [0, 0, 0.05, 0.4, 1][random.below(5)]
      if random.below(3) == 0 {
        parameters.repetitionPenalty = [1, 1.3, 0.7][random.below(3)]
        parameters.frequencyPenalty = [0, 0.5, -0.5][random.below(3)]
        parameters.presencePenalty = [0, 1][random.below(2)]
        parameters.penaltyWindow = [0, 3, 64][random.below(3)]
      }
      if random.below(4) == 0 {
        for token in 0..<count where random.below(5) == 0 {
          parameters.logitBias.append(
            LogitBias(
              token: TokenID(UInt32(token)), bias: [1, -2, -.infinity][random.below(3)]))
        }
      }
      let row = randomRow(&random, count: count)
      let recent = (0..<random.below(9)).map { _ in TokenID(UInt32(random.below(count))) }
      let position = random.below(10_000)
      var chooser = try TokenChooser(parameters: parameters, vocabularyCount: count)
      let expected = reference(row, parameters, recent: recent, position: position)
      for topCount in [0, 1, 8, 64] {
        let top = topEntries(row, count: topCount)
        let token = chooser.choose(
          logits: row.span, top: top.span, recent: recent.span, position: position)
        #expect(token == expected, "trial \(trial), top \(topCount), \(parameters), \(row)")
      }
    }
  }

  @Test func largeVocabulariesGiveTheTokenOfTheDefinition() throws {
    var random = SmallRandom(2)
    for seed in 0..<6 as Range<UInt64> {
      let row = (0..<20_003).map { _ in
        (random.unit() + random.unit() + random.unit() + random.unit() - 2) * 7
      }
      var parameters = SamplingParameters()
      parameters.seed = seed
      parameters.minP = seed % 2 == 0 ? 0 : 0.01
      var chooser = try TokenChooser(parameters: parameters, vocabularyCount: row.count)
      let expected = reference(row, parameters, recent: [], position: 5)
      for top in [[], topEntries(row, count: 16)] {
        #expect(
          chooser.choose(logits: row.span, top: top.span, recent: Span(), position: 5) == expected)
      }
    }
  }

  @Test func infiniteAndHugeLogitsAreRanked() throws {
    for temperature in [0, 1] as [Float] {
      var parameters = SamplingParameters()
      parameters.temperature = temperature
      var chooser = try TokenChooser(parameters: parameters, vocabularyCount: 6)
      let infinite: [Float] = [0, 1, .infinity, 3, .infinity, .nan]
      #expect(chooser.choose(logits: infinite.span, top: Span(), recent: Span(), position: 0) == 2)
      let huge: [Float] = [0, 3e38, 1, 3e38, -3e38, 2]
      let top = Array(topEntries(huge, count: 2).reversed())
      #expect(chooser.choose(logits: huge.span, top: Span(), recent: Span(), position: 0) == 1)
      if temperature > 0 {
        #expect(chooser.choose(logits: huge.span, top: top.span, recent: Span(), position: 0) == 1)
      }
      let nothing = [Float](repeating: .nan, count: 6)
      #expect(chooser.choose(logits: nothing.span, top: Span(), recent: Span(), position: 0) == 0)
    }
  }

  @Test(arguments: [0 as UInt64, 7, 99])
  func choicesFollowTheSoftmax(seed: UInt64) throws {
    let row: [Float] = [0.3, 1.7, -0.4, 2.2, 0, 1, -3]
    for (temperature, topK) in [(1, 0), (0.7, 0), (1, 4)] as [(Float, Int)] {
      var parameters = SamplingParameters()
      parameters.seed = seed
      parameters.temperature = temperature
      parameters.topK = topK
      var chooser = try TokenChooser(parameters: parameters, vocabularyCount: row.count)
      var counts = [Double](repeating: 0, count: row.count)
      let trials = 20_000
      for position in 0..<trials {
        let token = chooser.choose(
          logits: row.span, top: Span(), recent: Span(), position: position)
        counts[Int(token.rawValue)] += 1
      }
      let kept = topEntries(row, count: topK == 0 ? row.count : topK)
      let total = kept.reduce(0) { $0 + exp(Double($1.logit / temperature)) }
      var chiSquare = 0.0
      for entry in kept {
        let expected = exp(Double(entry.logit / temperature)) / total * Double(trials)
        let difference = counts[Int(entry.token.rawValue)] - expected
        chiSquare += difference * difference / expected
      }
      // 99.99% quantile with 6 degrees of freedom.
      #expect(chiSquare < 27.9, "temperature \(temperature), top-k \(topK)")
      #expect(kept.reduce(0) { $0 + counts[Int($1.token.rawValue)] } == Double(trials))
    }
  }

  @Test func parametersOutOfRangeAreNamed() {
    func error(_ change: (inout SamplingParameters) -> Void) -> DecodingError? {
      var parameters = SamplingParameters()
      change(&parameters)
      do {
        _ = try TokenChooser(parameters: parameters, vocabularyCount: 10)
        return nil
      } catch {
        return error
      }
    }
    func name(_ change: (inout SamplingParameters) -> Void) -> String? {
      guard case .parameterOutOfRange(let name, _, _) = error(change) else { return nil }
      return name
    }
    #expect(error { _ in } == nil)
    #expect(name { $0.temperature = -0.1 } == "temperature")
    #expect(name { $0.temperature = .nan } == "temperature")
    #expect(name { $0.topK = -1 } == "topK")
    #expect(name { $0.topP = 1.01 } == "topP")
    #expect(name { $0.minP = .nan } == "minP")
    #expect(name { $0.repetitionPenalty = 0 } == "repetitionPenalty")
    #expect(name { $0.frequencyPenalty = .infinity } == "frequencyPenalty")
    #expect(name { $0.presencePenalty = -101 } == "presencePenalty")
    #expect(name { $0.penaltyWindow = -1 } == "penaltyWindow")
    #expect(name { $0.logitBias = [LogitBias(token: 1, bias: .nan)] } == "logitBias")
    #expect(
      error { $0.logitBias = [LogitBias(token: 10, bias: 1)] }
        == .unknownToken(10, vocabularyCount: 10))
    #expect(
      error { $0.logitBias = [LogitBias(token: 3, bias: 1), LogitBias(token: 3, bias: 1)] }
        == .unsortedLogitBias(3))
  }
}

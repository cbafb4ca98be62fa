import ArgumentParser
import InferenceTypes

/// Sampling flags; llama.cpp's names and defaults.
struct SamplingOptions: ParsableArguments {
  @Option(
    name: [.customLong("temp"), .customLong("temperature")], parsing: .unconditional,
    help: "Temperature; 0 is greedy.")
  var temperature: Float = 0.8
  @Option(parsing: .unconditional, help: "Largest logits kept; 0 keeps all.")
  var topK = 40
  @Option(parsing: .unconditional, help: "Smallest set with this probability is kept; 1 keeps all.")
  var topP: Float = 0.95
  @Option(
    parsing: .unconditional, help: "Least probability as a share of the largest; 0 keeps all.")
  var minP: Float = 0.05
  @Option(parsing: .unconditional, help: "Penalty on tokens seen lately; 1 is none.")
  var repeatPenalty: Float = 1
  @Option(parsing: .unconditional, help: "Tokens the penalties look back on.")
  var repeatLastN = 64
  @Option(parsing: .unconditional, help: "Penalty for each occurrence.")
  var frequencyPenalty: Float = 0
  @Option(parsing: .unconditional, help: "Penalty for having occurred.")
  var presencePenalty: Float = 0
  @Option(
    name: [.customShort("s"), .long], parsing: .unconditional,
    help: "Seed; a random one unless told.")
  var seed: UInt64?
  @Option(
    parsing: .unconditionalSingleValue,
    help: "TOKEN+BIAS or TOKEN-BIAS, as in llama.cpp; may be given several times.")
  var logitBias: [String] = []

  func parameters() throws -> SamplingParameters {
    var parameters = SamplingParameters()
    parameters.temperature = temperature
    parameters.topK = topK
    parameters.topP = topP
    parameters.minP = minP
    parameters.repetitionPenalty = repeatPenalty
    parameters.penaltyWindow = repeatLastN
    parameters.frequencyPenalty = frequencyPenalty
    parameters.presencePenalty = presencePenalty
    parameters.seed = seed ?? UInt64.random(in: .min ... .max)
    parameters.logitBias = try logitBias.map(Self.parseBias).sorted { $0.token < $1.token }
    for (first, second) in zip(parameters.logitBias, parameters.logitBias.dropFirst())
    where first.token == second.token {
      throw ValidationError("--logit-bias names token \(first.token) twice")
    }
    return parameters
  }

  private static func parseBias(_ text: String) throws -> LogitBias {
    guard let sign = text.firstIndex(where: { $0 == "+" || $0 == "-" }),
      let token = UInt32(text[..<sign]), let bias = Float(text[sign...])
    else {
      throw ValidationError("--logit-bias \"\(text)\": expected TOKEN+BIAS, for example 15-1.5")
    }
    return LogitBias(token: TokenID(token), bias: bias)
  }
}

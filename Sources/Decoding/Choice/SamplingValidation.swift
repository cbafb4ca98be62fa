package import InferenceTypes

extension SamplingParameters {
  /// Checks every parameter against its range; NaN is in no range.
  ///
  /// - Throws: ``DecodingError`` that names the first offending parameter.
  package func validate(vocabularyCount: Int) throws(DecodingError) {
    try Self.check("temperature", temperature, 0...100)
    try Self.check("topP", topP, 0...1)
    try Self.check("minP", minP, 0...1)
    try Self.check("repetitionPenalty", repetitionPenalty, 0.01...100)
    try Self.check("frequencyPenalty", frequencyPenalty, -100...100)
    try Self.check("presencePenalty", presencePenalty, -100...100)
    try Self.check("topK", topK, 0...Int(Int32.max))
    try Self.check("penaltyWindow", penaltyWindow, 0...1 << 20)
    try validateStatefulChoices()
    var previous: TokenID?
    for entry in logitBias {
      guard entry.token.rawValue < vocabularyCount else {
        throw .unknownToken(entry.token, vocabularyCount: vocabularyCount)
      }
      if let previous, entry.token <= previous { throw .unsortedLogitBias(entry.token) }
      previous = entry.token
      guard entry.bias < .infinity else {
        throw .parameterOutOfRange(
          name: "logitBias", value: Double(entry.bias), allowed: "below infinity")
      }
    }
  }

  /// Mirostat cuts by itself, and both it and the cautious choice need chance.
  private func validateStatefulChoices() throws(DecodingError) {
    try Self.check("mirostatTau", mirostatTau, 0...32)
    try Self.check("mirostatEta", mirostatEta, 0...1)
    try Self.check("cautiousTrials", cautiousTrials, 0...64)
    try Self.check("cautiousLow", cautiousLow, 0...32)
    try Self.check("cautiousHigh", cautiousHigh, 0...32)
    try Self.check("cautiousLength", cautiousLength, 1...1024)
    if usesMirostat {
      if temperature == 0 { throw .excludedParameters("mirostatTau", "temperature 0") }
      if topK != 0 { throw .excludedParameters("mirostatTau", "topK") }
      if topP != 1 { throw .excludedParameters("mirostatTau", "topP") }
      if minP != 0 { throw .excludedParameters("mirostatTau", "minP") }
      if isCautious { throw .excludedParameters("mirostatTau", "cautiousTrials") }
    }
    if isCautious {
      if temperature == 0 { throw .excludedParameters("cautiousTrials", "temperature 0") }
      guard cautiousLow < cautiousHigh else {
        throw .parameterOutOfRange(
          name: "cautiousHigh", value: Double(cautiousHigh), allowed: "above \(cautiousLow)")
      }
    }
  }

  package var usesMirostat: Bool { mirostatTau > 0 }

  package var isCautious: Bool { cautiousTrials > 1 }

  /// Whether logits change before the temperature divides them.
  var adjustsLogits: Bool { !logitBias.isEmpty || readsHistory }

  /// Whether the choice depends on more of the context than the logits do.
  var readsHistory: Bool {
    penaltyWindow > 0
      && (repetitionPenalty != 1 || frequencyPenalty != 0 || presencePenalty != 0)
  }

  static func check(
    _ name: String, _ value: Float, _ allowed: ClosedRange<Float>
  ) throws(DecodingError) {
    guard allowed.contains(value) else {
      throw .parameterOutOfRange(name: name, value: Double(value), allowed: "\(allowed)")
    }
  }

  static func check(
    _ name: String, _ value: Int, _ allowed: ClosedRange<Int>
  ) throws(DecodingError) {
    guard allowed.contains(value) else {
      throw .parameterOutOfRange(name: name, value: Double(value), allowed: "\(allowed)")
    }
  }
}

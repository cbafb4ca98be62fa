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

  /// Whether logits change before the temperature divides them.
  var adjustsLogits: Bool { !logitBias.isEmpty || readsHistory }

  /// Whether the choice depends on more of the context than the logits do.
  var readsHistory: Bool {
    penaltyWindow > 0
      && (repetitionPenalty != 1 || frequencyPenalty != 0 || presencePenalty != 0)
  }

  private static func check(
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

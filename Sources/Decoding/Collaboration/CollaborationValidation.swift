package import InferenceTypes

extension CollaborationParameters {
  /// Checks every parameter against its range; NaN is in no range.
  ///
  /// - Throws: ``DecodingError`` that names the first offending parameter.
  package func validate() throws(DecodingError) {
    try SamplingParameters.check("entropyThreshold", entropyThreshold, 0 ... .infinity)
    try SamplingParameters.check("entropyHysteresis", entropyHysteresis, 0...32)
    try SamplingParameters.check("entropyWindow", entropyWindow, 1...1024)
    try SamplingParameters.check("draftStay", draftStay, 1...Int(Int32.max))
    try SamplingParameters.check("targetStay", targetStay, 1...Int(Int32.max))
    try SamplingParameters.check("leadingTokens", leadingTokens, 0...Int(Int32.max))
    try SamplingParameters.check("leadProbability", leadProbability, 0...1)
    try SamplingParameters.check("ledSentences", ledSentences, 0...Int(Int32.max))
    try SamplingParameters.check("plausibility", plausibility, 0...1)
    try SamplingParameters.check("contrast", contrast, 0...10)
    try SamplingParameters.check("tuningStrength", tuningStrength, -10...10)
    try SamplingParameters.check("interventionThreshold", interventionThreshold, 0...1)
    if let catchUpLag { try SamplingParameters.check("catchUpLag", catchUpLag, 1...1 << 20) }
  }
}

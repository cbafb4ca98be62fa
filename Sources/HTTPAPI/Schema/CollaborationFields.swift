import Cluster
import InferenceTypes

extension RequestFields {
  /// Every field that belongs to collaborations alone.
  private static let collaborationNames = [
    "collaboration", "entropy_threshold", "entropy_hysteresis", "entropy_window", "draft_stay",
    "target_stay", "leading_tokens", "lead_probability", "led_sentences", "plausibility",
    "contrast", "tuning_strength", "intervention", "intervention_threshold",
  ]

  /// How two models share the text; `nil` where nothing but the target's own is asked for.
  ///
  /// A field of collaborations without the mode is refused: the answer would silently be another
  /// than was meant.
  ///
  /// - Throws: ``APIError`` with status 400 that names the field.
  func collaboration() throws(APIError) -> CollaborationParameters? {
    let modes = ["exact", "collaborative"]
    guard try choice("mode", of: modes) == "collaborative" else {
      for name in Self.collaborationNames where self[name] != nil {
        throw .invalid("\(name) needs \"mode\": \"collaborative\"", param: name)
      }
      return nil
    }
    // A cluster has no third model; whoever asks for one is told so, and nobody else hears of it.
    guard self["collaboration"] != "proxy" else { throw APIError(.noAntiexpert) }
    let methods = CollaborationParameters.Method.allCases.filter { $0 != .proxy }
    let name = try choice("collaboration", of: methods.map(\.rawValue))
    let method = name.flatMap { CollaborationParameters.Method(rawValue: $0) } ?? .entropy
    var parameters = CollaborationParameters(method: method)
    try readEntropy(into: &parameters)
    if let value = try integer("leading_tokens", in: 0...Int(Int32.max)) {
      parameters.leadingTokens = value
    }
    if let value = try number("lead_probability", in: 0...1) { parameters.leadProbability = value }
    if let value = try integer("led_sentences", in: 0...Int(Int32.max)) {
      parameters.ledSentences = value
    }
    if let value = try number("plausibility", in: 0...1) { parameters.plausibility = value }
    if let value = try number("contrast", in: 0...10) { parameters.contrast = value }
    if let value = try number("tuning_strength", in: -10...10) {
      parameters.tuningStrength = value
    }
    let interventions = CollaborationParameters.Intervention.allCases
    if let name = try choice("intervention", of: interventions.map(\.rawValue)),
      let intervention = CollaborationParameters.Intervention(rawValue: name)
    {
      parameters.intervention = intervention
    }
    if let value = try number("intervention_threshold", in: 0...1) {
      parameters.interventionThreshold = value
    }
    return parameters
  }

  private func readEntropy(into parameters: inout CollaborationParameters) throws(APIError) {
    if let value = self["entropy_threshold"] {
      // JSON has no infinity.
      guard let threshold = value == "inf" ? .infinity : value.double,
        threshold == .infinity || (0...1000).contains(threshold)
      else {
        let got = value.double.map { "\($0)" } ?? value.string.map { "'\($0)'" } ?? value.kind
        throw .invalid(
          "entropy_threshold must be between 0 and 1000 bits, or \"inf\", got \(got)",
          param: "entropy_threshold")
      }
      parameters.entropyThreshold = Float(threshold)
    }
    if let value = try number("entropy_hysteresis", in: 0...32) {
      parameters.entropyHysteresis = value
    }
    if let value = try integer("entropy_window", in: 1...1024) { parameters.entropyWindow = value }
    if let value = try integer("draft_stay", in: 1...Int(Int32.max)) {
      parameters.draftStay = value
    }
    if let value = try integer("target_stay", in: 1...Int(Int32.max)) {
      parameters.targetStay = value
    }
  }

  /// Mirostat under the names of llama.cpp's server. It takes the place of the cuts, so a cut that is
  /// asked for beside it is refused.
  ///
  /// - Throws: ``APIError`` with status 400 that names the field.
  func readMirostat(into sampling: inout SamplingParameters) throws(APIError) {
    let version = try integer("mirostat", in: 0...2) ?? 0
    guard version != 1 else { throw .notSupported("mirostat 1", param: "mirostat") }
    let tau = try number("mirostat_tau", in: 0...32) ?? 5
    let eta = try number("mirostat_eta", in: 0...1) ?? sampling.mirostatEta
    guard version == 2 else { return }
    guard tau > 0 else {
      throw .invalid("mirostat_tau must be above 0 and at most 32, got 0", param: "mirostat_tau")
    }
    let excluded = [
      ("temperature", sampling.temperature == 0), ("top_k", sampling.topK != 0),
      ("top_p", sampling.topP != 1), ("min_p", sampling.minP != 0),
    ]
    for (name, isSet) in excluded where isSet {
      let fault = name == "temperature" ? "temperature 0" : name
      throw .invalid("mirostat does not go together with \(fault): leave one out", param: name)
    }
    sampling.mirostatTau = tau
    sampling.mirostatEta = eta
  }

  /// The cautious choice tries continuations, which a cluster does not; it exists in
  /// `slipstream run` only.
  ///
  /// - Throws: ``APIError`` with status 400 where it is asked for.
  func refuseCautiousChoice() throws(APIError) {
    guard try integer("cautious_trials", in: 0...64) ?? 0 > 1 else { return }
    throw .notSupported("the cautious choice over HTTP", param: "cautious_trials")
  }

  private func choice(_ name: String, of allowed: [String]) throws(APIError) -> String? {
    guard let value = try string(name) else { return nil }
    guard allowed.contains(value) else {
      throw .invalid(
        "\(name) must be one of \(allowed.joined(separator: ", ")), got '\(value)'", param: name)
    }
    return value
  }
}

extension CompletionShape {
  /// Who wrote the text. Shares are of the tokens, 0...1.
  static func collaboration(_ report: CollaborationReport) -> JSONValue {
    [
      "mode": .string(report.method.rawValue),
      "target_share": .number(report.share(of: report.targetCount)),
      "draft_share": .number(report.share(of: report.draftCount)),
      "combined_share": .number(report.share(of: report.combinedCount)),
      "switches": .integer(report.switchCount), "compute_saved": .number(report.computeSaved),
      "degraded": .boolean(report.isDegraded),
    ]
  }
}

extension CollaborationParameters {
  /// The fields of a request.
  var members: [JSONMember] {
    let threshold: JSONValue =
      entropyThreshold == .infinity ? "inf" : .number(Double(entropyThreshold))
    return [
      JSONMember(name: "mode", value: "collaborative"),
      JSONMember(name: "collaboration", value: .string(method.rawValue)),
      JSONMember(name: "entropy_threshold", value: threshold),
      JSONMember(name: "entropy_hysteresis", value: .number(Double(entropyHysteresis))),
      JSONMember(name: "entropy_window", value: .integer(entropyWindow)),
      JSONMember(name: "draft_stay", value: .integer(draftStay)),
      JSONMember(name: "target_stay", value: .integer(targetStay)),
      JSONMember(name: "leading_tokens", value: .integer(leadingTokens)),
      JSONMember(name: "lead_probability", value: .number(Double(leadProbability))),
      JSONMember(name: "led_sentences", value: .integer(ledSentences)),
      JSONMember(name: "plausibility", value: .number(Double(plausibility))),
      JSONMember(name: "contrast", value: .number(Double(contrast))),
      JSONMember(name: "tuning_strength", value: .number(Double(tuningStrength))),
      JSONMember(name: "intervention", value: .string(intervention.rawValue)),
      JSONMember(name: "intervention_threshold", value: .number(Double(interventionThreshold))),
    ]
  }
}

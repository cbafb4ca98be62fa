import CWire
import InferenceTypes

extension Refusal: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(message.utf8.count, 0...Limits.textBytesMax, "Refusal.message")
    guard !message.utf8.contains(0) else { throw .invalidText(field: "Refusal.message") }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Refusal {
    var raw = unsafe Slipstream__V1__Refusal()
    unsafe slipstream__v1__refusal__init(&raw)
    unsafe raw.code = Slipstream__V1__Code(rawValue: code.rawValue)
    unsafe raw.message = scratch.text(message)
    return unsafe raw
  }

  init(raw: Slipstream__V1__Refusal) throws(WireError) {
    guard let code = RefusalCode(rawValue: unsafe raw.code.rawValue) else {
      throw .unknownValue(field: "Refusal.code", value: unsafe raw.code.rawValue)
    }
    self.code = code
    message = unsafe try Reading.text(raw.message, "Refusal.message")
  }
}

extension SamplingParameters: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.finite(temperature, "Sampling.temperature") { $0 >= 0 }
    try Check.range(topK, 0...Int(UInt32.max), "Sampling.top_k")
    try Check.finite(topP, "Sampling.top_p") { $0 > 0 && $0 <= 1 }
    try Check.finite(minP, "Sampling.min_p") { (0...1).contains($0) }
    try Check.finite(repetitionPenalty, "Sampling.repetition_penalty") { $0 > 0 }
    try Check.range(penaltyWindow, 0...Limits.contextLengthMax, "Sampling.penalty_window")
    try Check.finite(frequencyPenalty, "Sampling.frequency_penalty")
    try Check.finite(presencePenalty, "Sampling.presence_penalty")
    try Check.finite(mirostatTau, "Sampling.mirostat_tau") { (0...32).contains($0) }
    try Check.finite(mirostatEta, "Sampling.mirostat_eta") { (0...1).contains($0) }
    // The cautious choice has no place on the wire; dropping it silently would change the text.
    try Check.range(cautiousTrials, 0...0, "Sampling.cautious_trials")
    try Check.range(logitBias.count, 0...Limits.logitBiasCountMax, "Sampling.bias_tokens")
    for (index, entry) in logitBias.enumerated() {
      if index > 0, logitBias[index - 1].token >= entry.token {
        throw .notAscending(field: "Sampling.bias_tokens", index: index)
      }
      guard entry.bias.isFinite || entry.bias == -.infinity else {
        throw .invalidNumber(field: "Sampling.bias_values", value: entry.bias)
      }
    }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Sampling {
    var raw = unsafe Slipstream__V1__Sampling()
    unsafe slipstream__v1__sampling__init(&raw)
    unsafe raw.temperature = temperature
    unsafe raw.top_k = UInt32(topK)
    unsafe raw.top_p = topP
    unsafe raw.min_p = minP
    unsafe raw.repetition_penalty = repetitionPenalty
    unsafe raw.penalty_window = UInt32(penaltyWindow)
    unsafe raw.frequency_penalty = frequencyPenalty
    unsafe raw.presence_penalty = presencePenalty
    unsafe raw.n_bias_tokens = logitBias.count
    unsafe raw.bias_tokens = scratch.words(logitBias.map(\.token))
    unsafe raw.bias_values = scratch.bytes(PackedWords.bytes(logitBias.map(\.bias.bitPattern)))
    unsafe raw.seed = seed
    unsafe raw.mirostat_tau = mirostatTau
    unsafe raw.mirostat_eta = mirostatEta
    return unsafe raw
  }

  init(raw: Slipstream__V1__Sampling) throws(WireError) {
    self.init()
    temperature = unsafe raw.temperature
    topK = unsafe Int(raw.top_k)
    topP = unsafe raw.top_p
    minP = unsafe raw.min_p
    repetitionPenalty = unsafe raw.repetition_penalty
    penaltyWindow = unsafe Int(raw.penalty_window)
    frequencyPenalty = unsafe raw.frequency_penalty
    presencePenalty = unsafe raw.presence_penalty
    let tokens = unsafe Reading.words(
      raw.bias_tokens, raw.n_bias_tokens, as: TokenID.init(rawValue:))
    let values = unsafe try PackedWords.words(
      Reading.bytes(raw.bias_values), "Sampling.bias_values")
    guard values.count == tokens.count else {
      throw .lengthMismatch(
        field: "Sampling.bias_values", count: values.count, expected: tokens.count)
    }
    logitBias = zip(tokens, values).map { LogitBias(token: $0, bias: Float(bitPattern: $1)) }
    seed = unsafe raw.seed
    mirostatTau = unsafe raw.mirostat_tau
    mirostatEta = unsafe raw.mirostat_eta
  }
}

extension Pipeline {
  var raw: Slipstream__V1__Pipeline {
    switch self {
    case .streamed: SLIPSTREAM__V1__PIPELINE__PIPELINE_STREAMED
    case .lockstep: SLIPSTREAM__V1__PIPELINE__PIPELINE_LOCKSTEP
    case .vanilla: SLIPSTREAM__V1__PIPELINE__PIPELINE_VANILLA
    }
  }

  /// - Returns: `nil` where it is not told.
  static func read(
    _ raw: Slipstream__V1__Pipeline, _ field: String
  ) throws(WireError) -> Pipeline? {
    switch raw {
    case SLIPSTREAM__V1__PIPELINE__PIPELINE_UNSPECIFIED: nil
    case SLIPSTREAM__V1__PIPELINE__PIPELINE_STREAMED: .streamed
    case SLIPSTREAM__V1__PIPELINE__PIPELINE_LOCKSTEP: .lockstep
    case SLIPSTREAM__V1__PIPELINE__PIPELINE_VANILLA: .vanilla
    default: throw .unknownValue(field: field, value: raw.rawValue)
    }
  }
}

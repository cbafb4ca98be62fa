import Cluster
import InferenceTypes

/// What both generation endpoints understand beside the prompt.
struct GenerationFields {
  /// Where the fields mean different things.
  enum Endpoint {
    case chat
    case completion
  }

  var sampling: SamplingParameters
  /// The seed as it is told to the client: a repeat of the request with it gives the same text.
  var seed: Int
  /// `nil` goes on to the end of the context: also for `/v1/completions`, where OpenAI's old
  /// default of 16 tokens surprises more than it helps.
  var tokenLimit: Int?
  var stopStrings: [String]
  var ignoresEndOfSequence: Bool
  var returnsTokens: Bool
  var streams: Bool
  /// A last chunk carries the token counts.
  var includesUsage: Bool
  /// Every chunk carries the token counts so far.
  var includesContinuousUsage: Bool
  /// How drafts are judged, where the request says it.
  var rule: VerifyRuleParameters?
  /// A text that the answer is expected to be like; empty for none.
  var prediction: String
  /// For whom the client asks, among those who share its key; empty where it does not say.
  var user: String
  /// `nil` for the target's own text.
  var collaboration: CollaborationParameters?

  init(_ fields: RequestFields, model: ServedModel, endpoint: Endpoint) throws(APIError) {
    if let name = try fields.string("model"), name != model.id {
      throw .unknownModel(name, served: model.id)
    }
    try fields.refuseUnsupported(endpoint: endpoint)
    seed = try Self.seed(fields)
    sampling = try Self.sampling(fields, model: model)
    sampling.seed = UInt64(bitPattern: Int64(seed))
    tokenLimit = try Self.tokenLimit(fields)
    stopStrings = try Self.stopStrings(fields)
    ignoresEndOfSequence = try fields.boolean("ignore_eos") ?? false
    returnsTokens = try fields.boolean("return_tokens") ?? false
    streams = try fields.boolean("stream") ?? false
    let streamOptions = try fields.object("stream_options")
    includesUsage = try streamOptions?.boolean("include_usage") ?? false
    includesContinuousUsage = try streamOptions?.boolean("continuous_usage_stats") ?? false
    rule = try fields.verifyRule()
    prediction = try fields.prediction()
    // The newer of OpenAI's two names for it wins.
    let user = try fields.string("user")
    self.user = try fields.string("safety_identifier") ?? user ?? ""
    collaboration = try fields.collaboration()
    try checkRule()
  }

  func request(prompt: [TokenID]) -> GenerationRequest {
    var request = GenerationRequest(prompt: prompt, sampling: sampling, tokenLimit: tokenLimit)
    request.stopStrings = stopStrings
    request.ignoresEndOfSequence = ignoresEndOfSequence
    request.collaboration = collaboration
    request.rule = rule ?? VerifyRuleParameters()
    return request
  }

  /// Absent and -1 draw one; 53 bits, so that JavaScript clients can send it back.
  private static func seed(_ fields: RequestFields) throws(APIError) -> Int {
    if let seed = try fields.integer("seed", in: .min ... .max), seed != -1 { return seed }
    return Int.random(in: 0..<1 << 53)
  }

  private static func sampling(
    _ fields: RequestFields, model: ServedModel
  ) throws(APIError) -> SamplingParameters {
    var sampling = SamplingParameters()
    if let value = try fields.number("temperature", in: 0...100) { sampling.temperature = value }
    if let value = try fields.number("top_p", in: 0...1) {
      guard value > 0 else {
        throw .invalid("top_p must be above 0 and at most 1, got 0", param: "top_p")
      }
      sampling.topP = value
    }
    // -1 and 0 both switch the cut off.
    if let value = try fields.integer("top_k", in: -1 ... .max) {
      sampling.topK = min(max(value, 0), model.vocabularyCount)
    }
    if let value = try fields.number("min_p", in: 0...1) { sampling.minP = value }
    for name in ["repetition_penalty", "repeat_penalty"] {
      if let value = try fields.number(name, in: 0.01...100) { sampling.repetitionPenalty = value }
    }
    // As in llama.cpp: -1 looks back on everything.
    if let value = try fields.integer("repeat_last_n", in: -1 ... .max) {
      sampling.penaltyWindow = value < 0 ? model.contextLength : min(value, model.contextLength)
    }
    if let value = try fields.number("frequency_penalty", in: -2...2) {
      sampling.frequencyPenalty = value
    }
    if let value = try fields.number("presence_penalty", in: -2...2) {
      sampling.presencePenalty = value
    }
    sampling.logitBias = try logitBias(fields, vocabularyCount: model.vocabularyCount)
    try fields.readMirostat(into: &sampling)
    try fields.refuseCautiousChoice()
    return sampling
  }

  /// As many as a message to a verifier holds.
  private static let biasCountMax = 4096

  /// `{"id": bias}` as OpenAI has it, or `[[id, bias]]`; -100 and `false` ban a token. The last of
  /// several entries for a token counts.
  private static func logitBias(
    _ fields: RequestFields, vocabularyCount: Int
  ) throws(APIError) -> [LogitBias] {
    let name = "logit_bias"
    var biases: [TokenID: Float] = [:]
    func add(_ id: Int?, _ value: JSONValue) throws(APIError) {
      guard let id, (0..<vocabularyCount).contains(id), let raw = UInt32(exactly: id) else {
        throw .invalid("\(name) needs token ids from 0 to \(vocabularyCount - 1)", param: name)
      }
      let bias: Double
      if value == .boolean(false) {
        bias = -100
      } else if let number = value.double, (-100...100).contains(number) {
        bias = number
      } else {
        throw .invalid("\(name) of token \(id) must be a number from -100 to 100", param: name)
      }
      biases[TokenID(raw)] = bias == -100 ? -.infinity : Float(bias)
    }
    switch fields[name] {
    case nil: return []
    case .object(let members):
      for member in members { try add(Int(member.name), member.value) }
    case .array(let pairs):
      for pair in pairs {
        guard let pair = pair.array, pair.count == 2 else {
          throw .invalid("\(name) must hold pairs of token id and number", param: name)
        }
        try add(pair[0].exactInteger, pair[1])
      }
    case .some(let value):
      throw RequestFields.mismatch(name, expected: "an object or an array", value)
    }
    guard biases.count <= biasCountMax else {
      throw .invalid("\(name) takes up to \(biasCountMax) tokens, got \(biases.count)", param: name)
    }
    return biases.map { LogitBias(token: $0.key, bias: $0.value) }
      .sorted { $0.token < $1.token }
  }

  /// The newest name wins where several are given; -1 is no limit, as in llama.cpp's server.
  private static func tokenLimit(_ fields: RequestFields) throws(APIError) -> Int? {
    var limit: Int?
    for name in ["n_predict", "max_tokens", "max_completion_tokens"] {
      guard let value = try fields.integer(name, in: -1 ... .max) else { continue }
      guard value != 0 else {
        throw .invalid("\(name) must be at least 1 (or -1 for no limit), got 0", param: name)
      }
      limit = value
    }
    return limit == -1 ? nil : limit
  }

  private static func stopStrings(_ fields: RequestFields) throws(APIError) -> [String] {
    guard let value = fields["stop"] else { return [] }
    let values = value.array ?? [value]
    guard values.count <= 4 else {
      throw .invalid("stop takes up to 4 strings, got \(values.count)", param: "stop")
    }
    var strings: [String] = []
    for value in values {
      guard let string = value.string else {
        throw RequestFields.mismatch(
          "stop", expected: "a string or an array of strings", value)
      }
      guard !string.isEmpty else {
        throw .invalid("stop must not hold an empty string", param: "stop")
      }
      strings.append(string)
    }
    return strings
  }
}

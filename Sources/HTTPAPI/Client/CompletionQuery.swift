package import InferenceTypes

/// What a client asks of a completion endpoint.
package struct CompletionQuery: Sendable {
  /// What the text continues.
  package enum Prompt: Sendable {
    case text(String)
    case tokens([TokenID])
    /// Goes to the chat endpoint.
    case chat([ChatTurn])
  }

  package var prompt: Prompt
  /// Its `seed` is not sent: it has its own field.
  package var sampling = SamplingParameters()
  /// `nil` lets the server draw one, told in ``CompletionResult/seed``.
  package var seed: UInt64?
  /// `nil` goes on to the end of the context.
  package var tokenLimit: Int?
  package var stopStrings: [String] = []
  package var ignoresEndOfSequence = false
  /// Asks for the token ids beside the text.
  package var returnsTokens = false
  /// How drafts are judged; `nil` leaves it to the server.
  package var rule: VerifyRuleParameters?
  /// A text that the answer is expected to be like; empty for none.
  package var prediction = ""
  /// Text arrives piece by piece; otherwise at once.
  package var streams = true
  /// How two models share the text; `nil` asks for the target's own.
  package var collaboration: CollaborationParameters?

  package init(prompt: Prompt) { self.prompt = prompt }
}

extension CompletionQuery {
  var path: String {
    if case .chat = prompt { "/v1/chat/completions" } else { "/v1/completions" }
  }

  /// The request's body.
  var body: JSONValue {
    var members = [
      promptMember,
      JSONMember(name: "temperature", value: .number(Double(sampling.temperature))),
      JSONMember(name: "top_k", value: .integer(sampling.topK)),
      JSONMember(name: "top_p", value: .number(Double(sampling.topP))),
      JSONMember(name: "min_p", value: .number(Double(sampling.minP))),
      JSONMember(name: "repeat_penalty", value: .number(Double(sampling.repetitionPenalty))),
      JSONMember(name: "repeat_last_n", value: .integer(sampling.penaltyWindow)),
      JSONMember(name: "frequency_penalty", value: .number(Double(sampling.frequencyPenalty))),
      JSONMember(name: "presence_penalty", value: .number(Double(sampling.presencePenalty))),
      JSONMember(
        name: "logit_bias",
        value: .array(
          sampling.logitBias.map { entry in
            [
              .integer(Int(entry.token.rawValue)),
              entry.bias == -.infinity ? false : .number(Double(entry.bias)),
            ]
          })),
      JSONMember(name: "stop", value: .array(stopStrings.map(JSONValue.string))),
      JSONMember(name: "ignore_eos", value: .boolean(ignoresEndOfSequence)),
      JSONMember(name: "return_tokens", value: .boolean(returnsTokens)),
      JSONMember(name: "stream", value: .boolean(streams)),
    ]
    if sampling.mirostatTau > 0 {
      members += [
        JSONMember(name: "mirostat", value: 2),
        JSONMember(name: "mirostat_tau", value: .number(Double(sampling.mirostatTau))),
        JSONMember(name: "mirostat_eta", value: .number(Double(sampling.mirostatEta))),
      ]
    }
    members += collaboration?.members ?? []
    if let seed {
      members.append(JSONMember(name: "seed", value: .integer(Int(bitPattern: UInt(seed)))))
    }
    if let tokenLimit {
      members.append(JSONMember(name: "max_tokens", value: .integer(tokenLimit)))
    }
    if let rule { members += Self.members(rule) }
    if !prediction.isEmpty {
      let value: JSONValue = ["type": "content", "content": .string(prediction)]
      members.append(JSONMember(name: "prediction", value: value))
    }
    if streams {
      members.append(JSONMember(name: "stream_options", value: ["include_usage": true]))
    }
    return .object(members)
  }

  private static func members(_ rule: VerifyRuleParameters) -> [JSONMember] {
    var members = [JSONMember(name: "verify_rule", value: .string(rule.rule.rawValue))]
    func add(_ name: String, _ value: JSONValue) {
      members.append(JSONMember(name: name, value: value))
    }
    switch rule.rule {
    case .typical:
      add("typical_probability", .number(rule.typicalProbability))
      add("typical_entropy", .number(rule.typicalEntropy))
    case .relaxed:
      add("relaxed_candidates", .integer(rule.relaxedCandidates))
      add("relaxed_margin", .number(rule.relaxedMargin))
    case .deferred:
      if let entropy = rule.deferredEntropy { add("deferred_entropy", .number(entropy)) }
      add("deferred_window", .integer(rule.deferredWindow))
    case .gumbelMatch, .match, .ratio, .rejection, .kSequential, .block, .traversal: break
    }
    return members
  }

  private var promptMember: JSONMember {
    switch prompt {
    case .text(let text): JSONMember(name: "prompt", value: .string(text))
    case .tokens(let tokens):
      JSONMember(
        name: "prompt", value: [.array(tokens.map { .integer(Int($0.rawValue)) })])
    case .chat(let turns):
      JSONMember(
        name: "messages",
        value: .array(
          turns.map { ["role": .string($0.role.rawValue), "content": .string($0.content)] }))
    }
  }
}

extension RequestFields {
  /// Samplers of llama.cpp that are not there, with the values that switch them off.
  private static let samplers: [(name: String, isOff: @Sendable (Double) -> Bool)] = [
    ("typical_p", { $0 >= 1 }), ("top_n_sigma", { $0 <= 0 }), ("tfs_z", { $0 >= 1 }),
    ("dynatemp_range", { $0 <= 0 }), ("xtc_probability", { $0 <= 0 }),
    ("dry_multiplier", { $0 == 0 }),
  ]

  /// Throws for fields that would change the answer and cannot be served; values of theirs that
  /// change nothing pass. Better a clear refusal than an answer that silently lacks what was asked.
  func refuseUnsupported(endpoint: GenerationFields.Endpoint) throws(APIError) {
    try refuseManyAnswers()
    try refuseLogprobs(endpoint: endpoint)
    for name in ["tools", "functions"] where self[name] != nil && self[name] != .array([]) {
      throw .notSupported(name, param: name)
    }
    for name in ["tool_choice", "function_call"] {
      guard let value = self[name] else { continue }
      guard value == "none" || value == "auto" else { throw .notSupported(name, param: name) }
    }
    if let format = self["response_format"] {
      guard case .object = format, let type = format["type"]?.string else {
        throw .invalid(
          "response_format must be an object with a type", param: "response_format")
      }
      guard type == "text" else {
        throw .notSupported("response_format \(type)", param: "response_format")
      }
    }
    for name in [
      "grammar", "json_schema", "suffix", "guided_json", "guided_regex", "guided_choice",
      "guided_grammar", "structured_outputs", "stop_token_ids", "bad_words", "allowed_token_ids",
    ] {
      guard let value = self[name], value != "", value != .object([]), value != .array([]) else {
        continue
      }
      throw .notSupported(name, param: name)
    }
    for (name, isOff) in Self.samplers {
      guard let value = self[name] else { continue }
      guard let number = value.double, isOff(number) else {
        throw .notSupported(name, param: name)
      }
    }
    for name in ["echo", "continue_final_message", "use_beam_search"]
    where try boolean(name) == true {
      throw .notSupported(name, param: name)
    }
    if try boolean("add_generation_prompt") == false {
      throw .notSupported("add_generation_prompt false", param: "add_generation_prompt")
    }
    if let modalities = self["modalities"], modalities != ["text"] {
      throw .notSupported("modalities other than text", param: "modalities")
    }
    // With ignore_eos the length is fixed by the token limit already.
    if try integer("min_tokens", in: 0 ... .max) ?? 0 > 0, try boolean("ignore_eos") != true {
      throw .notSupported("min_tokens without ignore_eos", param: "min_tokens")
    }
  }

  private func refuseManyAnswers() throws(APIError) {
    for name in ["n", "best_of"] {
      guard let count = try integer(name, in: 1 ... .max), count != 1 else { continue }
      throw .notSupported("\(name) above 1", param: name)
    }
  }

  /// In chat requests `logprobs` is a boolean and `top_logprobs` a number; in completions
  /// `logprobs` is a number, of which 0 asks for those of the chosen tokens.
  private func refuseLogprobs(endpoint: GenerationFields.Endpoint) throws(APIError) {
    if let value = self["logprobs"], value != false {
      guard value == true || value.exactInteger != nil else {
        let expected = endpoint == .chat ? "a boolean" : "an integer"
        throw Self.mismatch("logprobs", expected: expected, value)
      }
      throw .notSupported("logprobs", param: "logprobs")
    }
    if try integer("top_logprobs", in: 0...20) ?? 0 > 0 {
      throw .notSupported("top_logprobs", param: "top_logprobs")
    }
  }
}

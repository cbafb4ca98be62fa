import Cluster
import HTTPAPI
import InferenceTypes
import Testing

/// Requests and what the server makes of their fields.
@Suite(.timeLimit(.minutes(1)))
struct FieldTests {
  /// Sends each as a completion with `prompt` and as a chat with `messages`, unless it has its own.
  private func answers(
    _ fields: String, _ service: ScriptedService = ScriptedService(saying: ["a"])
  ) async throws -> [Answer] {
    try await withServer(service) { port in
      [
        try await send("POST", "/v1/completions", #"{"prompt":"x",\#(fields)}"#, to: port),
        try await send(
          "POST", "/v1/chat/completions",
          #"{"messages":[{"role":"user","content":"x"}],\#(fields)}"#, to: port),
      ]
    }
  }

  @Test(arguments: [
    (#""temperature":"hot""#, "temperature must be a number, got string", "temperature"),
    (#""temperature":-0.1"#, "temperature must be between 0.0 and 100.0, got -0.1", "temperature"),
    (#""temperature":1e999"#, "temperature must be between 0.0 and 100.0, got inf", "temperature"),
    (#""top_p":0"#, "top_p must be above 0 and at most 1, got 0", "top_p"),
    (#""top_p":1.5"#, "top_p must be between 0.0 and 1.0, got 1.5", "top_p"),
    (#""top_k":1.5"#, "top_k must be an integer, got 1.5", "top_k"),
    (#""top_k":-2"#, "top_k must be at least -1, got -2", "top_k"),
    (#""min_p":[]"#, "min_p must be a number, got array", "min_p"),
    (#""max_tokens":0"#, "max_tokens must be at least 1 (or -1 for no limit), got 0", "max_tokens"),
    (#""max_tokens":true"#, "max_tokens must be an integer, got boolean", "max_tokens"),
    (#""n_predict":-2"#, "n_predict must be at least -1, got -2", "n_predict"),
    (
      #""repeat_penalty":0"#, "repeat_penalty must be between 0.01 and 100.0, got 0.0",
      "repeat_penalty"
    ),
    (
      #""frequency_penalty":3"#, "frequency_penalty must be between -2.0 and 2.0, got 3.0",
      "frequency_penalty"
    ),
    (
      #""presence_penalty":{}"#, "presence_penalty must be a number, got object", "presence_penalty"
    ),
    (#""seed":"x""#, "seed must be an integer, got string", "seed"),
    (#""seed":1e30"#, "seed must be an integer, got 1e+30", "seed"),
    (#""stream":1"#, "stream must be a boolean, got number", "stream"),
    (#""stream_options":true"#, "stream_options must be an object, got boolean", "stream_options"),
    (#""stop":"""#, "stop must not hold an empty string", "stop"),
    (#""stop":["a",""]"#, "stop must not hold an empty string", "stop"),
    (#""stop":["a",1]"#, "stop must be a string or an array of strings, got number", "stop"),
    (#""stop":["a","b","c","d","e"]"#, "stop takes up to 4 strings, got 5", "stop"),
    (#""logit_bias":{"300":1}"#, "logit_bias needs token ids from 0 to 299", "logit_bias"),
    (#""logit_bias":{"x":1}"#, "logit_bias needs token ids from 0 to 299", "logit_bias"),
    (
      #""logit_bias":{"3":101}"#, "logit_bias of token 3 must be a number from -100 to 100",
      "logit_bias"
    ),
    (#""logit_bias":[[1]]"#, "logit_bias must hold pairs of token id and number", "logit_bias"),
    (#""logit_bias":1"#, "logit_bias must be an object or an array, got number", "logit_bias"),
    (#""model":1"#, "model must be a string, got number", "model"),
    (#""ignore_eos":"yes""#, "ignore_eos must be a boolean, got string", "ignore_eos"),
    (#""n":2"#, "n above 1 is not supported yet", "n"),
    (#""n":0"#, "n must be at least 1, got 0", "n"),
    (#""best_of":2"#, "best_of above 1 is not supported yet", "best_of"),
    (#""logprobs":true"#, "logprobs is not supported yet", "logprobs"),
    (#""logprobs":0"#, "logprobs is not supported yet", "logprobs"),
    (#""top_logprobs":2"#, "top_logprobs is not supported yet", "top_logprobs"),
    (#""echo":true"#, "echo is not supported yet", "echo"),
    (#""suffix":"x""#, "suffix is not supported yet", "suffix"),
    (#""tools":[{"type":"function"}]"#, "tools is not supported yet", "tools"),
    (#""tool_choice":"required""#, "tool_choice is not supported yet", "tool_choice"),
    (
      #""response_format":{"type":"json_object"}"#,
      "response_format json_object is not supported yet", "response_format"
    ),
    (#""grammar":"root ::= x""#, "grammar is not supported yet", "grammar"),
    (#""repeat_last_n":-2"#, "repeat_last_n must be at least -1, got -2", "repeat_last_n"),
    (#""typical_p":0.5"#, "typical_p is not supported yet", "typical_p"),
    (#""dry_multiplier":"0.8""#, "dry_multiplier is not supported yet", "dry_multiplier"),
    (#""stop_token_ids":[2]"#, "stop_token_ids is not supported yet", "stop_token_ids"),
    (#""guided_json":{"type":"object"}"#, "guided_json is not supported yet", "guided_json"),
    (#""min_tokens":4"#, "min_tokens without ignore_eos is not supported yet", "min_tokens"),
    (
      #""modalities":["text","audio"]"#, "modalities other than text is not supported yet",
      "modalities"
    ),
  ])
  func badValuesNameTheField(_ fields: String, _ message: String, _ param: String) async throws {
    for answer in try await answers(fields) {
      #expect(answer.status == 400)
      #expect(answer.body.contains(#"{"message":"\#(message)","#))
      #expect(answer.body.contains(#""param":"\#(param)""#))
    }
  }

  @Test(arguments: [
    #""tools":[],"tool_choice":"none","functions":[],"function_call":"auto""#,
    #""response_format":{"type":"text"},"logprobs":false,"top_logprobs":0"#,
    #""logprobs":null,"stop":null,"seed":null,"temperature":null,"stream_options":null"#,
    #""n":1,"best_of":1,"echo":false,"suffix":"","min_tokens":4,"ignore_eos":true"#,
    #""user":"u","metadata":{},"store":true,"service_tier":"auto","reasoning_effort":"low""#,
    #""cache_prompt":true,"id_slot":-1,"timings_per_token":true,"chat_template_kwargs":{}"#,
    #""parallel_tool_calls":true,"prediction":null,"verbosity":"low","modalities":["text"]"#,
    #""typical_p":1.5,"top_n_sigma":-1,"length_penalty":2,"xtc_probability":0,"dry_multiplier":0,"stop_token_ids":[]"#,
    #""dry_base":1.75,"dynatemp_range":0,"repeat_last_n":null,"guided_choice":null"#,
    #""safety_identifier":"s","prompt_cache_key":"k","nobody_knows":{"deep":[1]}"#,
    #""model":"toy/model","grammar":"","json_schema":{},"add_generation_prompt":true"#,
  ])
  func harmlessValuesPass(_ fields: String) async throws {
    for answer in try await answers(fields) { #expect(answer.status == 200) }
  }

  @Test func aCutThatKeepsEverythingIsNone() async throws {
    let service = ScriptedService(saying: ["a"])
    for answer in try await answers(#""top_k":4294967296"#, service) {
      #expect(answer.status == 200)
    }
    #expect(service.requests.map(\.sampling.topK) == [300, 300])
  }

  @Test func allFieldsReachTheCluster() async throws {
    let service = ScriptedService(saying: ["a"])
    _ = try await answers(
      #"""
      "temperature":0.5,"top_p":0.25,"top_k":40,"min_p":0.125,"repeat_penalty":1.5,
      "repeat_last_n":17,
      "frequency_penalty":-2,"presence_penalty":2,"logit_bias":{"7":-100,"3":1.5,"7":2},
      "seed":-2,"stop":["x","y"],"max_tokens":5.0,"ignore_eos":true
      """#, service)
    var sampling = SamplingParameters()
    sampling.temperature = 0.5
    sampling.topP = 0.25
    sampling.topK = 40
    sampling.minP = 0.125
    sampling.repetitionPenalty = 1.5
    sampling.penaltyWindow = 17
    sampling.frequencyPenalty = -2
    sampling.presencePenalty = 2
    sampling.logitBias = [LogitBias(token: 3, bias: 1.5), LogitBias(token: 7, bias: 2)]
    sampling.seed = UInt64(bitPattern: -2)
    #expect(service.requests.count == 2)
    for request in service.requests {
      #expect(request.sampling == sampling)
      #expect(request.stopStrings == ["x", "y"])
      #expect(request.tokenLimit == 5)
      #expect(request.ignoresEndOfSequence)
    }
  }

  @Test func defaultsAreThoseOfOpenAI() async throws {
    let service = ScriptedService(saying: ["a"])
    _ = try await answers(#""seed":0"#, service)
    for request in service.requests {
      #expect(request.sampling == SamplingParameters())
      #expect(request.tokenLimit == nil)
      #expect(request.stopStrings.isEmpty)
      #expect(!request.ignoresEndOfSequence)
    }
  }

  @Test(arguments: [
    (#""max_tokens":3"#, 3), (#""max_completion_tokens":4,"max_tokens":3"#, 4),
    (#""n_predict":2"#, 2), (#""n_predict":-1"#, nil), (#""max_tokens":-1"#, nil),
  ])
  func tokenLimitHasThreeNames(_ fields: String, _ limit: Int?) async throws {
    let service = ScriptedService(saying: ["a"])
    _ = try await answers(fields, service)
    #expect(service.requests.map(\.tokenLimit) == [limit, limit])
  }

  @Test(arguments: [
    #"[[7,-100],[3,1]]"#, #"[[3,9],[7,false],[3,1]]"#, #"{"3":1,"7":-100}"#,
  ])
  func logitBiasHasTwoForms(_ bias: String) async throws {
    let service = ScriptedService(saying: ["a"])
    _ = try await answers(#""logit_bias":\#(bias)"#, service)
    let expected = [
      LogitBias(token: 3, bias: 1), LogitBias(token: 7, bias: -.infinity),
    ]
    #expect(service.requests.map(\.sampling.logitBias) == [expected, expected])
  }

  @Test(arguments: [
    ("{}", "prompt is required", "prompt"),
    (#"{"prompt":1}"#, "prompt must be a string or an array, got number", "prompt"),
    (#"{"prompt":["a","b"]}"#, "one prompt is answered at a time, got 2", "prompt"),
    (#"{"prompt":[[1],[2]]}"#, "one prompt is answered at a time, got 2", "prompt"),
    (#"{"prompt":[1,"a"]}"#, "prompt must be text or integer token ids, got string", "prompt"),
    (#"{"prompt":[1,300]}"#, "token 300 of prompt is not in the vocabulary of 300", "prompt"),
    (#"{"prompt":[-1]}"#, "token -1 of prompt is not in the vocabulary of 300", "prompt"),
  ])
  func badPromptsAreExplained(_ body: String, _ message: String, _ param: String) async throws {
    try await expectRefusal("/v1/completions", body, message, param)
  }

  @Test(arguments: [
    ("{}", "messages is required", "messages"),
    (#"{"messages":"x"}"#, "messages must be an array, got string", "messages"),
    (#"{"messages":[]}"#, "messages must hold at least one message", "messages"),
    (#"{"messages":["x"]}"#, "messages[0] must be an object, got string", "messages[0]"),
    (
      #"{"messages":[{"role":"user","content":"x"},{"content":"x"}]}"#,
      "messages[1].role must be a string", "messages[1].role"
    ),
    (
      #"{"messages":[{"role":"tool","content":"x"}]}"#,
      "messages[0].role 'tool' is not supported: use system, developer, user or assistant",
      "messages[0].role"
    ),
    (
      #"{"messages":[{"role":"user","content":null}]}"#,
      "messages[0].content must be a string or an array of text parts, got null",
      "messages[0].content"
    ),
    (
      #"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
      "content of type image_url is not supported yet", "messages[0].content[0]"
    ),
    (
      #"{"messages":[{"role":"user","content":[{"type":"text"}]}]}"#,
      "messages[0].content[0].text must be a string", "messages[0].content[0]"
    ),
  ])
  func badMessagesAreExplained(_ body: String, _ message: String, _ param: String) async throws {
    try await expectRefusal("/v1/chat/completions", body, message, param)
  }

  @Test func contentPartsJoinAndDeveloperIsSystem() async throws {
    let service = ScriptedService(saying: ["a"])
    let body = #"""
      {"messages":[{"role":"developer","content":"d"},{"role":"user","content":
      [{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null}]}
      """#
    _ = try await withServer(service) { port in
      try await send("POST", "/v1/chat/completions", body, to: port)
    }
    #expect(
      service.requests.first?.prompt == ByteCodec().encode("system=d;user=ab;assistant=;"))
  }

  @Test(arguments: [
    ("", "it ends early"), ("{", "it ends early"), ("nul", "it ends early"),
    ("{\"a\":01}", "unexpected byte at offset 6"), ("{} x", "unexpected byte at offset 3"),
    (String(repeating: "[", count: 20_000), "it is nested deeper than 64"),
  ])
  func whatIsNotJSONIsLocated(_ body: String, _ message: String) async throws {
    for path in ["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"] {
      let full = "the request body is not JSON: \(message)"
      try await expectRefusal(path, body, full, nil)
    }
  }

  private func expectRefusal(
    _ path: String, _ body: String, _ message: String, _ param: String?
  ) async throws {
    let answer = try await withServer(ScriptedService(saying: ["a"])) { port in
      try await send("POST", path, body, to: port)
    }
    #expect(answer.status == 400)
    #expect(answer.body.contains(#"{"message":"\#(message)"#))
    #expect(answer.body.contains(#""param":\#(param.map { "\"\($0)\"" } ?? "null")"#))
  }
}

import Cluster
import HTTPAPI
import InferenceTypes
import Testing

@Suite(.timeLimit(.minutes(1)))
struct EndpointTests {
  @Test func chatAnswersInOpenAIShape() async throws {
    let service = ScriptedService(saying: ["Hé", "", "llo"])
    let answer = try await withServer(service) { port in
      try await send(
        "POST", "/v1/chat/completions",
        #"{"model":"toy/model","messages":[{"role":"user","content":"Hi"}],"seed":5}"#, to: port)
    }
    #expect(answer.status == 200)
    #expect(answer.headers["content-type"] == "application/json; charset=utf-8")
    #expect(
      withoutDrawnValues(answer.body) == """
        {"id":"chatcmpl-X","object":"chat.completion","created":0,"model":"toy/model",\
        "system_fingerprint":"fp_X","seed":5,"choices":[{"index":0,"message":{"role":"assistant",\
        "content":"Héllo","refusal":null},"logprobs":null,"finish_reason":"stop"}],\
        \(usageJSON(prompt: 7, completion: 4, cached: 2)),\(timingsJSON)}
        """)
    let request = try #require(service.requests.first)
    #expect(request.prompt == ByteCodec().encode("user=Hi;"))
    #expect(request.sampling.seed == 5)
    #expect(request.tokenLimit == nil)
  }

  @Test func completionAnswersInOpenAIShapeWithTokens() async throws {
    let answer = try await withServer(ScriptedService(saying: ["a", "b"])) { port in
      try await send(
        "POST", "/v1/completions", #"{"prompt":"x","seed":1,"return_tokens":true}"#, to: port)
    }
    #expect(
      withoutDrawnValues(answer.body) == """
        {"id":"cmpl-X","object":"text_completion","created":0,"model":"toy/model",\
        "system_fingerprint":"fp_X","seed":1,"choices":[{"index":0,"text":"ab","logprobs":null,\
        "finish_reason":"stop","tokens":[1,2]}],\(usageJSON(prompt: 7, completion: 4, cached: 2)),\(timingsJSON)}
        """)
  }

  @Test func metricsAreTextForThoseWithAKey() async throws {
    let answers = try await withServer(ScriptedService(saying: ["a"]), keys: ["secret"]) { port in
      [
        try await send("GET", "/metrics", to: port),
        try await send("GET", "/metrics", headers: ["Authorization: Bearer secret"], to: port),
      ]
    }
    #expect(answers[0].status == 401)
    #expect(answers[1].status == 200)
    #expect(answers[1].headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
    #expect(
      answers[1].body
        == "# HELP toy_requests_total Requests.\n# TYPE toy_requests_total counter\n"
        + "toy_requests_total 0\n")
  }

  @Test func draftCountsAreAbsentWithoutSpeculation() async throws {
    var summary = GenerationSummary.sample
    summary.draftTokenCount = 0
    let service = ScriptedService(saying: ["a"], summary: summary)
    let answer = try await withServer(service) { port in
      try await send("POST", "/v1/completions", #"{"prompt":"x"}"#, to: port)
    }
    #expect(answer.body.contains(#""timings""#))
    #expect(!answer.body.contains("draft_n"))
  }

  @Test func absentSeedIsDrawnUsedAndTold() async throws {
    let service = ScriptedService(saying: ["a"])
    let answers = try await withServer(service) { port in
      [
        try await send("POST", "/v1/completions", #"{"prompt":"x"}"#, to: port),
        try await send("POST", "/v1/completions", #"{"prompt":"x"}"#, to: port),
      ]
    }
    let seeds = service.requests.map(\.sampling.seed)
    #expect(seeds[0] != seeds[1])
    for (answer, seed) in zip(answers, seeds) { #expect(answer.body.contains("\"seed\":\(seed),")) }
  }

  @Test(arguments: [
    (#""ab""#, [97, 98]), (#"["ab"]"#, [97, 98]), ("[1,2,3]", [1, 2, 3]), ("[[4,5]]", [4, 5]),
    (#""é\u00e9\ud83d\ude00""#, [195, 169, 195, 169, 240, 159, 152, 128]),
    (#""\ud83dx\ude00\/\n""#, [239, 191, 189, 120, 239, 191, 189, 47, 10]),
  ])
  func promptsAreTextOrTokens(_ prompt: String, _ tokens: [UInt32]) async throws {
    let service = ScriptedService(saying: [])
    let answer = try await withServer(service) { port in
      try await send("POST", "/v1/completions", #"{"prompt":\#(prompt)}"#, to: port)
    }
    #expect(answer.status == 200)
    #expect(service.requests.first?.prompt == tokens.map { TokenID($0) })
  }

  @Test func modelsAreListedAndFoundByEscapedName() async throws {
    let object = """
      {"id":"toy/model","object":"model","created":1700000000,"owned_by":"slipstream",\
      "meta":{"n_vocab":300,"n_ctx_train":4096,"n_embd":8,"n_params":1000,"size":4000}}
      """
    try await withServer(ScriptedService(saying: [])) { port in
      let list = try await send("GET", "/v1/models", to: port)
      #expect(list.body == #"{"object":"list","data":[\#(object)]}"#)
      for path in ["/v1/models/toy/model", "/v1/models/toy%2Fmodel"] {
        #expect(try await send("GET", path, to: port).body == object)
      }
      #expect(try await send("GET", "/v1/models/other", to: port).status == 404)
    }
  }

  @Test func tokenizeAndDetokenizeAreInverse() async throws {
    try await withServer(ScriptedService(saying: [])) { port in
      for name in ["content", "prompt"] {
        let tokens = try await send("POST", "/tokenize", #"{"\#(name)":"é!"}"#, to: port)
        #expect(tokens.body == #"{"tokens":[195,169,33],"count":3,"max_model_len":4096}"#)
      }
      let text = try await send("POST", "/detokenize", #"{"tokens":[195,299,169,33]}"#, to: port)
      #expect(text.body == #"{"content":"é!","prompt":"é!"}"#)
    }
  }

  @Test func healthAndVersionAnswerWithoutKey() async throws {
    try await withServer(ScriptedService(saying: []), keys: ["k"]) { port in
      for path in ["/health", "/v1/health"] {
        let answer = try await send("GET", path, to: port)
        #expect(answer.status == 200)
        #expect(answer.body == #"{"status":"ok","verifiers":1,"drafters":2}"#)
      }
      #expect(try await send("GET", "/version", to: port).body == #"{"version":"1.2.3"}"#)
    }
  }

  @Test(arguments: [
    (ServiceHealth(verifierCount: 0, drafterCount: 1, isDraining: false), "no_verifier"),
    (ServiceHealth(verifierCount: 1, drafterCount: 1, isDraining: true), "draining"),
  ])
  func healthFailsWhileNothingCanBeAnswered(_ health: ServiceHealth, _ code: String) async throws {
    let service = ScriptedService(health: health) { _, _ in }
    let answer = try await withServer(service) { try await send("GET", "/health", to: $0) }
    #expect(answer.status == 503)
    #expect(answer.headers["retry-after"] == "5")
    #expect(answer.body.contains(#""type":"unavailable_error","param":null,"code":"\#(code)""#))
  }

  @Test func requestIDIsEchoedIfFitAndDrawnIfNot() async throws {
    try await withServer(ScriptedService(saying: [])) { port in
      let echoed = try await send("GET", "/health", headers: ["X-Request-ID: abc-1"], to: port)
      #expect(echoed.headers["x-request-id"] == "abc-1")
      for header in ["X-Request-ID: a b", "X-Request-ID: \(String(repeating: "x", count: 129))"] {
        let drawn = try await send("GET", "/health", headers: [header], to: port)
        #expect(drawn.headers["x-request-id"]?.hasPrefix("req-") == true)
      }
      #expect(try await send("GET", "/nowhere", to: port).headers["x-request-id"] != nil)
    }
  }
}

import Cluster
import HTTPAPI
import InferenceTypes
import Testing

private let chat = #"{"messages":[{"role":"user","content":"x"}]}"#

@Suite(.timeLimit(.minutes(1)))
struct ErrorTests {
  @Test(arguments: [
    (ServiceError.noVerifier, 503, "unavailable_error", "no_verifier", "5" as String?),
    (.draining, 503, "unavailable_error", "draining", "5"),
    (.overloaded(queueLimit: 8), 429, "rate_limit_error", "queue_full", "1"),
    (
      .promptTooLong(promptTokenCount: 9, contextLength: 8), 400, "exceed_context_size_error",
      "context_length_exceeded", nil
    ),
    (.emptyPrompt, 400, "invalid_request_error", "invalid_request", nil),
    (.unknownToken(7, vocabularyCount: 5), 400, "invalid_request_error", "invalid_request", nil),
    (.workerLost("w"), 503, "unavailable_error", "worker_lost", "5"),
    (.workerFailed("w"), 500, "server_error", "worker_failed", nil),
    (.refused("no"), 400, "invalid_request_error", "invalid_request", nil),
    (
      .predictionTooLong(tokenCount: 9, limit: 8), 400, "invalid_request_error", "invalid_request",
      nil
    ),
  ])
  func refusalsOfTheClusterHaveStatusAndCode(
    _ error: ServiceError, _ status: Int, _ type: String, _ code: String, _ retryAfter: String?
  ) async throws {
    try await withServer(ScriptedService(refusing: error)) { port in
      for path in ["/v1/chat/completions", "/v1/completions"] {
        for stream in [false, true] {
          let body =
            #"{"prompt":"x","stream":\#(stream),"#
            + #""messages":[{"role":"user","content":"x"}]}"#
          let answer = try await send("POST", path, body, to: port)
          #expect(answer.status == status)
          #expect(answer.headers["retry-after"] == retryAfter)
          #expect(answer.headers["retry-after-ms"] == retryAfter.map { $0 + "000" })
          #expect(answer.body.hasPrefix(#"{"error":{"message":""#))
          #expect(answer.body.contains(#""type":"\#(type)","param":"#))
          #expect(answer.body.contains(#""code":"\#(code)""#))
        }
      }
    }
  }

  @Test func tooLongPromptTellsBothNumbers() async throws {
    let service = ScriptedService(
      refusing: .promptTooLong(promptTokenCount: 9, contextLength: 8))
    let answer = try await withServer(service) { port in
      try await send("POST", "/v1/completions", #"{"prompt":"x"}"#, to: port)
    }
    #expect(answer.body.contains(#""n_prompt_tokens":9,"n_ctx":8"#))
  }

  @Test func failureBeforeTheEndOfAWholeAnswerIsAnError() async throws {
    let service = ScriptedService { _, continuation in
      continuation.yield(.tokens(ids: [1], text: "a"))
      continuation.finish(throwing: ServiceError.workerLost("w"))
    }
    let answer = try await withServer(service) { port in
      try await send("POST", "/v1/chat/completions", chat, to: port)
    }
    #expect(answer.status == 503)
    #expect(answer.body.contains("worker_lost"))
  }

  @Test(arguments: ["/", "/v1", "/v1/models/", "/v1/embeddings", "/metric", "/%00", "//"])
  func unknownRoutesAnswerInOpenAIShape(_ path: String) async throws {
    let answer = try await withServer(ScriptedService(saying: [])) { port in
      try await send("GET", path, to: port)
    }
    #expect(answer.status == 404)
    #expect(answer.body.contains(#""type":"not_found_error","param":null,"code":"not_found""#))
  }

  @Test(arguments: [
    ("GET", "/v1/completions", "POST"), ("DELETE", "/v1/chat/completions", "POST"),
    ("GET", "/tokenize", "POST"), ("PUT", "/detokenize", "POST"), ("POST", "/v1/models", "GET"),
    ("POST", "/health", "GET"), ("POST", "/metrics", "GET"), ("POST", "/v1/models/x", "GET"),
    ("POST", "/version", "GET"),
  ])
  func wrongMethodsNameTheRightOne(
    _ method: String, _ path: String, _ allowed: String
  ) async throws {
    let answer = try await withServer(ScriptedService(saying: [])) { port in
      try await send(method, path, to: port)
    }
    #expect(answer.status == 405)
    #expect(answer.headers["allow"] == allowed)
    #expect(answer.body.contains(#""code":"method_not_allowed""#))
  }

  @Test func onlyAKeyOpensTheServer() async throws {
    try await withServer(ScriptedService(saying: ["a"]), keys: ["one", "two"]) { port in
      let refused = [
        [], ["Authorization: Bearer"], ["Authorization: Bearer "], ["Authorization: one"],
        ["Authorization: Bearer on"], ["Authorization: Bearer onee"],
        ["Authorization: Bearer oneone"], ["Authorization: Basic one"],
      ]
      for headers in refused {
        let answer = try await send(
          "POST", "/v1/chat/completions", chat, headers: headers, to: port)
        #expect(answer.status == 401)
        #expect(
          answer.body.contains(
            #""type":"authentication_error","param":null,"code":"invalid_api_key""#))
        #expect(try await send("GET", "/v1/models", headers: headers, to: port).status == 401)
        #expect(try await send("POST", "/tokenize", "{}", headers: headers, to: port).status == 401)
      }
      for header in ["Authorization: Bearer one", "authorization: bearer two"] {
        let answer = try await send(
          "POST", "/v1/chat/completions", chat, headers: [header], to: port)
        #expect(answer.status == 200)
      }
    }
  }

  @Test func unknownModelIsNamedBesideTheServedOne() async throws {
    let answer = try await withServer(ScriptedService(saying: [])) { port in
      try await send("POST", "/v1/completions", #"{"model":"gpt","prompt":"x"}"#, to: port)
    }
    #expect(answer.status == 404)
    #expect(answer.body.contains("the model 'gpt' is not served here; 'toy/model' is"))
    #expect(answer.body.contains(#""param":"model","code":"model_not_found""#))
  }

  @Test func refusalOfTheChatTemplateReachesTheClient() async throws {
    let answer = try await withServer(ScriptedService(saying: [])) { port in
      try await send(
        "POST", "/v1/chat/completions", #"{"messages":[{"role":"assistant","content":"x"}]}"#,
        to: port)
    }
    #expect(answer.status == 400)
    #expect(answer.body.contains("the first turn is the user's"))
  }

  @Test func connectionStaysOpenAfterARefusedBody() async throws {
    try await withServer(ScriptedService(saying: [])) { port in
      let first = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{"
      let both = try await RawConnection(port: port)
        .leave(after: first + httpRequest("GET", "/version"), until: "1.2.3")
      #expect(both.contains("400 Bad Request"))
      #expect(both.contains(#"{"version":"1.2.3"}"#))
    }
  }
}

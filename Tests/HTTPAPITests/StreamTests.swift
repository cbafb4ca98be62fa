import Cluster
import HTTPAPI
import InferenceTypes
import NIOCore
import Testing

private let chatHead = """
  {"id":"chatcmpl-X","object":"chat.completion.chunk","created":0,"model":"toy/model",\
  "system_fingerprint":"fp_X","seed":5,"choices":[
  """
private let completionHead = chatHead.replacing("chatcmpl", with: "cmpl")
  .replacing("chat.completion.chunk", with: "text_completion")
/// The events of a stream, comments included.
private func events(_ body: String) -> [String] {
  withoutDrawnValues(body).components(separatedBy: "\n\n")
}

extension String {
  fileprivate func components(separatedBy separator: String) -> [String] {
    var parts = split(separator: separator, omittingEmptySubsequences: false).map { String($0) }
    if parts.last == "" { parts.removeLast() }
    return parts
  }
}

private func chat(_ fields: String = "") -> String {
  #"{"messages":[{"role":"user","content":"x"}],"stream":true,"seed":5\#(fields)}"#
}

@Suite(.timeLimit(.minutes(1)))
struct StreamTests {
  @Test func chatStreamsRolePiecesReasonAndDone() async throws {
    // A token without text of its own makes no chunk.
    let service = ScriptedService(saying: ["Hé", "", "😀"])
    let answer = try await withServer(service) { port in
      try await send("POST", "/v1/chat/completions", chat(), to: port)
    }
    #expect(answer.status == 200)
    #expect(answer.headers["content-type"] == "text/event-stream; charset=utf-8")
    #expect(answer.headers["connection"] == "close")
    #expect(answer.headers["x-request-id"] != nil)
    let null = #""logprobs":null,"finish_reason":null}]}"#
    #expect(
      events(answer.body) == [
        #"data: \#(chatHead){"index":0,"delta":{"role":"assistant","content":""},\#(null)"#,
        #"data: \#(chatHead){"index":0,"delta":{"content":"Hé"},\#(null)"#,
        #"data: \#(chatHead){"index":0,"delta":{"content":"😀"},\#(null)"#,
        #"data: \#(chatHead){"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"#
          + timingsJSON + "}",
        "data: [DONE]",
      ])
  }

  @Test func completionStreamsTokensAndUsageIfAsked() async throws {
    let service = ScriptedService { _, continuation in
      continuation.yield(.tokens(ids: [1, 2], text: "a"))
      continuation.yield(.tokens(ids: [3], text: ""))
      var summary = GenerationSummary.sample
      summary.finishReason = .length
      continuation.yield(.finished(summary, text: "b"))
      continuation.finish()
    }
    let answer = try await withServer(service) { port in
      try await send(
        "POST", "/v1/completions",
        """
        {"prompt":"x","stream":true,"seed":5,"return_tokens":true,\
        "stream_options":{"include_usage":true}}
        """, to: port)
    }
    let end = #""logprobs":null,"finish_reason":null}],"usage":null}"#
    #expect(
      events(answer.body) == [
        #"data: \#(completionHead){"index":0,"text":"a","tokens":[1,2],\#(end)"#,
        #"data: \#(completionHead){"index":0,"text":"","tokens":[3],\#(end)"#,
        #"data: \#(completionHead){"index":0,"text":"b","tokens":[],\#(end)"#,
        #"data: \#(completionHead){"index":0,"text":"","logprobs":null,"#
          + #""finish_reason":"length"}],"usage":null}"#,
        "data: \(completionHead)],\(usageJSON(prompt: 7, completion: 4, cached: 2)),\(timingsJSON)}",
        "data: [DONE]",
      ])
  }

  @Test func continuousUsageCountsAlong() async throws {
    let answer = try await withServer(ScriptedService(saying: ["a", "b"])) { port in
      try await send(
        "POST", "/v1/completions",
        #"{"prompt":"xyz","stream":true,"stream_options":{"continuous_usage_stats":true}}"#,
        to: port)
    }
    let chunks = events(answer.body)
    #expect(chunks[0].contains(usageJSON(prompt: 3, completion: 1, cached: 0)))
    #expect(chunks[1].contains(usageJSON(prompt: 3, completion: 2, cached: 0)))
    #expect(chunks[2].contains(usageJSON(prompt: 7, completion: 4, cached: 2)))
  }

  @Test func piecesArriveBeforeTheGenerationEnds() async throws {
    let (continuations, made) = AsyncStream<ScriptedService.Continuation>.makeStream()
    let service = ScriptedService { _, continuation in
      continuation.yield(.tokens(ids: [1], text: "early"))
      made.yield(continuation)
    }
    try await withServer(service) { port in
      let connection = try await RawConnection(port: port)
      let request = httpRequest("POST", "/v1/chat/completions", chat())
      try await connection.exchange(request) { input, _ in
        var answer = ""
        while !answer.contains("early") {
          answer += String(buffer: try #require(try await input.next()))
        }
        #expect(!answer.contains("[DONE]"))
        var iterator = continuations.makeAsyncIterator()
        let continuation = try #require(await iterator.next())
        continuation.yield(.finished(.sample, text: ""))
        continuation.finish()
        while let buffer = try await input.next() { answer += String(buffer: buffer) }
        #expect(answer.contains("data: [DONE]\n\n"))
      }
    }
  }

  @Test func silenceIsFilledWithComments() async throws {
    let service = ScriptedService { _, _ in }
    let answer = try await withServer(service, with: .pingInterval(.milliseconds(5))) {
      port in
      try await RawConnection(port: port).exchange(
        httpRequest("POST", "/v1/chat/completions", chat())
      ) { input, _ in
        var answer = ""
        while answer.ranges(of: ":\n\n").count < 3, let buffer = try await input.next() {
          answer += String(buffer: buffer)
        }
        return answer
      }
    }
    #expect(answer.ranges(of: "\r\n:\n\n").count >= 2)
    #expect(!answer.contains("error"))
  }

  @Test(arguments: [
    (ServiceError.workerLost("w"), "worker_lost"), (.workerFailed("w"), "worker_failed"),
  ])
  func failureInMidStreamIsTheLastEvent(_ error: ServiceError, _ code: String) async throws {
    let service = ScriptedService { _, continuation in
      continuation.yield(.tokens(ids: [1], text: "a"))
      continuation.finish(throwing: error)
    }
    let answer = try await withServer(service) { port in
      try await send("POST", "/v1/chat/completions", chat(), to: port)
    }
    let chunks = events(answer.body)
    #expect(chunks.count == 3)
    #expect(chunks[1].contains(#""content":"a""#))
    #expect(chunks[2].hasPrefix(#"data: {"error":{"message":""#))
    #expect(chunks[2].contains(#""code":"\#(code)""#))
  }

  @Test(arguments: [false, true])
  func cancellationByTheClusterIsAnErrorNotAnEnd(_ streams: Bool) async throws {
    var summary = GenerationSummary.sample
    summary.finishReason = .cancelled
    let service = ScriptedService(saying: ["a"], summary: summary)
    let answer = try await withServer(service) { port in
      try await send(
        "POST", "/v1/completions", #"{"prompt":"x","stream":\#(streams)}"#, to: port)
    }
    #expect(answer.status == (streams ? 200 : 503))
    #expect(answer.body.contains(#""code":"cancelled""#))
    #expect(!answer.body.contains("[DONE]"))
  }

  @Test(arguments: [false, true])
  func streamOfTheClusterWithoutEndIsAnError(_ streams: Bool) async throws {
    let service = ScriptedService { _, continuation in continuation.finish() }
    let answer = try await withServer(service) { port in
      try await send(
        "POST", "/v1/completions", #"{"prompt":"x","stream":\#(streams)}"#, to: port)
    }
    #expect(answer.status == (streams ? 200 : 500))
    #expect(answer.body.contains(#""code":"internal_error""#))
  }
}

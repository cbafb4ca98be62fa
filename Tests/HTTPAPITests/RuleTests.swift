import Cluster
import HTTPAPI
import InferenceTypes
import Testing

/// `verify_rule` with its settings, and `prediction`.
@Suite(.timeLimit(.minutes(1)))
struct RuleTests {
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
    (
      #""verify_rule":"eager""#,
      "verify_rule 'eager' is not known: use one of gumbel-match, match, ratio, rejection, k-seq, "
        + "block, traversal, typical, relaxed, deferred", "verify_rule"
    ),
    (#""verify_rule":1"#, "verify_rule must be a string, got number", "verify_rule"),
    (
      #""verify_rule":"typical","typical_probability":1"#,
      "typical_probability must be at least 0 and below 1, got 1.0", "typical_probability"
    ),
    (
      #""verify_rule":"typical","typical_entropy":-0.5"#,
      "typical_entropy must be at least 0 and below 1, got -0.5", "typical_entropy"
    ),
    (
      #""verify_rule":"relaxed","relaxed_margin":2"#,
      "relaxed_margin must be at least 0 and at most 1, got 2.0", "relaxed_margin"
    ),
    (
      #""verify_rule":"relaxed","relaxed_candidates":-1"#,
      "relaxed_candidates must be between 0 and 4194304, got -1", "relaxed_candidates"
    ),
    (
      #""verify_rule":"deferred","deferred_entropy":-1"#,
      "deferred_entropy must be a number of nats, at least 0", "deferred_entropy"
    ),
    (
      #""verify_rule":"deferred","deferred_window":0"#,
      "deferred_window must be between 1 and 256, got 0", "deferred_window"
    ),
    (
      #""verify_rule":"ratio","relaxed_margin":0.5"#,
      "relaxed_margin belongs to the verify_rule 'relaxed'", "relaxed_margin"
    ),
    (
      #""typical_entropy":0.5"#, "typical_entropy belongs to the verify_rule 'typical'",
      "typical_entropy"
    ),
    (#""prediction":"x""#, "prediction must be an object, got string", "prediction"),
    (#""prediction":{}"#, "prediction.type must be 'content', got ''", "prediction.type"),
    (
      #""prediction":{"type":"content"}"#, "prediction.content is required", "prediction.content"
    ),
    (
      #""prediction":{"type":"content","content":7}"#,
      "prediction.content must be a string or an array of text parts, got number",
      "prediction.content"
    ),
    (
      #""prediction":{"type":"content","content":[{"type":"image_url"}]}"#,
      "content of type image_url is not supported yet", "prediction.content[0]"
    ),
  ])
  func badValuesNameTheField(_ fields: String, _ message: String, _ param: String) async throws {
    for answer in try await answers(fields) {
      #expect(answer.status == 400)
      #expect(answer.body.contains(#"{"message":"\#(message)","#), "\(answer.body)")
      #expect(answer.body.contains(#""param":"\#(param)""#), "\(answer.body)")
    }
  }

  @Test func fieldsReachTheCluster() async throws {
    let service = ScriptedService(saying: ["a"])
    _ = try await answers(
      #""verify_rule":"typical","typical_probability":0.125,"typical_entropy":0.5"#, service)
    _ = try await answers(
      #""verify_rule":"relaxed","relaxed_candidates":3,"relaxed_margin":0.25"#, service)
    _ = try await answers(
      #""verify_rule":"deferred","deferred_entropy":1.5,"deferred_window":2"#, service)
    _ = try await answers(#""verify_rule":"k-seq""#, service)
    _ = try await answers(#""verify_rule":null"#, service)
    var typical = VerifyRuleParameters(.typical)
    typical.typicalProbability = 0.125
    typical.typicalEntropy = 0.5
    var relaxed = VerifyRuleParameters(.relaxed)
    relaxed.relaxedCandidates = 3
    relaxed.relaxedMargin = 0.25
    var deferred = VerifyRuleParameters(.deferred)
    deferred.deferredEntropy = 1.5
    deferred.deferredWindow = 2
    let expected = [
      typical, relaxed, deferred, VerifyRuleParameters(.kSequential), VerifyRuleParameters(),
    ]
    #expect(service.requests.map(\.rule) == expected.flatMap { [$0, $0] })
  }

  @Test func aPredictionReachesTheCluster() async throws {
    let service = ScriptedService(saying: ["a"])
    _ = try await answers(#""prediction":{"type":"content","content":"ab"}"#, service)
    let parts = #"[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#
    _ = try await answers(#""prediction":{"type":"content","content":\#(parts)}"#, service)
    _ = try await answers(#""prediction":null"#, service)
    #expect(service.requests.map(\.prediction) == [[97, 98], [97, 98], [97, 98], [97, 98], [], []])
  }

  /// Answers whose text has another law say so, in body and head.
  @Test(arguments: [("typical", false), ("relaxed", false), ("ratio", true), ("match", true)])
  func theRuleIsTold(rule: String, isLossless: Bool) async throws {
    for stream in [false, true] {
      for answer in try await answers(#""verify_rule":"\#(rule)","stream":\#(stream)"#) {
        #expect(answer.headers["x-slipstream-verify-rule"] == rule)
        #expect(answer.headers["x-slipstream-lossless"] == "\(isLossless)")
        let label = #""verify_rule":"\#(rule)","lossless":\#(isLossless)"#
        let bodies =
          stream
          ? answer.body.split(separator: "\n\n").filter { $0.hasPrefix("data: {") }
          : [Substring(answer.body)]
        #expect(!bodies.isEmpty && bodies.allSatisfy { $0.contains(label) }, "\(answer.body)")
      }
    }
  }

  @Test func answersToRequestsWithoutARuleAreOpenAIs() async throws {
    for answer in try await answers(#""seed":1"#) {
      #expect(answer.headers["x-slipstream-verify-rule"] == nil)
      #expect(!answer.body.contains("verify_rule") && !answer.body.contains("lossless"))
    }
  }

  @Test func usageTellsWhatBecameOfThePrediction() async throws {
    var summary = GenerationSummary.sample
    summary.predictionTokenCount = 9
    summary.acceptedPredictionTokenCount = 7
    let service = ScriptedService(saying: ["a"], summary: summary)
    for answer in try await answers(#""seed":1"#, service) {
      #expect(
        answer.body.contains(
          #""accepted_prediction_tokens":7,"rejected_prediction_tokens":2"#), "\(answer.body)")
    }
  }

  /// What our own client sends arrives, and it reads what it is told.
  @Test func clientAndServerAgree() async throws {
    var summary = GenerationSummary.sample
    summary.predictionTokenCount = 5
    summary.acceptedPredictionTokenCount = 3
    for rule in VerifyRule.allCases {
      let service = ScriptedService(saying: ["a"], summary: summary)
      var query = CompletionQuery(prompt: .text("x"))
      var parameters = VerifyRuleParameters(rule)
      if rule == .typical { parameters.typicalProbability = 0.2 }
      if rule == .relaxed { parameters.relaxedCandidates = 2 }
      if rule == .deferred { parameters.deferredEntropy = 0.5 }
      query.rule = parameters
      query.prediction = "yz"
      for streams in [false, true] {
        query.streams = streams
        let result = try await withServer(service) { [query] port in
          try await CompletionClient(url: "http://127.0.0.1:\(port)").complete(query)
        }
        #expect(result.rule == rule && result.isLossless == rule.isLossless)
        #expect(result.summary.predictionTokenCount == 5)
        #expect(result.summary.acceptedPredictionTokenCount == 3)
      }
      #expect(service.requests.map(\.rule) == [parameters, parameters])
      #expect(service.requests.map(\.prediction) == [[121, 122], [121, 122]])
    }
  }
}

import Cluster
import HTTPAPI
import InferenceTypes
import Testing

@Suite(.timeLimit(.minutes(1)))
struct CollaborationTests {
  private func answer(
    _ fields: String, _ service: ScriptedService = ScriptedService(saying: ["a"])
  ) async throws -> Answer {
    try await withServer(service) { port in
      try await send("POST", "/v1/completions", #"{"prompt":"x",\#(fields)}"#, to: port)
    }
  }

  private static var summary: GenerationSummary {
    var summary = GenerationSummary.sample
    var report = CollaborationReport(method: .leading)
    report.targetCount = 1
    report.draftCount = 2
    report.combinedCount = 1
    report.switchCount = 3
    report.spentCost = 3
    report.plainCost = 4
    report.isDegraded = true
    summary.collaboration = report
    return summary
  }

  @Test func everyFieldReachesTheCluster() async throws {
    let service = ScriptedService(saying: ["a"])
    _ = try await answer(
      #"""
      "mode":"collaborative","collaboration":"contrastive","entropy_threshold":0.25,
      "entropy_hysteresis":0.125,"entropy_window":7,"draft_stay":8,"target_stay":9,
      "leading_tokens":10,"lead_probability":0.5,"led_sentences":11,"plausibility":0.75,
      "contrast":2,"tuning_strength":-3,"intervention":"gap","intervention_threshold":0.375
      """#, service)
    var parameters = CollaborationParameters(method: .contrastive)
    parameters.entropyThreshold = 0.25
    parameters.entropyHysteresis = 0.125
    parameters.entropyWindow = 7
    parameters.draftStay = 8
    parameters.targetStay = 9
    parameters.leadingTokens = 10
    parameters.leadProbability = 0.5
    parameters.ledSentences = 11
    parameters.plausibility = 0.75
    parameters.contrast = 2
    parameters.tuningStrength = -3
    parameters.intervention = .gap
    parameters.interventionThreshold = 0.375
    #expect(service.requests.map(\.collaboration) == [parameters])
  }

  @Test(arguments: [
    (
      #""mode":"collaborative""#,
      CollaborationParameters(method: .entropy) as CollaborationParameters?
    ),
    (#""mode":"collaborative","collaboration":"oracle""#, CollaborationParameters(method: .oracle)),
    (#""mode":"exact""#, nil), (#""mode":null,"contrast":null"#, nil), (#""seed":1"#, nil),
  ])
  func nothingIsCollaborativeUnlessAskedFor(
    _ fields: String, _ expected: CollaborationParameters?
  ) async throws {
    let service = ScriptedService(saying: ["a"])
    let answer = try await answer(fields, service)
    #expect(answer.status == 200)
    #expect(service.requests.map(\.collaboration) == [expected])
    #expect(answer.headers["x-slipstream-mode"] == (expected == nil ? nil : "collaborative"))
    #expect(!answer.body.contains("collaboration"))
  }

  @Test func infinityIsAString() async throws {
    let service = ScriptedService(saying: ["a"])
    _ = try await answer(#""mode":"collaborative","entropy_threshold":"inf""#, service)
    #expect(service.requests.first?.collaboration?.entropyThreshold == .infinity)
  }

  @Test(arguments: [
    (#""mode":"both""#, "mode must be one of exact, collaborative, got 'both'", "mode"),
    (#""mode":1"#, "mode must be a string, got number", "mode"),
    (
      #""collaboration":"entropy""#, #"collaboration needs \"mode\": \"collaborative\""#,
      "collaboration"
    ),
    (
      #""mode":"exact","led_sentences":1"#, #"led_sentences needs \"mode\": \"collaborative\""#,
      "led_sentences"
    ),
    (
      #""intervention_threshold":0.5"#,
      #"intervention_threshold needs \"mode\": \"collaborative\""#, "intervention_threshold"
    ),
    (
      #""mode":"collaborative","collaboration":"love""#,
      "collaboration must be one of entropy, leading, contrastive, oracle, got 'love'",
      "collaboration"
    ),
    (
      #""mode":"collaborative","collaboration":"proxy""#,
      "collaboration proxy takes a third model, which a cluster does not have", "collaboration"
    ),
    (
      #""mode":"collaborative","entropy_threshold":-1"#,
      #"entropy_threshold must be between 0 and 1000 bits, or \"inf\", got -1.0"#,
      "entropy_threshold"
    ),
    (
      #""mode":"collaborative","entropy_threshold":"much""#,
      #"entropy_threshold must be between 0 and 1000 bits, or \"inf\", got 'much'"#,
      "entropy_threshold"
    ),
    (
      #""mode":"collaborative","entropy_window":0"#,
      "entropy_window must be between 1 and 1024, got 0", "entropy_window"
    ),
    (
      #""mode":"collaborative","intervention":"never""#,
      "intervention must be one of always, probability, gap, got 'never'", "intervention"
    ),
    (#""mirostat":1"#, "mirostat 1 is not supported yet", "mirostat"),
    (#""mirostat":3"#, "mirostat must be between 0 and 2, got 3", "mirostat"),
    (
      #""mirostat":2,"mirostat_tau":0"#, "mirostat_tau must be above 0 and at most 32, got 0",
      "mirostat_tau"
    ),
    (
      #""mirostat":2,"mirostat_eta":2"#, "mirostat_eta must be between 0.0 and 1.0, got 2.0",
      "mirostat_eta"
    ),
    (
      #""mirostat":2,"top_k":40"#, "mirostat does not go together with top_k: leave one out",
      "top_k"
    ),
    (
      #""mirostat":2,"temperature":0"#,
      "mirostat does not go together with temperature 0: leave one out", "temperature"
    ),
    (
      #""cautious_trials":4"#, "the cautious choice over HTTP is not supported yet",
      "cautious_trials"
    ),
  ])
  func badValuesNameTheField(_ fields: String, _ message: String, _ param: String) async throws {
    let answer = try await answer(fields)
    #expect(answer.status == 400)
    #expect(answer.body.contains(#"{"message":"\#(message)"#), "\(answer.body)")
    #expect(answer.body.contains(#""param":"\#(param)""#))
  }

  @Test(
    arguments: [
      (#""mirostat":2"#, 5, 0.1), (#""mirostat":2,"mirostat_tau":3,"mirostat_eta":0.5"#, 3, 0.5),
      // Clients of llama.cpp's server send both numbers always.
      (#""mirostat":0,"mirostat_tau":3,"mirostat_eta":0.5"#, 0, 0.1),
    ] as [(String, Float, Float)])
  func mirostatHasTheNamesOfLlamaServer(_ fields: String, _ tau: Float, _ eta: Float) async throws {
    let service = ScriptedService(saying: ["a"])
    #expect(try await answer(fields, service).status == 200)
    #expect(service.requests.first?.sampling.mirostatTau == tau)
    #expect(service.requests.first?.sampling.mirostatEta == eta)
  }

  @Test(arguments: [false, true], [false, true])
  func theAnswerIsLabelled(streams: Bool, includesUsage: Bool) async throws {
    let service = ScriptedService(saying: ["a", "b"], summary: Self.summary)
    let answer = try await answer(
      #""mode":"collaborative","stream":\#(streams),"#
        + #""stream_options":{"include_usage":\#(includesUsage)}"#, service)
    #expect(answer.status == 200)
    #expect(answer.headers["x-slipstream-mode"] == "collaborative")
    let label =
      #""collaboration":{"mode":"leading","target_share":0.25,"draft_share":0.5,"#
      + #""combined_share":0.25,"switches":3,"compute_saved":0.25,"degraded":true}"#
    #expect(answer.body.count(of: label) == 1, "once, at the end: \(answer.body)")
  }

  @Test(arguments: [
    (ServiceError.noDraftModel, 503, "no_draft_model"), (.noAntiexpert, 400, "invalid_request"),
    (.rowsTooLarge(vocabularyCount: 300_000, limit: 258_048), 400, "invalid_request"),
  ])
  func whatTheClusterCannotDoIsExplained(
    _ error: ServiceError, _ status: Int, _ code: String
  ) async throws {
    let answer = try await answer(
      #""mode":"collaborative""#, ScriptedService(refusing: error))
    #expect(answer.status == status && answer.body.contains(#""code":"\#(code)""#))
  }

  /// What the client sends is what the server reads, and the label comes back.
  @Test func theClientSpeaksTheSameLanguage() async throws {
    let service = ScriptedService(saying: ["a"], summary: Self.summary)
    var query = CompletionQuery(prompt: .text("x"))
    var parameters = CollaborationParameters(method: .leading)
    parameters.entropyThreshold = .infinity
    parameters.leadProbability = 0.3
    query.collaboration = parameters
    query.sampling.mirostatTau = 4
    query.sampling.mirostatEta = 0.3
    let sent = query
    let result = try await withServer(service) { port in
      try await CompletionClient(url: "http://127.0.0.1:\(port)").complete(sent)
    }
    #expect(service.requests.map(\.collaboration) == [parameters])
    #expect(service.requests.first?.sampling.mirostatTau == 4)
    #expect(service.requests.first?.sampling.mirostatEta == 0.3)
    let label = try #require(result.collaboration)
    #expect(label.method == "leading" && label.isDegraded && label.switchCount == 3)
    #expect(label.targetShare == 0.25 && label.draftShare == 0.5 && label.combinedShare == 0.25)
    #expect(label.computeSaved == 0.25)
  }
}

extension String {
  /// How often `part` occurs.
  fileprivate func count(of part: String) -> Int { ranges(of: part).count }
}

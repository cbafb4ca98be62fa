import Cluster
import InferenceTypes
import TestSupport
import Testing
import Wire

@Suite(.timeLimit(.minutes(1))) struct RouterMetricsTests {
  private func metrics(_ stage: RouterStage) async throws -> ParsedMetrics {
    try ParsedMetrics(PrometheusText.render(await stage.service.metrics()))
  }

  /// Asks again until the metrics are so, for ten seconds at most.
  private func wait(
    for stage: RouterStage, until isReached: (ParsedMetrics) -> Bool
  ) async throws {
    for _ in 0..<1000 {
      if isReached(try await metrics(stage)) { return }
      try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("the metrics do not say so")
  }

  /// Returns when the router has read the heartbeat: it answers it.
  private func tell(_ totals: WorkerTotals, _ worker: inout ScriptedWorker) async throws {
    var heartbeat = Heartbeat(sequence: 1, activeSessionCount: 0, sentAtNanoseconds: 7)
    heartbeat.totals = totals
    try worker.send(.heartbeat(heartbeat))
    while true {
      if case .heartbeat = try await worker.next().message { return }
    }
  }

  private func verifierTotals(_ count: Int) -> VerifierTotals {
    var totals = VerifierTotals()
    totals.stepCount = count
    totals.tokenCount = 2 * count
    totals.plannedCount = 3 * count
    totals.stepSessionCount = 5 * count
    totals.promptTokenCount = 6 * count
    totals.waitCount = 7 * count
    totals.waitDuration = .milliseconds(750)
    totals.overheadDuration = .milliseconds(125)
    totals.waitingSessionCount = 2
    totals.expectedTokenCount = 2.5
    totals.expectedPassDuration = .milliseconds(1500)
    totals.passDuration = .milliseconds(1250)
    totals.drafted[.copy] = 8
    totals.accepted[.copy] = 5
    totals.singleDuration = .milliseconds(4)
    totals.eightDuration = .milliseconds(5)
    return totals
  }

  @Test func whatAVerifierTellsIsMeasuredUnderItsName() async throws {
    let stage = try RouterStage()
    var first = try await stage.join(.verifier, "first")
    var second = try await stage.join(.verifier, "sec\"ond")
    #expect(try await metrics(stage).sum("slipstream_verifier_steps_total") == 0)
    try await tell(.verifier(verifierTotals(4)), &first)
    try await tell(.verifier(verifierTotals(100)), &second)
    try await tell(.verifier(verifierTotals(7)), &first)
    let read = try await metrics(stage)
    let label = #"{verifier="first"}"#
    #expect(read["slipstream_verifier_steps_total" + label] == 7)
    #expect(read["slipstream_verifier_tokens_total" + label] == 14)
    #expect(read["slipstream_verifier_planned_draft_tokens_total" + label] == 21)
    #expect(read["slipstream_verifier_step_sessions_total" + label] == 35)
    #expect(read["slipstream_verifier_prompt_tokens_total" + label] == 42)
    #expect(read["slipstream_verifier_waits_total" + label] == 49)
    #expect(read["slipstream_verifier_wait_seconds_total" + label] == 0.75)
    #expect(read["slipstream_verifier_overhead_seconds_total" + label] == 0.125)
    #expect(read["slipstream_verifier_waiting_sessions" + label] == 2)
    #expect(read["slipstream_verifier_expected_tokens_total" + label] == 2.5)
    #expect(read["slipstream_verifier_expected_pass_seconds_total" + label] == 1.5)
    #expect(read["slipstream_verifier_pass_seconds_total" + label] == 1.25)
    let source = #"{verifier="first",source="copy"}"#
    #expect(read["slipstream_verifier_drafted_tokens_total" + source] == 8)
    #expect(read["slipstream_verifier_accepted_tokens_total" + source] == 5)
    #expect(read[#"slipstream_verifier_pass_seconds{verifier="first",tokens="1"}"#] == 0.004)
    #expect(read[#"slipstream_verifier_pass_seconds{verifier="first",tokens="8"}"#] == 0.005)
    #expect(read[#"slipstream_verifier_steps_total{verifier="sec\"ond"}"#] == 100)
    #expect(read[#"slipstream_router_workers{role="verifier"}"#] == 2)
    await stage.stop()
  }

  @Test func aDrafterTellsOfItsPasses() async throws {
    let stage = try RouterStage()
    var drafter = try await stage.join(.drafter, "d")
    var totals = DrafterTotals()
    totals.passCount = 9
    totals.abortedPassCount = 2
    totals.restingSessionCount = 1
    totals.draftDuration = .milliseconds(3)
    try await tell(.drafter(totals), &drafter)
    let read = try await metrics(stage)
    #expect(read[#"slipstream_drafter_passes_total{drafter="d"}"#] == 9)
    #expect(read[#"slipstream_drafter_aborted_passes_total{drafter="d"}"#] == 2)
    #expect(read[#"slipstream_drafter_resting_sessions{drafter="d"}"#] == 1)
    #expect(read[#"slipstream_drafter_token_seconds{drafter="d"}"#] == 0.003)
    await stage.stop()
  }

  @Test func whatIsNotOfItsRoleIsNotKept() async throws {
    let stage = try RouterStage()
    var drafter = try await stage.join(.drafter, "d")
    try await tell(.verifier(verifierTotals(4)), &drafter)
    #expect(try await metrics(stage).sum("slipstream_verifier_steps_total") == 0)
    await stage.stop()
  }

  @Test func aWorkerThatLeavesIsMeasuredNoMore() async throws {
    let stage = try RouterStage()
    var worker = try await stage.join(.verifier, "v")
    try await tell(.verifier(verifierTotals(4)), &worker)
    #expect(try await metrics(stage).sum("slipstream_verifier_steps_total") == 4)
    try worker.send(.goodbye)
    try await wait(for: stage) { $0[#"slipstream_router_workers{role="verifier"}"#] == 0 }
    #expect(try await metrics(stage).sum("slipstream_verifier_steps_total") == 0)
    await stage.stop()
  }

  @Test func whatRunsWaitsAndFailsIsCountedAsThat() async throws {
    let stage = try RouterStage()
    var worker = try await stage.join(.verifier, "v", slots: 1)
    let running = try await stage.generate("first")
    let waiting = try await stage.generate("second")
    let (session, _) = try await worker.opened()
    let busy = try await metrics(stage)
    #expect(busy["slipstream_router_sessions"] == 2)
    #expect(busy["slipstream_router_queued_sessions"] == 1)
    try worker.send(
      .sessionFailed(Refusal(code: .invalidMessage, message: "no such place")), in: session)
    await #expect(throws: (any Error).self) { _ = try await ReceivedText(running) }
    let (next, _) = try await worker.opened()
    try worker.write("done", to: next)
    #expect(try await ReceivedText(waiting).text == "done")
    let read = try await metrics(stage)
    #expect(read[#"slipstream_router_requests_total{outcome="failed"}"#] == 1)
    #expect(read[#"slipstream_router_requests_total{outcome="refused"}"#] == 0)
    #expect(read["slipstream_router_sessions"] == 0)
    await stage.stop()
  }

  @Test func requestsAreCountedAsTheirClientsSawThem() async throws {
    let stage = try RouterStage()
    await #expect(throws: ServiceError.self) { _ = try await stage.generate("refused") }
    var worker = try await stage.join(.verifier, "v")
    var expected = 0
    for text in ["first", "the second"] {
      let stream = try await stage.generate("hi")
      let (session, _) = try await worker.opened()
      try worker.write(text, to: session)
      let received = try await ReceivedText(stream)
      expected += try #require(received.summary).completionTokenCount
    }
    let read = try await metrics(stage)
    #expect(read[#"slipstream_router_requests_total{outcome="stop"}"#] == 2)
    #expect(read[#"slipstream_router_requests_total{outcome="refused"}"#] == 1)
    #expect(read[#"slipstream_router_requests_total{outcome="failed"}"#] == 0)
    #expect(read["slipstream_router_completion_tokens_total"] == Double(expected))
    #expect(
      read["slipstream_router_prompt_tokens_total"]
        == Double(2 * ByteVocabulary.tokens("hi").count))
    #expect(read["slipstream_router_sessions"] == 0)
    #expect(read["slipstream_router_queued_sessions"] == 0)
    worker.sendRaw([1, 2, 3])
    try await wait(for: stage) { $0.sum("slipstream_router_dropped_frames_total") >= 1 }
    #expect(
      try await metrics(stage)[#"slipstream_router_dropped_frames_total{reason="malformed"}"#] == 1)
    await stage.stop()
  }
}

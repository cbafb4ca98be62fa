import Cluster
import Decoding
import InferenceTypes
import Testing
import Transport
import Wire

@Suite(.timeLimit(.minutes(1))) struct RouterServiceTests {
  @Test func aRequestStreamsToCompletion() async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    let stream = try await stage.generate("hi", limit: 9)
    let (session, open) = try await verifier.opened()
    #expect(session.rawValue != 0)
    #expect(open.prompt == ByteVocabulary.tokens("hi"))
    #expect(open.tokenLimit == 9 && open.endTokens == [ByteVocabulary.end])
    var statistics = SessionStatistics()
    statistics.promptDuration = .milliseconds(3)
    statistics.decodeDuration = .milliseconds(4)
    statistics.cachedTokenCount = 1
    statistics.verifyStepCount = 2
    statistics.drafted[.remote] = 5
    statistics.accepted[.remote] = 3
    statistics.drafted[.prediction] = 4
    statistics.accepted[.prediction] = 1
    try verifier.tokens(session, from: 0, ByteVocabulary.tokens("hel"))
    try verifier.tokens(
      session, from: 3, ByteVocabulary.tokens("lo") + [ByteVocabulary.end], ending: .stop,
      statistics: statistics)
    let received = try await ReceivedText(stream)
    #expect(received.text == "hello")
    #expect(received.ids == ByteVocabulary.tokens("hello") + [ByteVocabulary.end])
    var summary = GenerationSummary()
    summary.finishReason = .stop
    summary.promptTokenCount = 2
    summary.cachedTokenCount = 1
    summary.completionTokenCount = 6
    summary.promptDuration = .milliseconds(3)
    summary.decodeDuration = .milliseconds(4)
    summary.verifyStepCount = 2
    summary.draftTokenCount = 9
    summary.acceptedTokenCount = 4
    summary.predictionTokenCount = 4
    summary.acceptedPredictionTokenCount = 1
    #expect(received.summary == summary)
    await stage.stop()
  }

  @Test(arguments: 1...9)
  func charactersAppearWhole(size: Int) async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    let text = "é🙂漢 x"
    let stream = try await stage.generate()
    let (session, _) = try await verifier.opened()
    try verifier.write(text, to: session, size: size)
    #expect(try await ReceivedText(stream).text == text)
    await stage.stop()
  }

  /// Every way to cut the tokens of a text in two messages, and each alone.
  @Test(arguments: 0...8)
  func aStopStringEndsTheTextWhereverItIsCut(cut: Int) async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    let tokens = ByteVocabulary.tokens("onetwoXY")
    let stream = try await stage.generate(stops: ["two", "woX"])
    let (session, _) = try await verifier.opened()
    if cut == 0 {
      for (index, token) in tokens.enumerated() {
        try verifier.tokens(session, from: index, [token])
      }
    } else {
      try verifier.tokens(session, from: 0, Array(tokens[..<cut]))
      if cut < tokens.count { try verifier.tokens(session, from: cut, Array(tokens[cut...])) }
    }
    #expect(
      try await verifier.nextOrder() == Envelope(session: session, message: .cancelSession))
    var statistics = SessionStatistics()
    statistics.verifyStepCount = 77
    try verifier.tokens(session, from: 8, [], ending: .cancelled, statistics: statistics)
    let received = try await ReceivedText(stream)
    #expect(received.text == "one")
    #expect(received.ids == ByteVocabulary.tokens("onetwo"))
    #expect(received.summary?.finishReason == .stop)
    #expect(received.summary?.completionTokenCount == 6)
    #expect(received.summary?.verifyStepCount == 77)
    await stage.stop()
  }

  @Test func textThatOnlyLooksLikeAStopStringArrivesInTheEnd() async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    let stream = try await stage.generate(stops: ["lost"])
    let (session, _) = try await verifier.opened()
    try verifier.write("hel lo", to: session)
    let received = try await ReceivedText(stream)
    #expect(received.text == "hel lo" && received.summary?.finishReason == .stop)
    await stage.stop()
  }

  @Test func anotherVerifierContinuesTheTextOfOneThatDied() async throws {
    let stage = try RouterStage()
    var first = try await stage.join(.verifier, "v1")
    let stream = try await stage.generate("hi")
    let (session, _) = try await first.opened()
    var second = try await stage.join(.verifier, "v2")
    try first.tokens(session, from: 0, ByteVocabulary.tokens("the\u{20}t"))
    var events = stream.makeAsyncIterator()
    _ = try await events.next()
    await first.transport.close()
    let (moved, open) = try await second.opened()
    #expect(moved == session)
    #expect(open.decided == ByteVocabulary.tokens("the t"))
    // From before the journal's end: the overlap is dropped.
    try second.write("the text", to: session, from: 3, size: 2)
    var text = "the t"
    while let event = try await events.next() {
      switch event {
      case .tokens(_, let more), .finished(_, let more): text += more
      }
    }
    #expect(text == "the text")
    await stage.stop()
  }

  @Test func theOrdersOfASessionComeInTheirOrder() async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    var drafter = try await stage.join(.drafter, "d")
    let stream = try await stage.generate()
    let (session, _) = try await verifier.opened()
    let epoch = InstanceEpoch(rawValue: 1)
    #expect(
      try await verifier.nextOrder()
        == Envelope(
          session: session,
          message: .draftAssigned(DraftAssigned(drafterName: "d", drafterEpoch: epoch))))
    let assignment = AssignDraft(
      verifierEndpoint: "tcp://v:1", verifierName: "v", verifierEpoch: epoch)
    #expect(
      try await drafter.nextOrder()
        == Envelope(session: session, message: .assignDraft(assignment)))
    try verifier.write("x", to: session)
    #expect(
      try await drafter.nextOrder() == Envelope(session: session, message: .endDraft))
    #expect(try await ReceivedText(stream).text == "x")
    await stage.stop()
  }

  @Test func droppingTheStreamCancelsTheSession() async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    var stream: AsyncThrowingStream<GenerationEvent, any Error>? = try await stage.generate()
    let (session, _) = try await verifier.opened()
    #expect(stream != nil)
    stream = nil
    #expect(
      try await verifier.nextOrder() == Envelope(session: session, message: .cancelSession))
    await stage.stop()
  }

  @Test func cancellingTheReaderCancelsTheSession() async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    let stream = try await stage.generate()
    let reader = Task { try await ReceivedText(stream) }
    let (session, _) = try await verifier.opened()
    reader.cancel()
    #expect(
      try await verifier.nextOrder() == Envelope(session: session, message: .cancelSession))
    _ = await reader.result
    await stage.stop()
  }

  @Test func whatDoesNotFitInTheQueueIsRefusedAtOnce() async throws {
    let stage = try RouterStage { $0.routing.queueCountMax = 1 }
    let verifier = try await stage.join(.verifier, "v", slots: 1)
    let running = try await stage.generate()
    let waiting = try await stage.generate()
    await #expect(throws: ServiceError.overloaded(queueLimit: 1)) {
      _ = try await stage.generate()
    }
    _ = (running, waiting, verifier)
    await stage.stop()
  }

  @Test func requestsThatCannotRunAreRefused() async throws {
    let stage = try RouterStage()
    await #expect(throws: ServiceError.noVerifier) { _ = try await stage.generate() }
    await #expect(throws: ServiceError.emptyPrompt) { _ = try await stage.generate("") }
    let long = String(repeating: "x", count: 100)
    await #expect(throws: ServiceError.promptTooLong(promptTokenCount: 100, contextLength: 100)) {
      _ = try await stage.generate(long)
    }
    await #expect(throws: ServiceError.unknownToken(257, vocabularyCount: 257)) {
      _ = try await stage.service.generate(
        GenerationRequest(prompt: [257], sampling: SamplingParameters(), tokenLimit: 1))
    }
    var sampling = SamplingParameters()
    sampling.topK = -1
    let verifier = try await stage.join(.verifier, "v")
    let request = GenerationRequest(prompt: [1], sampling: sampling, tokenLimit: 1)
    let error = await #expect(throws: ServiceError.self) {
      _ = try await stage.service.generate(request)
    }
    guard case .workerFailed(let message) = error else {
      Issue.record("a request that no message can express was taken")
      return
    }
    #expect(message.contains("topK") || message.contains("top_k"), "\(message)")
    _ = verifier
    await stage.stop()
  }

  @Test func aFailureReachesTheReader() async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    let stream = try await stage.generate()
    let (session, _) = try await verifier.opened()
    try verifier.send(
      .sessionFailed(Refusal(code: .invalidMessage, message: "no")), in: session)
    await #expect(throws: ServiceError.workerFailed("no")) { _ = try await ReceivedText(stream) }
    await stage.stop()
  }

  @Test func aLongTextWaitsForItsReaderWithoutALoss() async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    let stream = try await stage.generate("p")
    let (session, _) = try await verifier.opened()
    let tokens = [TokenID](repeating: 97, count: 99)
    for (index, token) in tokens.enumerated() {
      try verifier.tokens(session, from: index, [token], ending: index == 98 ? .length : nil)
    }
    // Answered after all of them.
    try verifier.heartbeat()
    _ = try await verifier.next()
    let received = try await ReceivedText(stream)
    #expect(received.ids == tokens && received.summary?.finishReason == .length)
    await stage.stop()
  }
}

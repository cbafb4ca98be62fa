import Cluster
import Engine
import InferenceTypes
import Testing
import Wire

/// A verifier of the default model behind its sockets; the test plays the router.
@Suite(.timeLimit(.minutes(3))) struct VerifierWorkerTests {
  @Test(arguments: [0, 0.8] as [Float])
  func eightSessionsAtOnceWriteWhatEachWritesAlone(temperature: Float) async throws {
    let stage = try VerifierStage()
    let requests = stage.requests(8, temperature: temperature, tokenLimit: 24)
    let expected = try stage.plain(requests)
    let heard = try await stage.run(requests)
    for index in requests.indices {
      #expect(heard[index].tokens == expected[index], "session \(index)")
      #expect(heard[index].refusal == nil)
    }
    let passCount = heard.map { $0.ending?.statistics.verifyStepCount ?? 0 }
    #expect(passCount.allSatisfy { $0 > 0 && $0 <= 24 })
  }

  /// A router takes silent sessions away, and a prompt may take minutes.
  @Test(arguments: [false, true])
  func aSessionThatReadsItsPromptSaysThatItLives(isCollaboration: Bool) async throws {
    let stage = try VerifierStage()
    var request = stage.requests(1, temperature: 0, tokenLimit: 4)[0]
    request.prompt = Array((request.prompt + request.prompt + request.prompt).prefix(12))
    while request.prompt.count < 200 { request.prompt += request.prompt.prefix(12) }
    let expected = try stage.plain([request])
    if isCollaboration { request.collaboration = CollaborationParameters(method: .entropy) }
    let heard = try await stage.run([request], methods: "none", signInterval: .zero)
    #expect(heard.map(\.tokens) == expected)
    // Four stretches of the prompt, and nothing to say after three of them.
    #expect(heard[0].signCount >= 3)
  }

  /// What a session does not allow is not drafted for it, though other sessions have it.
  @Test func aSessionGetsDraftsOfItsOriginsOnly() async throws {
    let stage = try VerifierStage()
    var requests = stage.requests(3, temperature: 0, tokenLimit: 40)
    requests[1].draftOrigins = [.remote, .suffix]
    requests[2].draftOrigins = []
    let expected = try stage.plain(requests)
    let heard = try await stage.run(requests, methods: "recycle,suffix")
    #expect(heard.map(\.tokens) == expected)
    let drafted = try heard.map { try #require($0.ending).statistics.drafted }
    #expect(drafted[0][.recycling] > 0)
    #expect(drafted[1][.recycling] == 0 && drafted[1][.suffix] > 0)
    #expect(DraftOrigin.allCases.allSatisfy { drafted[2][$0] == 0 })
  }

  @Test func aSessionThatIsCancelledLeavesTheOthersAlone() async throws {
    let stage = try VerifierStage()
    let requests = stage.requests(5, temperature: 0.8, tokenLimit: 60)
    let expected = try stage.plain(requests)
    let victim = SessionID(rawValue: 3)
    var isCancelled = false
    let heard = try await stage.run(requests) { session, count, send in
      guard session == victim, count >= 4, !isCancelled else { return }
      isCancelled = true
      try send(.cancelSession, victim)
    }
    for index in requests.indices where index != 2 {
      #expect(heard[index].tokens == expected[index], "session \(index)")
    }
    #expect(heard[2].ending?.finishReason == .cancelled)
    #expect(Array(expected[2].prefix(heard[2].tokens.count)) == heard[2].tokens)
    #expect(heard[2].tokens.count < expected[2].count)
  }

  /// Sessions that do not fit into memory together wait for each other; none fails.
  @Test func theYoungestWaitsWhereMemoryIsShort() async throws {
    let stage = try VerifierStage()
    let requests = stage.requests(6, temperature: 0.8, tokenLimit: 40)
    let expected = try stage.plain(requests)
    let layout = BlockLayout(
      layerCount: stage.model.shape.layerCount, headCount: stage.model.shape.keyValueHeadCount,
      headLength: stage.model.shape.headLength, types: stage.model.backend.defaultCacheTypes)
    let heard = try await stage.run(requests, keyValueMemoryBytes: 26 * layout.blockBytes)
    for index in requests.indices {
      #expect(heard[index].tokens == expected[index], "session \(index)")
      #expect(heard[index].refusal == nil, "\(String(describing: heard[index].refusal))")
    }
  }
}

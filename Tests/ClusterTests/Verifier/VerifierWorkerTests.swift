import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import Logging
import TestSupport
import Testing
import Tokenizer
import Transport
import Wire

/// A verifier of the default model behind its sockets; the test plays the router.
@Suite(.timeLimit(.minutes(3))) struct VerifierWorkerTests {
  /// What the router heard of one session.
  private struct Heard {
    var tokens: [TokenID] = []
    var ending: SessionEnding?
    var refusal: Refusal?
    var isOver: Bool { ending != nil || refusal != nil }
  }

  private struct Stage {
    let model: Model
    let tokenizer: BytePairTokenizer
    let identity: WorkerIdentity

    init() throws {
      let file = try GGUFFile(path: TestFiles.modelPath())
      tokenizer = try BytePairTokenizer(file: file)
      model = try Model(file: file)
      identity = try WorkerIdentity(
        name: "v", modelID: "m", file: file, tokenizer: tokenizer, shape: model.shape,
        contextLength: 256)
    }

    func requests(_ count: Int, temperature: Float, tokenLimit: Int) -> [OpenSession] {
      (0..<count).map { index in
        let text = String(repeating: "A ship came in with the tide. ", count: 1 + index * 5 % 9)
        var sampling = SamplingParameters()
        sampling.temperature = temperature
        sampling.seed = UInt64(index + 1)
        var open = OpenSession(
          prompt: tokenizer.encode(text + "Number \(index)", parseSpecial: false),
          sampling: sampling)
        open.tokenLimit = tokenLimit
        open.endTokens = tokenizer.endOfGeneration
        return open
      }
    }

    func plain(_ requests: [OpenSession]) throws -> [[TokenID]] {
      let engine = try InferenceEngine(model: model, contextLength: 256)
      let none = try DraftMethods(parsing: "none", hasDraftModel: false)
      let generator = try LocalGenerator(engine: engine, draftEngine: nil, methods: none)
      return try requests.map { request in
        var configuration = VerifierSession.Configuration(
          prompt: request.prompt, sampling: request.sampling, contextLength: 256,
          vocabularyCount: model.shape.vocabularyCount)
        configuration.tokenLimit = request.tokenLimit
        configuration.stopTokens = request.endTokens
        return try generator.generate(configuration).tokens
      }
    }

    /// Opens all sessions at once and listens until all are over; `onTokens` may send more.
    func run(
      _ requests: [OpenSession], methods: String = "auto", keyValueMemoryBytes: Int? = nil,
      onTokens: (SessionID, Int, (WireMessage, SessionID) throws -> Void) throws -> Void = {
        _, _, _ in
      }
    ) async throws -> [Heard] {
      let context = try ZeroMQContext()
      let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
      var configuration = VerifierWorker.Configuration(
        identity: identity, routerEndpoint: router.endpoints[0],
        methods: try DraftMethods(parsing: methods, hasDraftModel: false))
      configuration.keyValueMemoryBytes = keyValueMemoryBytes
      configuration.slotCount = requests.count
      let worker = VerifierWorker(
        configuration: configuration, model: model, context: context,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      var heard = [Heard](repeating: Heard(), count: requests.count)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await worker.run() }
        for await event in router.events {
          guard case .message(let peer, let frame) = event else { continue }
          func send(_ message: WireMessage, _ session: SessionID) throws {
            let envelope = Envelope(session: session, message: message)
            #expect(router.send(try envelope.encoded(), to: peer) == .queued)
          }
          let envelope = try Envelope(decoding: frame)
          let index = Int(envelope.session.rawValue) - 1
          switch envelope.message {
          case .register:
            try send(
              .registered(
                .accepted(
                  heartbeatInterval: .seconds(1), epoch: InstanceEpoch(rawValue: 1))),
              Envelope.noSession)
            for (index, request) in requests.enumerated() {
              try send(.openSession(request), SessionID(rawValue: UInt64(index + 1)))
            }
          case .heartbeat(let heartbeat): try send(.heartbeat(heartbeat), Envelope.noSession)
          case .sessionTokens(let tokens):
            #expect(tokens.firstIndex == heard[index].tokens.count)
            heard[index].tokens += tokens.tokens
            heard[index].ending = tokens.ending
            try onTokens(envelope.session, heard[index].tokens.count, send)
          case .sessionFailed(let refusal): heard[index].refusal = refusal
          default: Issue.record("\(envelope.message.name)")
          }
          if heard.allSatisfy(\.isOver) { break }
        }
        group.cancelAll()
        try await group.waitForAll()
      }
      await router.close()
      return heard
    }
  }

  @Test(arguments: [0, 0.8] as [Float])
  func eightSessionsAtOnceWriteWhatEachWritesAlone(temperature: Float) async throws {
    let stage = try Stage()
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

  /// What a session does not allow is not drafted for it, though other sessions have it.
  @Test func aSessionGetsDraftsOfItsOriginsOnly() async throws {
    let stage = try Stage()
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
    let stage = try Stage()
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
    let stage = try Stage()
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

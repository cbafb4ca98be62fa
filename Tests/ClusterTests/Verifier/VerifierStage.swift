import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import Logging
import Synchronization
import TestSupport
import Testing
import Tokenizer
import Transport
import Wire

/// A verifier of the default model; the test plays the router, and where it wants a drafter.
struct VerifierStage {
  /// What the router heard of one session.
  struct Heard {
    var tokens: [TokenID] = []
    /// Messages before the first token that say but that the session lives.
    var signCount = 0
    var ending: SessionEnding?
    var refusal: Refusal?
    var isOver: Bool { ending != nil || refusal != nil }
  }

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

  /// Opens all sessions at once and listens until all are over; `onTokens` may send more. A drafter
  /// is there before they are opened.
  func run(
    _ requests: [OpenSession], methods: String = "auto", keyValueMemoryBytes: Int? = nil,
    drafter: ScriptedDrafter? = nil, signInterval: Duration? = nil,
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
    configuration.tokenizer = tokenizer
    // Drafts look worth their while, however busy the machine is.
    configuration.costs = MeasuredCosts(
      known: VerifyCosts(relative: [Float](repeating: 1, count: 128)), single: .milliseconds(20))
    if let signInterval { configuration.signInterval = signInterval }
    configuration.slotCount = requests.count
    let worker = VerifierWorker(
      configuration: configuration, model: model, context: context,
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    var heard = requests.map { Heard(tokens: $0.decided) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await worker.run() }
      for await event in router.events {
        guard case .message(let peer, let frame) = event else { continue }
        @Sendable func send(_ message: WireMessage, _ session: SessionID) throws {
          let envelope = Envelope(session: session, message: message)
          #expect(router.send(try envelope.encoded(), to: peer) == .queued)
        }
        @Sendable func open() throws {
          for (index, request) in requests.enumerated() {
            try send(.openSession(request), SessionID(rawValue: UInt64(index + 1)))
          }
        }
        let envelope = try Envelope(decoding: frame)
        let index = Int(envelope.session.rawValue) - 1
        switch envelope.message {
        case .register(let register):
          try send(
            .registered(
              .accepted(
                heartbeatInterval: .seconds(1), epoch: InstanceEpoch(rawValue: 1))),
            Envelope.noSession)
          guard let drafter else {
            try open()
            continue
          }
          group.addTask {
            try await drafter.run(context, verifier: register) { assignment in
              try open()
              guard let assignment else { return }
              for index in requests.indices {
                try send(.draftAssigned(assignment), SessionID(rawValue: UInt64(index + 1)))
              }
            }
          }
        case .heartbeat(let heartbeat): try send(.heartbeat(heartbeat), Envelope.noSession)
        case .sessionTokens(let tokens):
          #expect(tokens.firstIndex == heard[index].tokens.count)
          heard[index].tokens += tokens.tokens
          heard[index].ending = tokens.ending
          if heard[index].tokens.isEmpty, tokens.ending == nil { heard[index].signCount += 1 }
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

/// A drafter of the test's own making, on its link to the verifier. It attaches to session 1 until
/// it is taken.
final class ScriptedDrafter: Sendable {
  /// What it does with a message of its session; sends what is returned.
  typealias Script = @Sendable (WireMessage) -> [WireMessage]

  private let isAssigned: Bool
  /// What it says of the way to the verifier.
  private let roundTrip: Duration
  private let script: Script
  private let refusals = Mutex<[RefusalCode]>([])

  init(isAssigned: Bool, roundTrip: Duration = .zero, script: @escaping Script) {
    self.isAssigned = isAssigned
    self.roundTrip = roundTrip
    self.script = script
  }

  /// Why it was not taken, so far.
  var refusalCodes: [RefusalCode] { refusals.withLock { $0 } }

  /// Registers, has the sessions opened and then follows its script.
  func run(
    _ context: ZeroMQContext, verifier: Register, open: (DraftAssigned?) throws -> Void
  ) async throws {
    let epoch = InstanceEpoch(rawValue: 5)
    var registration = verifier
    registration.role = .drafter
    registration.name = "scripted"
    registration.epoch = epoch
    registration.dataEndpoint = ""
    let dealer = try ZeroMQDealer(context, connect: verifier.dataEndpoint)
    let session = SessionID(rawValue: 1)
    func send(_ message: WireMessage, _ session: SessionID) throws {
      _ = dealer.send(try Envelope(session: session, message: message).encoded())
    }
    let attach = WireMessage.attachDraft(
      AttachDraft(
        drafterName: registration.name, drafterEpoch: epoch, truthLength: 0,
        truthHash: TruthHash().value))
    for await event in dealer.events {
      switch event {
      case .connected: try send(.register(registration), Envelope.noSession)
      case .message(_, let frame):
        let envelope = try Envelope(decoding: frame)
        switch envelope.message {
        case .registered:
          if roundTrip > .zero {
            var heartbeat = Heartbeat(sequence: 1, activeSessionCount: 0, sentAtNanoseconds: 1)
            heartbeat.roundTrip = roundTrip
            try send(.heartbeat(heartbeat), Envelope.noSession)
          }
          try open(
            isAssigned ? DraftAssigned(drafterName: registration.name, drafterEpoch: epoch) : nil)
          try send(attach, session)
        case .attachReply(.refused(let refusal)):
          refusals.withLock { $0.append(refusal.code) }
          // Ends early where the test is over, and then nobody listens.
          try? await Task.sleep(for: .milliseconds(1))
          try send(attach, session)
        default: for answer in script(envelope.message) { try send(answer, session) }
        }
      default: continue
      }
    }
    await dealer.close()
  }
}

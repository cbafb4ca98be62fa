import Cluster
import Decoding
import InferenceTypes
import Testing
import Transport
import Wire

@Suite(.timeLimit(.minutes(1))) struct RouterLinkTests {
  @Test func heartbeatsAreEchoed() async throws {
    let stage = try RouterStage()
    var worker = try await stage.join(.verifier, "v")
    try worker.heartbeat()
    guard case .heartbeat(let answer) = try await worker.next().message else {
      Issue.record("no heartbeat")
      return
    }
    #expect(answer.echoNanoseconds == 7 && answer.sentAtNanoseconds > 0 && !answer.isDraining)
    await stage.stop()
  }

  @Test func whoIsUnknownIsAskedToRegister() async throws {
    let stage = try RouterStage()
    var worker = stage.connect()
    try worker.heartbeat()
    guard case .reject(let reject) = try await worker.next().message else {
      Issue.record("no rejection")
      return
    }
    #expect(reject.refusal.code == .unexpectedMessage)
    try worker.send(.register(RouterStage.registration(.drafter, "d")))
    guard case .registered(.accepted(let interval, let epoch)) = try await worker.next().message
    else {
      Issue.record("not accepted")
      return
    }
    #expect(interval == .seconds(60) && epoch.rawValue != 0)
    #expect(
      await stage.service.health()
        == ServiceHealth(verifierCount: 0, drafterCount: 1, isDraining: false))
    await stage.stop()
  }

  @Test func aVerifierOfAnotherModelIsRefusedWithAReason() async throws {
    let stage = try RouterStage()
    var worker = stage.connect()
    var registration = try RouterStage.registration(.verifier, "v")
    registration.modelFingerprint = try RouterStage.fingerprint(2)
    try worker.send(.register(registration))
    guard case .registered(.refused(let refusal)) = try await worker.next().message else {
      Issue.record("not refused")
      return
    }
    #expect(refusal.code == .modelsDiffer && refusal.message.contains("same file"))
    await stage.stop()
  }

  @Test func garbageDisturbsNobodyAndWhoSendsTooMuchIsIgnored() async throws {
    let stage = try RouterStage()
    var verifier = try await stage.join(.verifier, "v")
    let stream = try await stage.generate()
    let (session, _) = try await verifier.opened()
    var hostile = stage.connect()
    var random = SystemRandomNumberGenerator()
    for length in 1...100 {
      hostile.sendRaw((0..<length).map { _ in .random(in: 0x80...0xFF, using: &random) })
    }
    try hostile.send(.truth(Truth(from: 0, tokens: [1])), in: session)
    // The 101st fault was the last that was listened to.
    try hostile.send(.register(RouterStage.registration(.verifier, "h")))
    try verifier.write("fine", to: session)
    #expect(try await ReceivedText(stream).text == "fine")
    guard case .reject(let reject) = try await hostile.next().message else {
      Issue.record("no rejection")
      return
    }
    #expect(reject.messageType == WireMessage.truth(Truth(from: 0, tokens: [])).type)
    let counts = await stage.service.faultCounts
    #expect(counts[.unexpectedMessage] == 1 && counts[.ignoredPeer] == 1)
    #expect(counts.values.reduce(0, +) == 102)
    #expect(await stage.service.health().verifierCount == 1)
    await stage.stop()
  }

  @Test func aMessageOfALaterVersionIsNoFault() async throws {
    let stage = try RouterStage()
    var worker = try await stage.join(.verifier, "v")
    // Version 1, and a body in field 1000.
    for _ in 0..<200 { worker.sendRaw([0x08, 0x01, 0xC2, 0x3E, 0x00]) }
    try worker.heartbeat()
    guard case .heartbeat = try await worker.next().message else {
      Issue.record("not listened to")
      return
    }
    #expect(await stage.service.faultCounts == [.unknownMessage: 200])
    await stage.stop()
  }

  /// Answered to a rejection, they would go on for ever.
  @Test func rejectionsAreNotRejected() async throws {
    let stage = try RouterStage()
    var worker = stage.connect()
    let refusal = Refusal(code: .internal, message: "no")
    try worker.send(
      .reject(Reject(refusal: refusal, messageType: 32)), in: SessionID(rawValue: 1))
    try worker.send(.register(RouterStage.registration(.verifier, "v")))
    guard case .registered(.accepted) = try await worker.next().message else {
      Issue.record("something else came first")
      return
    }
    await stage.stop()
  }

  @Test func anotherVersionIsToldSo() async throws {
    let stage = try RouterStage()
    var worker = stage.connect()
    worker.sendRaw([0x08, 0x02, 0x9A, 0x01, 0x00])
    guard case .reject(let reject) = try await worker.next().message else {
      Issue.record("no rejection")
      return
    }
    #expect(reject.refusal.code == .versionsDiffer)
    await stage.stop()
  }

  @Test func drainingLetsSessionsFinishAndTakesLeave() async throws {
    let stage = try RouterStage { $0.drainMax = .seconds(60) }
    var verifier = try await stage.join(.verifier, "v")
    let stream = try await stage.generate()
    let (session, _) = try await verifier.opened()
    let stopping = Task { await stage.stop() }
    while !(await stage.service.health().isDraining) { await Task.yield() }
    await #expect(throws: ServiceError.draining) { _ = try await stage.generate() }
    try verifier.write("last", to: session)
    #expect(try await ReceivedText(stream).text == "last")
    #expect(try await verifier.nextOrder().message == .goodbye)
    await stopping.value
  }

  @Test func drainingHasAnEnd() async throws {
    let stage = try RouterStage { $0.drainMax = .milliseconds(20) }
    var verifier = try await stage.join(.verifier, "v")
    let stream = try await stage.generate()
    let (session, _) = try await verifier.opened()
    await stage.stop()
    await #expect(throws: ServiceError.draining) { _ = try await ReceivedText(stream) }
    #expect(
      try await verifier.nextOrder() == Envelope(session: session, message: .cancelSession))
  }

  @Test func itWorksOverZeroMQ() async throws {
    let context = try ZeroMQContext()
    let transport = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
    var configuration = RouterConfiguration()
    configuration.routing.heartbeatInterval = .seconds(60)
    let service = RouterService(
      configuration: configuration, tokenizer: try ByteVocabulary.tokenizer(),
      served: RouterStage.model, modelFingerprint: try RouterStage.fingerprint(1),
      transport: transport, logger: RouterStage.logger)
    let running = Task { await service.run() }
    let worker = try ZeroMQDealer(context, connect: try #require(transport.endpoints.first))
    var events = worker.events.makeAsyncIterator()
    var session: SessionID?
    var stream: AsyncThrowingStream<GenerationEvent, any Error>?
    let register = try Envelope(
      message: .register(RouterStage.registration(.verifier, "v"))
    ).encoded()
    while session == nil, let event = await events.next(isolation: #isolation) {
      switch event {
      case .connected: #expect(worker.send(register) == .queued)
      case .message(_, let frame):
        let envelope = try Envelope(decoding: frame)
        if case .registered(.accepted) = envelope.message {
          stream = try await service.generate(
            GenerationRequest(prompt: [1], sampling: SamplingParameters(), tokenLimit: 3))
        } else if case .openSession = envelope.message {
          session = envelope.session
        }
      default: break
      }
    }
    let tokens = SessionTokens(
      firstIndex: 0, tokens: ByteVocabulary.tokens("abc"),
      ending: SessionEnding(finishReason: .length, statistics: SessionStatistics()))
    let frame = try Envelope(
      session: try #require(session), message: .sessionTokens(tokens)
    ).encoded()
    #expect(worker.send(frame) == .queued)
    #expect(try await ReceivedText(try #require(stream)).text == "abc")
    running.cancel()
    await running.value
    await worker.close()
    await context.close()
  }
}

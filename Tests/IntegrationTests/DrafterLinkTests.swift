import Decoding
import InferenceTypes
import Synchronization
import TestSupport
import Testing
import Transport
import Wire

extension SecondRowTests {
  /// What a drafter says on its link to a verifier; router and verifier are of this test.
  @Suite struct DrafterLinkTests {
    /// A drafter of the default model between a router and a verifier that the test speaks for.
    private struct Stage: Sendable {
      let context: ZeroMQContext
      let control: ZeroMQRouter
      let data: ZeroMQRouter
      let daemon: Daemon
      private let epoch = InstanceEpoch(rawValue: 7)

      init(_ options: [String]) throws {
        context = try ZeroMQContext()
        control = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
        data = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
        daemon = try Daemon(
          "drafter",
          [
            "drafter", "-m", try TestFiles.modelPath(), "--router", control.endpoints[0],
            "--draft-store", "none", "--lifeline",
          ] + options)
      }

      func send(
        _ message: WireMessage, in session: SessionID = Envelope.noSession, to peer: PeerID,
        over transport: ZeroMQRouter
      ) throws {
        let frame = try Envelope(session: session, message: message).encoded()
        #expect(transport.send(frame, to: peer) == .queued)
      }

      func next(of transport: ZeroMQRouter) async throws -> (peer: PeerID, envelope: Envelope) {
        try #require(try await nextUntilClosed(transport))
      }

      /// The next message of the drafter, whose registration is taken; `nil` once the test is over.
      func nextUntilClosed(
        _ transport: ZeroMQRouter
      ) async throws -> (peer: PeerID, envelope: Envelope)? {
        while true {
          var events = transport.events.makeAsyncIterator()
          guard let event = await events.next(isolation: #isolation) else { return nil }
          guard case .message(let peer, let frame) = event else { continue }
          let envelope = try Envelope(decoding: frame)
          if case .register = envelope.message {
            try send(
              .registered(.accepted(heartbeatInterval: .milliseconds(50), epoch: epoch)), to: peer,
              over: transport)
          }
          return (peer, envelope)
        }
      }

      /// Gives the drafter a session and waits until it attaches there.
      ///
      /// - Returns: its name on the link to the verifier.
      func open(_ session: SessionID, of peer: PeerID, _ acceptance: AttachAcceptance)
        async throws -> PeerID
      {
        let assignment = AssignDraft(
          verifierEndpoint: data.endpoints[0], verifierName: "verifier", verifierEpoch: epoch)
        try send(.assignDraft(assignment), in: session, to: peer, over: control)
        while true {
          let (drafter, envelope) = try await next(of: data)
          guard case .attachDraft = envelope.message else { continue }
          #expect(envelope.session == session)
          try send(.attachReply(.accepted(acceptance)), in: session, to: drafter, over: data)
          return drafter
        }
      }

      /// Says that the text is over, and waits until the drafter has left.
      func finish(_ session: SessionID, from position: Int, at drafter: PeerID) async throws {
        var truth = Truth(from: position, tokens: [])
        truth.isFinished = true
        try send(.truth(truth), in: session, to: drafter, over: data)
        while true {
          if case .endDraft = try await next(of: data).envelope.message { return }
        }
      }

      func close() async {
        await data.close()
        await control.close()
        await context.close()
      }
    }

    /// A draft model that attached anew would read the text from its beginning again, and a text that
    /// two models write together would lose one of them.
    @Test(.timeLimit(.minutes(1)))
    func aFurtherSessionLeavesThoseBeforeItAttached() async throws {
      let stage = try Stage(["--spec-type", "trigram"])
      let (peer, _) = try await stage.next(of: stage.control)
      for number in 1...3 as ClosedRange<UInt64> {
        _ = try await stage.open(
          SessionID(rawValue: number), of: peer,
          AttachAcceptance(sampling: SamplingParameters(), promptLength: 2, truthLength: 0))
      }
      #expect(stage.daemon.isRunning)
      await stage.close()
    }

    /// What the verifier of ``aRestGoesOnInTheNextSession()`` knows.
    private final class Book: Sendable {
      struct Entries {
        var drafter: PeerID?
        var truthCounts: [SessionID: Int] = [:]
        var messageCount = 0
        /// The verifier decides no more tokens.
        var isSilent = false
      }

      private let entries = Mutex(Entries())

      func use<Result: Sendable>(_ body: (inout sending Entries) -> sending Result) -> Result {
        entries.withLock(body)
      }
    }

    /// Answers are often shorter than a rest: without it every session of a drafter that cannot help
    /// would begin with drafts.
    @Test(.timeLimit(.minutes(2)))
    func aRestGoesOnInTheNextSession() async throws {
      let stage = try Stage(["--spec-type", "draft-chain"])
      let (peer, _) = try await stage.next(of: stage.control)
      var acceptance = AttachAcceptance(
        sampling: SamplingParameters(), promptLength: 2, truthLength: 0)
      // Drafts help as long as many of them are right.
      acceptance.verifyDuration = .seconds(1)
      let accepted = acceptance
      let (first, second) = (SessionID(rawValue: 1), SessionID(rawValue: 2))
      let book = Book()
      try await withThrowingTaskGroup(of: Void.self) { group in
        // In the first session each token differs from what was guessed.
        group.addTask {
          while let (drafter, envelope) = try await stage.nextUntilClosed(stage.data) {
            let session = envelope.session
            switch envelope.message {
            case .attachDraft:
              book.use {
                $0.drafter = drafter
                $0.truthCounts[session] = 2
              }
              try stage.send(
                .attachReply(.accepted(accepted)), in: session, to: drafter, over: stage.data)
              try stage.send(
                .truth(Truth(from: 0, tokens: [500, 501])), in: session, to: drafter,
                over: stage.data)
            case .nodes(let nodes):
              let truth = book.use { book -> Truth? in
                book.messageCount += 1
                guard session == first, !book.isSilent, let count = book.truthCounts[session],
                  nodes.anchor == count - 1,
                  let guess = nodes.nodes.first(where: { $0.parent == .none })
                else { return nil }
                book.truthCounts[session] = count + 1
                return Truth(
                  from: count, tokens: [TokenID(1000 + (guess.token.rawValue + 1) % 1000)])
              }
              guard let truth else { continue }
              try stage.send(.truth(truth), in: session, to: drafter, over: stage.data)
            default: continue
            }
          }
        }
        func assign(_ session: SessionID) throws {
          let assignment = AssignDraft(
            verifierEndpoint: stage.data.endpoints[0], verifierName: "verifier",
            verifierEpoch: InstanceEpoch(rawValue: 7))
          try stage.send(.assignDraft(assignment), in: session, to: peer, over: stage.control)
        }
        try assign(first)
        let resting = try await totals(of: stage) { $0.restingSessionCount == 1 }
        let (known, count, messageCount) = book.use { book in
          book.isSilent = true
          return (book.drafter, book.truthCounts[first] ?? 0, book.messageCount)
        }
        let drafter = try #require(known)
        #expect(resting.passCount > 0 && resting.passCount >= messageCount)
        #expect(count > DraftThrottle.sampleMin)
        // Half of the rest passes in this session.
        let half = [TokenID](repeating: 700, count: DraftThrottle.restLength / 2)
        var end = Truth(from: count + half.count, tokens: [])
        end.isFinished = true
        for truth in [Truth(from: count, tokens: half), end] {
          try stage.send(.truth(truth), in: first, to: drafter, over: stage.data)
        }
        let between = try await totals(of: stage) { $0.restingSessionCount == 0 }
        // One that began anew would draft first, and could not know that this does not help.
        try assign(second)
        let again = try await totals(of: stage) { $0.restingSessionCount == 1 }
        #expect(again.passCount == between.passCount)
        // The other half passes in this one, and then it tries again.
        try stage.send(
          .truth(Truth(from: 2, tokens: half)), in: second, to: drafter, over: stage.data)
        let trying = try await totals(of: stage) { $0.passCount > between.passCount }
        #expect(trying.restingSessionCount == 0)
        #expect(stage.daemon.isRunning)
        await stage.close()
      }
    }

    /// The first heartbeat that says so; waits for ever where none does, and the time limit ends that.
    private func totals(
      of stage: Stage, until isReached: (DrafterTotals) -> Bool
    ) async throws -> DrafterTotals {
      while true {
        if case .heartbeat(let heartbeat) = try await stage.next(of: stage.control).envelope.message,
          case .drafter(let totals) = heartbeat.totals, isReached(totals)
        {
          return totals
        }
      }
    }

    /// A session that it cannot follow goes to another drafter; its others go on.
    @Test(.timeLimit(.minutes(1)), arguments: [false, true])
    func theRouterHearsOfASessionThatIsGivenUp(isPromptTooLong: Bool) async throws {
      let stage = try Stage(["--spec-type", "draft", "--ctx-size", "64"])
      let (peer, _) = try await stage.next(of: stage.control)
      let session = SessionID(rawValue: 1)
      let count = isPromptTooLong ? 100 : 2
      let drafter = try await stage.open(
        session, of: peer,
        AttachAcceptance(sampling: SamplingParameters(), promptLength: count, truthLength: 0))
      let tokens = [TokenID](repeating: 5, count: count)
      try stage.send(
        .truth(Truth(from: 0, tokens: tokens)), in: session, to: drafter, over: stage.data)
      if !isPromptTooLong {
        // No token of any vocabulary.
        try stage.send(
          .truth(Truth(from: count, tokens: [TokenID(.max)])), in: session, to: drafter,
          over: stage.data)
      }
      while true {
        let envelope = try await stage.next(of: stage.control).envelope
        guard case .sessionFailed = envelope.message else { continue }
        #expect(envelope.session == session)
        break
      }
      #expect(stage.daemon.isRunning)
      await stage.close()
    }

    /// What a text taught is there for the next one of the same tenant, and for nobody else.
    @Test(.timeLimit(.minutes(1)))
    func finishedTextsAreRememberedForTheirTenant() async throws {
      let stage = try Stage(["--spec-type", "suffix", "--store-isolation", "tenant"])
      let (peer, _) = try await stage.next(of: stage.control)
      let ann = try #require(TenantID(bytes: [UInt8](repeating: 1, count: TenantID.byteCount)))
      let bob = try #require(TenantID(bytes: [UInt8](repeating: 2, count: TenantID.byteCount)))
      func acceptance(_ tenant: TenantID, promptLength: Int) -> AttachAcceptance {
        var acceptance = AttachAcceptance(
          sampling: SamplingParameters(), promptLength: promptLength, truthLength: 0)
        acceptance.tenant = tenant
        // Says so where it has no drafts.
        acceptance.pipeline = .vanilla
        return acceptance
      }
      let answer = (20...31).map { TokenID(UInt32($0)) }
      for number in 1...4 as ClosedRange<UInt64> {
        let session = SessionID(rawValue: number)
        let drafter = try await stage.open(session, of: peer, acceptance(ann, promptLength: 2))
        for truth in [Truth(from: 0, tokens: [9, 8]), Truth(from: 2, tokens: answer)] {
          try stage.send(.truth(truth), in: session, to: drafter, over: stage.data)
        }
        try await stage.finish(session, from: 2 + answer.count, at: drafter)
      }
      let prompt = [5] + answer.prefix(4)
      for (number, tenant) in [(5, ann), (6, bob)] as [(UInt64, TenantID)] {
        let session = SessionID(rawValue: number)
        let drafter = try await stage.open(
          session, of: peer, acceptance(tenant, promptLength: prompt.count))
        try stage.send(
          .truth(Truth(from: 0, tokens: prompt)), in: session, to: drafter, over: stage.data)
        while true {
          let envelope = try await stage.next(of: stage.data).envelope
          guard envelope.session == session, case .nodes(let nodes) = envelope.message else {
            continue
          }
          #expect(nodes.nodes.first?.token == (tenant == ann ? answer[4] : nil))
          break
        }
      }
      await stage.close()
    }
  }
}

import InferenceTypes
import TestSupport
import Testing
import Transport
import Wire

extension SecondRowTests {
  /// What a drafter says on its link to a verifier; router and verifier are of this test.
  @Suite struct DrafterLinkTests {
    private static let epoch = InstanceEpoch(rawValue: 7)

    private func send(
      _ message: WireMessage, in session: SessionID = Envelope.noSession, to peer: PeerID,
      over transport: ZeroMQRouter
    ) throws {
      let frame = try Envelope(session: session, message: message).encoded()
      #expect(transport.send(frame, to: peer) == .queued)
    }

    /// The next message of a drafter, whose registration is taken.
    private func next(
      of transport: ZeroMQRouter
    ) async throws -> (peer: PeerID, envelope: Envelope) {
      while true {
        var events = transport.events.makeAsyncIterator()
        let event = try #require(await events.next(isolation: #isolation))
        guard case .message(let peer, let frame) = event else { continue }
        let envelope = try Envelope(decoding: frame)
        if case .register = envelope.message {
          try send(
            .registered(.accepted(heartbeatInterval: .seconds(1), epoch: Self.epoch)), to: peer,
            over: transport)
        }
        return (peer, envelope)
      }
    }

    /// A draft model that attached anew would read the text from its beginning again, and a text that
    /// two models write together would lose one of them.
    @Test(.timeLimit(.minutes(1)))
    func aFurtherSessionLeavesThoseBeforeItAttached() async throws {
      let context = try ZeroMQContext()
      let control = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
      let data = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
      let drafter = try Daemon(
        "drafter",
        [
          "drafter", "-m", try TestFiles.modelPath(), "--router", control.endpoints[0],
          "--spec-type", "trigram", "--draft-store", "none", "--lifeline",
        ])
      let (peer, _) = try await next(of: control)
      var attached: [SessionID] = []
      let sessions = (1...3).map { SessionID(rawValue: $0) }
      for session in sessions {
        let assignment = AssignDraft(
          verifierEndpoint: data.endpoints[0], verifierName: "verifier", verifierEpoch: Self.epoch)
        try send(.assignDraft(assignment), in: session, to: peer, over: control)
        while attached.last != session {
          let (drafter, envelope) = try await next(of: data)
          guard case .attachDraft = envelope.message else { continue }
          attached.append(envelope.session)
          let acceptance = AttachAcceptance(
            sampling: SamplingParameters(), promptLength: 2, truthLength: 0)
          try send(
            .attachReply(.accepted(acceptance)), in: envelope.session, to: drafter, over: data)
        }
      }
      #expect(attached == sessions)
      #expect(drafter.isRunning)
      await data.close()
      await control.close()
      await context.close()
    }
  }
}

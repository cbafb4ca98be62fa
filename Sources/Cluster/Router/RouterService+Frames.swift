import Decoding
import InferenceTypes
import Logging
import Transport
import Wire

/// What comes in.
extension RouterService {
  func receive(_ event: TransportEvent) {
    switch event {
    case .connected(let peer): _ = peers.number(of: peer)
    case .disconnected(let peer):
      if let number = peers.remove(peer) { submit(.left(peer: number)) }
    case .message(let peer, let frame): receive(frame, from: peers.number(of: peer))
    case .undelivered(let peer, let reason):
      guard let number = peers.knownNumber(of: peer) else { return }
      logger.info(
        "frame not delivered", metadata: ["peer.id": "\(number)", "reason": "\(reason)"])
      // What it missed is unknown. It hears that it has to register again when it speaks.
      submit(.left(peer: number))
    case .refused: faultCounts[.transport, default: 0] += 1
    case .overflow(let droppedCount):
      faultCounts[.overflow, default: 0] += droppedCount
      logger.info("events dropped", metadata: ["event.count": "\(droppedCount)"])
      submit(.messagesLost)
    }
  }

  private func receive(_ frame: [UInt8], from number: Int) {
    guard let peer = peers[number] else { return }
    guard peer.badFrameCount <= configuration.badFrameCountMax else {
      faultCounts[.ignoredPeer, default: 0] += 1
      return
    }
    do {
      let envelope = try Envelope(decoding: frame)
      receive(envelope.message, in: envelope.session, from: number)
    } catch {
      note(FrameFault(error), from: number, detail: "\(error)")
      if case .versionMismatch(let received, let supported) = error {
        let message =
          "the router speaks version \(supported), not \(received); install the same release"
        reject(.versionsDiffer, message, type: 0, to: number)
      }
    }
  }

  private func receive(_ message: WireMessage, in session: SessionID, from number: Int) {
    switch message {
    case .register(let register):
      submit(.registered(peer: number, WorkerRegistration(register)))
    case .heartbeat(let heartbeat):
      submit(.heartbeat(peer: number, isDraining: heartbeat.isDraining))
      note(heartbeat.totals, from: number)
      answer(heartbeat, from: number)
    case .goodbye:
      peers[number]?.workerName = nil
      peers[number]?.totals = nil
      submit(.left(peer: number))
    case .sessionTokens(let tokens):
      submit(
        .tokens(
          peer: number, session: session, firstIndex: tokens.firstIndex, tokens.tokens,
          ending: tokens.ending.map { RoutedEnding($0) }, mirostatLimit: tokens.mirostatLimit))
    case .sessionFailed(let refusal): sessionFailed(refusal, session, at: number)
    case .reject(let reject):
      logger.info(
        "message rejected",
        metadata: [
          "peer.id": "\(number)", "code": "\(reject.refusal.code)",
          "reason": "\(reject.refusal.message)",
        ])
      // A rejection is never answered with one, which is what unknown peers would get.
      if machine.registration(of: number) != nil,
        WireMessage.typesThatSessionsNeed.contains(reject.messageType)
      {
        sessionFailed(reject.refusal, session, at: number)
      }
    case .registered, .openSession, .cancelSession, .assignDraft, .draftAssigned, .endDraft,
      .attachDraft, .attachReply, .nodes, .truth, .collaborateIngest, .collaborateAnswer:
      note(.unexpectedMessage, from: number, detail: message.name)
      reject(
        .unexpectedMessage, "routers do not take \(message.name)", type: message.type, to: number)
    }
  }

  private func sessionFailed(_ refusal: Refusal, _ session: SessionID, at number: Int) {
    if refusal.code == .ruleNotAllowed {
      return submit(.refused(peer: number, session: session, message: refusal.message))
    }
    submit(
      .failed(
        peer: number, session: session, isRetryable: refusal.code.letsSessionGoOn,
        message: refusal.message))
  }

  private func answer(_ heartbeat: Heartbeat, from number: Int) {
    guard machine.registration(of: number) != nil, let entry = peers[number] else { return }
    peers[number]?.heartbeatCount += 1
    let (seconds, attoseconds) = now.components
    var answer = Heartbeat(
      sequence: entry.heartbeatCount, activeSessionCount: machine.sessionCount(at: number),
      sentAtNanoseconds: max(1, UInt64(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)))
    answer.echoNanoseconds = heartbeat.sentAtNanoseconds
    answer.isDraining = machine.isDraining
    send(.heartbeat(answer), to: number)
  }

  private func note(_ fault: FrameFault, from number: Int, detail: String) {
    faultCounts[fault, default: 0] += 1
    if fault.isStrike { peers[number]?.badFrameCount += 1 }
    logger.log(
      level: fault.isStrike ? .info : .debug, "frame dropped",
      metadata: ["peer.id": "\(number)", "reason": "\(fault)", "detail": "\(detail)"])
  }
}

extension WireMessage {
  /// `OpenSession` and `AssignDraft`: the other messages may be rejected without harm.
  fileprivate static let typesThatSessionsNeed: Set<UInt32> = [32, 48]
}

import Decoding
import InferenceTypes
import Logging
import Transport
import Wire

/// What goes out.
extension RouterService {
  func perform(_ effect: RouterMachine.Effect) {
    switch effect {
    case .accept(let peer): accept(peer)
    case .refuse(let peer, let code, let message):
      logger.info("worker refused", metadata: ["peer.id": "\(peer)", "reason": "\(message)"])
      let refusal = Refusal(code: RefusalCode(code), message: message)
      send(.registered(.refused(refusal)), to: peer)
    case .displace(let peer, let message):
      reject(.nameTaken, message, type: 0, to: peer)
    case .askToRegister(let peer):
      reject(.unexpectedMessage, "this router does not know you; register", type: 0, to: peer)
    case .openSession(let verifier, let session, let request, let decided):
      open(session, at: verifier, OpenSession(request, decided: decided))
    case .cancelSession(let verifier, let session):
      send(.cancelSession, in: session, to: verifier)
    case .announceDrafter(let verifier, let session, let name, let epoch):
      let assigned = DraftAssigned(
        drafterName: name, drafterEpoch: InstanceEpoch(rawValue: epoch))
      send(.draftAssigned(assigned), in: session, to: verifier)
    case .assignDraft(let drafter, let session, let endpoint, let name, let epoch):
      let assignment = AssignDraft(
        verifierEndpoint: endpoint, verifierName: name,
        verifierEpoch: InstanceEpoch(rawValue: epoch))
      send(.assignDraft(assignment), in: session, to: drafter)
    case .endDraft(let drafter, let session): send(.endDraft, in: session, to: drafter)
    case .deliver(let session, let tokens): deliver(tokens, in: session)
    case .finish(let session, let reason, let totals): finish(session, reason, totals)
    case .fail(let session, let failure):
      logger.info(
        "session failed", metadata: ["session.id": "\(session)", "reason": "\(failure)"])
      fail(session, ServiceError(failure))
    }
  }

  private func accept(_ peer: Int) {
    guard let registration = machine.registration(of: peer) else { return }
    if peers[peer]?.workerName == nil {
      logger.info(
        "worker registered",
        metadata: [
          "peer.id": "\(peer)", "worker.name": "\(registration.name)",
          "role": "\(registration.role)", "slot.count": "\(registration.slotCount)",
        ])
    }
    peers[peer]?.workerName = registration.name
    send(
      .registered(
        .accepted(
          heartbeatInterval: configuration.routing.heartbeatInterval, epoch: epoch)), to: peer)
  }

  /// Logs who was registered and is no longer.
  func noteLostWorkers() {
    for (number, entry) in peers.entries where machine.registration(of: number) == nil {
      guard let name = entry.workerName else { continue }
      logger.info(
        "worker lost", metadata: ["peer.id": "\(number)", "worker.name": "\(name)"])
      peers[number]?.workerName = nil
    }
  }

  private func open(_ session: SessionID, at verifier: Int, _ message: OpenSession) {
    if !message.decided.isEmpty {
      logger.info(
        "session moved",
        metadata: [
          "session.id": "\(session)", "peer.id": "\(verifier)",
          "token.count": "\(message.decided.count)",
        ])
    }
    guard let error = send(.openSession(message), in: session, to: verifier) else { return }
    inbox.append(
      .failed(
        peer: verifier, session: session, isRetryable: false,
        message: "the request does not fit in a message: \(error)"))
  }

  private func deliver(_ tokens: [TokenID], in session: SessionID) {
    guard var generation = generations[session], !generation.output.isStopped else { return }
    var text = ""
    var count = 0
    for token in tokens where !generation.output.isStopped {
      text += generation.output.append(token)
      count += 1
    }
    generation.completionCount += count
    generations[session] = generation
    generation.continuation.yield(.tokens(ids: Array(tokens.prefix(count)), text: text))
    if generation.output.isStopped { inbox.append(.stopped(session)) }
  }

  private func finish(_ session: SessionID, _ reason: FinishReason, _ totals: RoutedTotals) {
    guard var generation = generations.removeValue(forKey: session) else { return }
    let text = generation.output.finish()
    let summary = GenerationSummary(
      totals, reason: generation.output.isStopped ? .stop : reason,
      promptCount: generation.promptCount, completionCount: generation.completionCount)
    requestCounts.ended(summary)
    generation.continuation.yield(.finished(summary, text: text))
    generation.continuation.finish()
  }

  func reject(_ code: RefusalCode, _ message: String, type: UInt32, to number: Int) {
    let refusal = Refusal(code: code, message: message)
    send(.reject(Reject(refusal: refusal, messageType: type)), to: number)
  }

  /// Sends a message. A worker that cannot be reached counts as lost.
  ///
  /// - Returns: why the message cannot be expressed; `nil` where it can.
  @discardableResult
  func send(
    _ message: WireMessage, in session: SessionID = Envelope.noSession, to number: Int
  ) -> WireError? {
    guard let peer = peers[number]?.id else { return nil }
    let frame: [UInt8]
    do {
      frame = try Envelope(session: session, message: message).encoded()
    } catch {
      logger.info(
        "message not sent", metadata: ["message": "\(message.name)", "reason": "\(error)"])
      return error
    }
    switch transport.send(frame, to: peer) {
    case .queued: break
    case .peerGone, .full, .closed: inbox.append(.left(peer: number))
    case .tooLarge(let sizeBytes, let limit):
      return .frameTooLarge(sizeBytes: sizeBytes, limit: limit)
    }
    return nil
  }
}

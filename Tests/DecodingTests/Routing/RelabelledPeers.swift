import Decoding

extension RouterMachine.Event {
  func mapPeer(_ map: (Int) -> Int) -> RouterMachine.Event {
    switch self {
    case .registered(let peer, let registration): .registered(peer: map(peer), registration)
    case .heartbeat(let peer, let isDraining): .heartbeat(peer: map(peer), isDraining: isDraining)
    case .left(let peer): .left(peer: map(peer))
    case .tokens(let peer, let session, let firstIndex, let tokens, let ending, let limit):
      .tokens(
        peer: map(peer), session: session, firstIndex: firstIndex, tokens, ending: ending,
        mirostatLimit: limit)
    case .failed(let peer, let session, let isRetryable, let message):
      .failed(peer: map(peer), session: session, isRetryable: isRetryable, message: message)
    case .refused(let peer, let session, let message):
      .refused(peer: map(peer), session: session, message: message)
    case .requested, .stopped, .cancelled, .messagesLost, .drain, .tick: self
    }
  }
}

extension RouterMachine.Effect {
  /// Whom the effect sends something.
  var peer: Int? {
    switch self {
    case .accept(let peer), .refuse(let peer, _, _), .displace(let peer, _),
      .askToRegister(let peer), .openSession(let peer, _, _, _), .cancelSession(let peer, _),
      .announceDrafter(let peer, _, _, _), .assignDraft(let peer, _, _, _, _),
      .endDraft(let peer, _):
      peer
    case .deliver, .finish, .fail: nil
    }
  }

  func mapPeer(_ map: (Int) -> Int) -> RouterMachine.Effect {
    switch self {
    case .accept(let peer): .accept(peer: map(peer))
    case .refuse(let peer, let code, let message):
      .refuse(peer: map(peer), code, message: message)
    case .displace(let peer, let message): .displace(peer: map(peer), message: message)
    case .askToRegister(let peer): .askToRegister(peer: map(peer))
    case .openSession(let peer, let id, let request, let decided):
      .openSession(verifier: map(peer), id, request, decided: decided)
    case .cancelSession(let peer, let id): .cancelSession(verifier: map(peer), id)
    case .announceDrafter(let peer, let id, let name, let epoch):
      .announceDrafter(verifier: map(peer), id, drafterName: name, drafterEpoch: epoch)
    case .assignDraft(let peer, let id, let endpoint, let name, let epoch):
      .assignDraft(
        drafter: map(peer), id, verifierEndpoint: endpoint, verifierName: name,
        verifierEpoch: epoch)
    case .endDraft(let peer, let id): .endDraft(drafter: map(peer), id)
    case .deliver, .finish, .fail: self
    }
  }
}

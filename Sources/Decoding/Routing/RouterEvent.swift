package import InferenceTypes

extension RouterMachine {
  /// What happens to a router. A peer is any number that stands for one connection.
  package enum Event: Sendable, Equatable {
    case registered(peer: Int, WorkerRegistration)
    case heartbeat(peer: Int, isDraining: Bool)
    /// The connection ended, the worker said goodbye, or a message to it was dropped.
    case left(peer: Int)
    /// Tokens from `firstIndex` on, counted from the first generated one. The message with an
    /// ending is the last. The limit is that of Mirostat behind them.
    case tokens(
      peer: Int, session: SessionID, firstIndex: Int, [TokenID], ending: RoutedEnding?,
      mirostatLimit: Double? = nil)
    /// A worker refused a session or failed in it. `isRetryable`: another try may succeed.
    case failed(peer: Int, session: SessionID, isRetryable: Bool, message: String)
    /// A verifier does not do what the request of a session asks for.
    case refused(peer: Int, session: SessionID, message: String)
    /// A new generation, under an id that was never used.
    case requested(SessionID, RoutedRequest)
    /// The text is complete, whatever the verifier thinks.
    case stopped(SessionID)
    /// Nobody waits for the text any more.
    case cancelled(SessionID)
    /// Messages of unknown workers were dropped.
    case messagesLost
    /// From now on sessions only end.
    case drain
    case tick
  }

  /// What a router does.
  package enum Effect: Sendable, Equatable {
    case accept(peer: Int)
    case refuse(peer: Int, RegistrationRefusal, message: String)
    /// Another worker took the name of this one, which is no longer registered.
    case displace(peer: Int, message: String)
    /// The peer has to register before anything else.
    case askToRegister(peer: Int)
    case openSession(verifier: Int, SessionID, RoutedRequest, decided: [TokenID])
    case cancelSession(verifier: Int, SessionID)
    case announceDrafter(verifier: Int, SessionID, drafterName: String, drafterEpoch: UInt64)
    case assignDraft(
      drafter: Int, SessionID, verifierEndpoint: String, verifierName: String,
      verifierEpoch: UInt64)
    case endDraft(drafter: Int, SessionID)
    /// The next tokens of the text.
    case deliver(SessionID, [TokenID])
    /// Last effect of a session.
    case finish(SessionID, FinishReason, RoutedTotals)
    /// Last effect of a session.
    case fail(SessionID, RouteFailure)
  }
}

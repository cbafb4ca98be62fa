/// The body of an envelope.
package enum WireMessage: Sendable, Equatable {
  case register(Register)
  case registered(Registered)
  case heartbeat(Heartbeat)
  /// Clean leave: nothing follows on this connection.
  case goodbye
  case reject(Reject)
  case openSession(OpenSession)
  case sessionTokens(SessionTokens)
  case sessionFailed(Refusal)
  /// Frees the session wherever it is known; an unknown session is no error.
  case cancelSession
  case assignDraft(AssignDraft)
  case draftAssigned(DraftAssigned)
  /// Stop drafting for the session.
  case endDraft
  case attachDraft(AttachDraft)
  case attachReply(AttachReply)
  case nodes(Nodes)
  case truth(Truth)
  case collaborateIngest(CollaborateIngest)
  case collaborateAnswer(CollaborateAnswer)
}

extension WireMessage {
  /// The name of the message in the schema.
  package var name: String {
    switch self {
    case .register: "Register"
    case .registered: "Registered"
    case .heartbeat: "Heartbeat"
    case .goodbye: "Goodbye"
    case .reject: "Reject"
    case .openSession: "OpenSession"
    case .sessionTokens: "SessionTokens"
    case .sessionFailed: "SessionFailed"
    case .cancelSession: "CancelSession"
    case .assignDraft: "AssignDraft"
    case .draftAssigned: "DraftAssigned"
    case .endDraft: "EndDraft"
    case .attachDraft: "AttachDraft"
    case .attachReply: "AttachReply"
    case .nodes: "Nodes"
    case .truth: "Truth"
    case .collaborateIngest: "CollaborateIngest"
    case .collaborateAnswer: "CollaborateAnswer"
    }
  }

  /// The field number of the body in the envelope.
  package var type: UInt32 {
    switch self {
    case .register: 16
    case .registered: 17
    case .heartbeat: 18
    case .goodbye: 19
    case .reject: 20
    case .openSession: 32
    case .sessionTokens: 33
    case .sessionFailed: 34
    case .cancelSession: 35
    case .assignDraft: 48
    case .draftAssigned: 49
    case .endDraft: 50
    case .attachDraft: 51
    case .attachReply: 52
    case .nodes: 53
    case .truth: 54
    case .collaborateIngest: 64
    case .collaborateAnswer: 65
    }
  }

  /// Whether the envelope has to name a session; `nil` where it may.
  package var sessionScope: SessionScope? {
    switch self {
    case .register, .registered, .heartbeat, .goodbye: .forbidden
    case .reject: nil
    case .openSession, .sessionTokens, .sessionFailed, .cancelSession, .assignDraft, .draftAssigned,
      .endDraft, .attachDraft, .attachReply, .nodes, .truth, .collaborateIngest,
      .collaborateAnswer:
      .needed
    }
  }
}

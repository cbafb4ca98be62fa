import CWire

extension Envelope {
  /// Validates `message` and points the envelope to its C struct.
  static func setBody(
    of raw: inout Slipstream__V1__Envelope, to message: WireMessage,
    in scratch: inout FrameScratch
  ) throws(WireError) {
    unsafe raw.body_case = Slipstream__V1__Envelope__BodyCase(rawValue: message.type)
    switch message {
    case .register(let body): unsafe raw.registration = try place(body, in: &scratch)
    case .registered(let body): unsafe raw.registered = try place(body, in: &scratch)
    case .heartbeat(let body): unsafe raw.heartbeat = try place(body, in: &scratch)
    case .goodbye:
      var body = unsafe Slipstream__V1__Goodbye()
      unsafe slipstream__v1__goodbye__init(&body)
      unsafe raw.goodbye = scratch.place(body)
    case .reject(let body): unsafe raw.reject = try place(body, in: &scratch)
    case .openSession(let body): unsafe raw.open_session = try place(body, in: &scratch)
    case .sessionTokens(let body): unsafe raw.session_tokens = try place(body, in: &scratch)
    case .sessionFailed(let refusal):
      var body = unsafe Slipstream__V1__SessionFailed()
      unsafe slipstream__v1__session_failed__init(&body)
      unsafe body.refusal = try place(refusal, in: &scratch)
      unsafe raw.session_failed = scratch.place(body)
    case .cancelSession:
      var body = unsafe Slipstream__V1__CancelSession()
      unsafe slipstream__v1__cancel_session__init(&body)
      unsafe raw.cancel_session = scratch.place(body)
    case .assignDraft(let body): unsafe raw.assign_draft = try place(body, in: &scratch)
    case .draftAssigned(let body): unsafe raw.draft_assigned = try place(body, in: &scratch)
    case .endDraft:
      var body = unsafe Slipstream__V1__EndDraft()
      unsafe slipstream__v1__end_draft__init(&body)
      unsafe raw.end_draft = scratch.place(body)
    case .attachDraft(let body): unsafe raw.attach_draft = try place(body, in: &scratch)
    case .attachReply(let body): unsafe raw.attach_reply = try place(body, in: &scratch)
    case .nodes(let body): unsafe raw.nodes = try place(body, in: &scratch)
    case .truth(let body): unsafe raw.truth = try place(body, in: &scratch)
    case .collaborateIngest(let body):
      unsafe raw.collaborate_ingest = try place(body, in: &scratch)
    case .collaborateAnswer(let body):
      unsafe raw.collaborate_answer = try place(body, in: &scratch)
    }
  }

  /// - Throws: ``WireError`` where there is no known body or a field breaks its limit.
  static func body(of raw: Slipstream__V1__Envelope) throws(WireError) -> WireMessage {
    // safe: the case says which member of the union is set.
    switch unsafe raw.body_case {
    case SLIPSTREAM__V1__ENVELOPE__BODY_REGISTRATION: .register(unsafe try read(raw.registration))
    case SLIPSTREAM__V1__ENVELOPE__BODY_REGISTERED: .registered(unsafe try read(raw.registered))
    case SLIPSTREAM__V1__ENVELOPE__BODY_HEARTBEAT: .heartbeat(unsafe try read(raw.heartbeat))
    case SLIPSTREAM__V1__ENVELOPE__BODY_GOODBYE: .goodbye
    case SLIPSTREAM__V1__ENVELOPE__BODY_REJECT: .reject(unsafe try read(raw.reject))
    case SLIPSTREAM__V1__ENVELOPE__BODY_OPEN_SESSION:
      .openSession(unsafe try read(raw.open_session))
    case SLIPSTREAM__V1__ENVELOPE__BODY_SESSION_TOKENS:
      .sessionTokens(unsafe try read(raw.session_tokens))
    case SLIPSTREAM__V1__ENVELOPE__BODY_SESSION_FAILED:
      .sessionFailed(unsafe try read(raw.session_failed?.pointee.refusal))
    case SLIPSTREAM__V1__ENVELOPE__BODY_CANCEL_SESSION: .cancelSession
    case SLIPSTREAM__V1__ENVELOPE__BODY_ASSIGN_DRAFT:
      .assignDraft(unsafe try read(raw.assign_draft))
    case SLIPSTREAM__V1__ENVELOPE__BODY_DRAFT_ASSIGNED:
      .draftAssigned(unsafe try read(raw.draft_assigned))
    case SLIPSTREAM__V1__ENVELOPE__BODY_END_DRAFT: .endDraft
    case SLIPSTREAM__V1__ENVELOPE__BODY_ATTACH_DRAFT:
      .attachDraft(unsafe try read(raw.attach_draft))
    case SLIPSTREAM__V1__ENVELOPE__BODY_ATTACH_REPLY:
      .attachReply(unsafe try read(raw.attach_reply))
    case SLIPSTREAM__V1__ENVELOPE__BODY_NODES: .nodes(unsafe try read(raw.nodes))
    case SLIPSTREAM__V1__ENVELOPE__BODY_TRUTH: .truth(unsafe try read(raw.truth))
    case SLIPSTREAM__V1__ENVELOPE__BODY_COLLABORATE_INGEST:
      .collaborateIngest(unsafe try read(raw.collaborate_ingest))
    case SLIPSTREAM__V1__ENVELOPE__BODY_COLLABORATE_ANSWER:
      .collaborateAnswer(unsafe try read(raw.collaborate_answer))
    default: throw .unknownMessage(type: unsafe Unpacking.unknownBodyType(raw))
    }
  }

  private static func place<Body: WireBody>(
    _ body: Body, in scratch: inout FrameScratch
  ) throws(WireError) -> UnsafeMutablePointer<Body.Raw> {
    try body.validate()
    let raw = unsafe body.raw(in: &scratch)
    return unsafe scratch.place(raw)
  }

  private static func read<Body: WireBody>(
    _ pointer: UnsafeMutablePointer<Body.Raw>?
  ) throws(WireError) -> Body {
    let body = unsafe try Body.read(pointer, "Envelope.body")
    try body.validate()
    return body
  }
}

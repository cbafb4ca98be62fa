import CWire
import InferenceTypes

extension AssignDraft: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.name(
      verifierEndpoint, length: 1...Limits.endpointLengthMax, "AssignDraft.verifier_endpoint")
    try Check.workerName(verifierName, "AssignDraft.verifier_name")
    try Check.epoch(verifierEpoch, "AssignDraft.verifier_epoch")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__AssignDraft {
    var raw = unsafe Slipstream__V1__AssignDraft()
    unsafe slipstream__v1__assign_draft__init(&raw)
    unsafe raw.verifier_endpoint = scratch.text(verifierEndpoint)
    unsafe raw.verifier_name = scratch.text(verifierName)
    unsafe raw.verifier_epoch = verifierEpoch.rawValue
    return unsafe raw
  }

  init(raw: Slipstream__V1__AssignDraft) throws(WireError) {
    unsafe try self.init(
      verifierEndpoint: Reading.text(raw.verifier_endpoint, "AssignDraft.verifier_endpoint"),
      verifierName: Reading.text(raw.verifier_name, "AssignDraft.verifier_name"),
      verifierEpoch: InstanceEpoch(rawValue: raw.verifier_epoch))
  }
}

extension DraftAssigned: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.workerName(drafterName, "DraftAssigned.drafter_name")
    try Check.epoch(drafterEpoch, "DraftAssigned.drafter_epoch")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__DraftAssigned {
    var raw = unsafe Slipstream__V1__DraftAssigned()
    unsafe slipstream__v1__draft_assigned__init(&raw)
    unsafe raw.drafter_name = scratch.text(drafterName)
    unsafe raw.drafter_epoch = drafterEpoch.rawValue
    return unsafe raw
  }

  init(raw: Slipstream__V1__DraftAssigned) throws(WireError) {
    unsafe try self.init(
      drafterName: Reading.text(raw.drafter_name, "DraftAssigned.drafter_name"),
      drafterEpoch: InstanceEpoch(rawValue: raw.drafter_epoch))
  }
}

extension AttachDraft: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.workerName(drafterName, "AttachDraft.drafter_name")
    try Check.epoch(drafterEpoch, "AttachDraft.drafter_epoch")
    try Check.range(truthLength, 0...Limits.contextLengthMax, "AttachDraft.truth_length")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__AttachDraft {
    var raw = unsafe Slipstream__V1__AttachDraft()
    unsafe slipstream__v1__attach_draft__init(&raw)
    unsafe raw.drafter_name = scratch.text(drafterName)
    unsafe raw.drafter_epoch = drafterEpoch.rawValue
    unsafe raw.truth_length = UInt32(truthLength)
    unsafe raw.truth_hash = truthHash
    return unsafe raw
  }

  init(raw: Slipstream__V1__AttachDraft) throws(WireError) {
    unsafe try self.init(
      drafterName: Reading.text(raw.drafter_name, "AttachDraft.drafter_name"),
      drafterEpoch: InstanceEpoch(rawValue: raw.drafter_epoch),
      truthLength: Int(raw.truth_length), truthHash: raw.truth_hash)
  }
}

extension AttachAcceptance: @unsafe WireBody {
  func validate() throws(WireError) {
    try sampling.validate()
    try Check.range(promptLength, 1...Limits.contextLengthMax, "AttachReply.prompt_length")
    if let collaboration { try collaboration.validate() }
    try Check.range(truthLength, 0...Limits.contextLengthMax, "AttachReply.truth_length")
    try Check.verifyCosts(relativeVerifyCosts, "AttachReply.verify_costs")
    try Check.duration(verifyDuration, "AttachReply.verify_ns")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__AttachReply__Acceptance {
    var raw = unsafe Slipstream__V1__AttachReply__Acceptance()
    unsafe slipstream__v1__attach_reply__acceptance__init(&raw)
    let part = unsafe sampling.raw(in: &scratch)
    unsafe raw.sampling = scratch.place(part)
    unsafe raw.prompt_length = UInt32(promptLength)
    unsafe raw.truth_length = UInt32(truthLength)
    unsafe raw.tenant = scratch.bytes(tenant?.bytes ?? [])
    unsafe raw.pipeline = pipeline.raw
    unsafe raw.verify_costs = scratch.bytes(
      PackedWords.bytes(relativeVerifyCosts.map(\.bitPattern)))
    unsafe raw.verify_ns = UInt64(verifyDuration.clampedNanoseconds)
    if let collaboration {
      let part = unsafe collaboration.raw(in: &scratch)
      unsafe raw.collaboration = scratch.place(part)
    }
    unsafe raw.rule = rule.raw
    return unsafe raw
  }

  init(raw: Slipstream__V1__AttachReply__Acceptance) throws(WireError) {
    unsafe try self.init(
      sampling: SamplingParameters.read(raw.sampling, "AttachReply.sampling"),
      promptLength: Int(raw.prompt_length), truthLength: Int(raw.truth_length))
    tenant = unsafe try Reading.tenant(raw.tenant, "AttachReply.tenant")
    pipeline = unsafe try Pipeline.read(raw.pipeline, "AttachReply.pipeline") ?? .streamed
    let costs = unsafe try PackedWords.words(
      Reading.bytes(raw.verify_costs), "AttachReply.verify_costs")
    relativeVerifyCosts = costs.map(Float.init(bitPattern:))
    verifyDuration = unsafe Duration(clampingNanoseconds: raw.verify_ns)
    collaboration = unsafe try CollaborationParameters.readIfPresent(
      raw.collaboration, "AttachReply.collaboration")
    rule = unsafe try VerifyRule.read(raw.rule, "AttachReply.rule") ?? .gumbelMatch
  }
}

extension AttachReply: @unsafe WireBody {
  func validate() throws(WireError) {
    switch self {
    case .accepted(let acceptance): try acceptance.validate()
    case .refused(let refusal): try refusal.validate()
    }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__AttachReply {
    var raw = unsafe Slipstream__V1__AttachReply()
    unsafe slipstream__v1__attach_reply__init(&raw)
    switch self {
    case .accepted(let acceptance):
      let part = unsafe acceptance.raw(in: &scratch)
      unsafe raw.outcome_case = SLIPSTREAM__V1__ATTACH_REPLY__OUTCOME_ACCEPTED
      unsafe raw.accepted = scratch.place(part)
    case .refused(let refusal):
      let part = unsafe refusal.raw(in: &scratch)
      unsafe raw.outcome_case = SLIPSTREAM__V1__ATTACH_REPLY__OUTCOME_REFUSED
      unsafe raw.refused = scratch.place(part)
    }
    return unsafe raw
  }

  init(raw: Slipstream__V1__AttachReply) throws(WireError) {
    // safe: the case says which member of the union is set.
    switch unsafe raw.outcome_case {
    case SLIPSTREAM__V1__ATTACH_REPLY__OUTCOME_ACCEPTED:
      self = .accepted(unsafe try AttachAcceptance.read(raw.accepted, "AttachReply.accepted"))
    case SLIPSTREAM__V1__ATTACH_REPLY__OUTCOME_REFUSED:
      self = .refused(unsafe try Refusal.read(raw.refused, "AttachReply.refused"))
    default:
      throw .missing(field: "AttachReply.outcome")
    }
  }
}

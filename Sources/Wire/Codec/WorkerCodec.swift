import CWire
import InferenceTypes

extension Register: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.workerName(name, "Register.name")
    try Check.epoch(epoch, "Register.epoch")
    try Check.name(modelID, length: 1...Limits.modelIDLengthMax, "Register.model_id")
    try Check.range(vocabularyCount, 1...Limits.vocabularyCountMax, "Register.vocabulary_count")
    try Check.range(contextLength, 1...Limits.contextLengthMax, "Register.context_length")
    try Check.range(slotCount, 1...Limits.slotCountMax, "Register.slots")
    try Check.name(dataEndpoint, length: 0...Limits.endpointLengthMax, "Register.data_endpoint")
    try Check.range(draftMethods.count, 0...Limits.draftMethodCountMax, "Register.draft_methods")
    for method in draftMethods {
      try Check.name(method, length: 1...Limits.nameLengthMax, "Register.draft_methods")
    }
    try Check.duration(draftDuration, "Register.draft_ns")
    try Check.verifyCosts(relativeVerifyCosts, "Register.verify_costs")
    try Check.duration(verifyDuration, "Register.verify_ns")
    guard !verifyRules.isEmpty else { throw .missing(field: "Register.verify_rules") }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Register {
    var raw = unsafe Slipstream__V1__Register()
    unsafe slipstream__v1__register__init(&raw)
    unsafe raw.role = Slipstream__V1__Role(rawValue: role.rawValue)
    unsafe raw.name = scratch.text(name)
    unsafe raw.epoch = epoch.rawValue
    unsafe raw.model_id = scratch.text(modelID)
    unsafe raw.model_fingerprint = scratch.bytes(modelFingerprint.bytes)
    unsafe raw.tokenizer_fingerprint = scratch.bytes(tokenizerFingerprint.bytes)
    unsafe raw.vocabulary_count = UInt32(vocabularyCount)
    unsafe raw.context_length = UInt32(contextLength)
    unsafe raw.slots = UInt32(slotCount)
    unsafe raw.data_endpoint = scratch.text(dataEndpoint)
    unsafe raw.n_draft_methods = draftMethods.count
    for (index, method) in draftMethods.enumerated() {
      let text = unsafe scratch.text(method)
      if index == 0 {
        unsafe raw.draft_methods = scratch.reserve(draftMethods.count, filledWith: text)
      }
      // safe: `reserve` made room for as many as there are methods.
      unsafe raw.draft_methods[index] = text
    }
    unsafe raw.draft_ns = UInt64(draftDuration.clampedNanoseconds)
    unsafe raw.verify_costs = scratch.bytes(
      PackedWords.bytes(relativeVerifyCosts.map(\.bitPattern)))
    unsafe raw.verify_ns = UInt64(verifyDuration.clampedNanoseconds)
    unsafe raw.verify_rules = VerifyRule.bits(verifyRules)
    return unsafe raw
  }

  init(raw: Slipstream__V1__Register) throws(WireError) {
    guard let role = WorkerRole(rawValue: unsafe raw.role.rawValue) else {
      throw .unknownValue(field: "Register.role", value: unsafe raw.role.rawValue)
    }
    unsafe try self.init(
      role: role,
      name: Reading.text(raw.name, "Register.name"),
      epoch: InstanceEpoch(rawValue: raw.epoch),
      modelID: Reading.text(raw.model_id, "Register.model_id"),
      modelFingerprint: Reading.fingerprint(raw.model_fingerprint, "Register.model_fingerprint"),
      tokenizerFingerprint: Reading.fingerprint(
        raw.tokenizer_fingerprint, "Register.tokenizer_fingerprint"),
      vocabularyCount: Int(raw.vocabulary_count),
      contextLength: Int(raw.context_length),
      slotCount: Int(raw.slots))
    dataEndpoint = unsafe try Reading.text(raw.data_endpoint, "Register.data_endpoint")
    try Check.range(
      unsafe raw.n_draft_methods, 0...Limits.draftMethodCountMax, "Register.draft_methods")
    for index in 0..<(unsafe raw.n_draft_methods) {
      // safe: protobuf-c keeps `n_draft_methods` elements there.
      draftMethods.append(
        unsafe try Reading.text(raw.draft_methods[index], "Register.draft_methods"))
    }
    draftDuration = unsafe Duration(clampingNanoseconds: raw.draft_ns)
    let costs = unsafe try PackedWords.words(
      Reading.bytes(raw.verify_costs), "Register.verify_costs")
    relativeVerifyCosts = costs.map(Float.init(bitPattern:))
    verifyDuration = unsafe Duration(clampingNanoseconds: raw.verify_ns)
    verifyRules = unsafe try VerifyRule.read(bits: raw.verify_rules, "Register.verify_rules")
  }
}

extension Registered: @unsafe WireBody {
  func validate() throws(WireError) {
    switch self {
    case .accepted(let heartbeatInterval, let epoch):
      try Check.duration(
        heartbeatInterval, upTo: Limits.heartbeatIntervalMax, "Registered.heartbeat_interval_ms")
      guard heartbeatInterval >= .milliseconds(1) else {
        throw .missing(field: "Registered.heartbeat_interval_ms")
      }
      try Check.epoch(epoch, "Registered.epoch")
    case .refused(let refusal):
      try refusal.validate()
    }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Registered {
    var raw = unsafe Slipstream__V1__Registered()
    unsafe slipstream__v1__registered__init(&raw)
    switch self {
    case .accepted(let heartbeatInterval, let epoch):
      var acceptance = unsafe Slipstream__V1__Registered__Acceptance()
      unsafe slipstream__v1__registered__acceptance__init(&acceptance)
      unsafe acceptance.heartbeat_interval_ms = UInt32(
        heartbeatInterval.clampedNanoseconds / 1_000_000)
      unsafe acceptance.epoch = epoch.rawValue
      unsafe raw.outcome_case = SLIPSTREAM__V1__REGISTERED__OUTCOME_ACCEPTED
      unsafe raw.accepted = scratch.place(acceptance)
    case .refused(let refusal):
      let part = unsafe refusal.raw(in: &scratch)
      unsafe raw.outcome_case = SLIPSTREAM__V1__REGISTERED__OUTCOME_REFUSED
      unsafe raw.refused = scratch.place(part)
    }
    return unsafe raw
  }

  init(raw: Slipstream__V1__Registered) throws(WireError) {
    switch unsafe raw.outcome_case {
    case SLIPSTREAM__V1__REGISTERED__OUTCOME_ACCEPTED:
      guard let acceptance = unsafe raw.accepted else {
        throw .missing(field: "Registered.accepted")
      }
      // safe: the case says which member of the union is set.
      self = unsafe .accepted(
        heartbeatInterval: .milliseconds(Int64(acceptance.pointee.heartbeat_interval_ms)),
        epoch: InstanceEpoch(rawValue: acceptance.pointee.epoch))
    case SLIPSTREAM__V1__REGISTERED__OUTCOME_REFUSED:
      self = .refused(unsafe try Refusal.read(raw.refused, "Registered.refused"))
    default:
      throw .missing(field: "Registered.outcome")
    }
  }
}

extension Heartbeat: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(activeSessionCount, 0...Limits.slotCountMax, "Heartbeat.active_sessions")
    guard sentAtNanoseconds != 0 else { throw .missing(field: "Heartbeat.sent_at_ns") }
    try Check.duration(echoDelay, "Heartbeat.echo_delay_ns")
    try Check.duration(roundTrip, "Heartbeat.round_trip_ns")
    switch totals {
    case .verifier(let totals): try totals.validate()
    case .drafter(let totals): try totals.validate()
    case nil: break
    }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Heartbeat {
    var raw = unsafe Slipstream__V1__Heartbeat()
    unsafe slipstream__v1__heartbeat__init(&raw)
    unsafe raw.sequence = sequence
    unsafe raw.active_sessions = UInt32(activeSessionCount)
    unsafe raw.sent_at_ns = sentAtNanoseconds
    unsafe raw.echo_ns = echoNanoseconds
    unsafe raw.echo_delay_ns = UInt64(echoDelay.clampedNanoseconds)
    unsafe raw.draining = isDraining ? 1 : 0
    unsafe raw.round_trip_ns = UInt64(roundTrip.clampedNanoseconds)
    switch totals {
    case .verifier(let totals):
      let part = unsafe totals.raw(in: &scratch)
      unsafe raw.totals_case = SLIPSTREAM__V1__HEARTBEAT__TOTALS_VERIFIER_TOTALS
      unsafe raw.verifier_totals = scratch.place(part)
    case .drafter(let totals):
      let part = unsafe totals.raw(in: &scratch)
      unsafe raw.totals_case = SLIPSTREAM__V1__HEARTBEAT__TOTALS_DRAFTER_TOTALS
      unsafe raw.drafter_totals = scratch.place(part)
    case nil: break
    }
    return unsafe raw
  }

  init(raw: Slipstream__V1__Heartbeat) throws(WireError) {
    unsafe self.init(
      sequence: raw.sequence, activeSessionCount: Int(raw.active_sessions),
      sentAtNanoseconds: raw.sent_at_ns)
    echoNanoseconds = unsafe raw.echo_ns
    echoDelay = unsafe Duration(clampingNanoseconds: raw.echo_delay_ns)
    isDraining = unsafe raw.draining != 0
    roundTrip = unsafe Duration(clampingNanoseconds: raw.round_trip_ns)
    // safe: the case says which member of the union is set.
    switch unsafe raw.totals_case {
    case SLIPSTREAM__V1__HEARTBEAT__TOTALS_VERIFIER_TOTALS:
      totals = .verifier(
        unsafe try VerifierTotals.read(raw.verifier_totals, "Heartbeat.verifier_totals"))
    case SLIPSTREAM__V1__HEARTBEAT__TOTALS_DRAFTER_TOTALS:
      totals = .drafter(
        unsafe try DrafterTotals.read(raw.drafter_totals, "Heartbeat.drafter_totals"))
    default: totals = nil
    }
  }
}

extension Reject: @unsafe WireBody {
  func validate() throws(WireError) { try refusal.validate() }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Reject {
    var raw = unsafe Slipstream__V1__Reject()
    unsafe slipstream__v1__reject__init(&raw)
    let part = unsafe refusal.raw(in: &scratch)
    unsafe raw.refusal = scratch.place(part)
    unsafe raw.message_type = messageType
    return unsafe raw
  }

  init(raw: Slipstream__V1__Reject) throws(WireError) {
    unsafe try self.init(
      refusal: Refusal.read(raw.refusal, "Reject.refusal"), messageType: raw.message_type)
  }
}

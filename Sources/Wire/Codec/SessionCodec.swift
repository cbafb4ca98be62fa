import CWire
import InferenceTypes

extension OpenSession: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(prompt.count, 1...Limits.contextLengthMax, "OpenSession.prompt")
    try Check.range(
      decided.count, 0...(Limits.contextLengthMax - prompt.count), "OpenSession.decided")
    try sampling.validate()
    if let tokenLimit {
      try Check.range(tokenLimit, 0...Limits.contextLengthMax, "OpenSession.token_limit")
    }
    try Check.range(endTokens.count, 0...Limits.endTokenCountMax, "OpenSession.end_tokens")
    if let collaboration { try collaboration.validate() }
    if let mirostatLimit { try Check.finite(mirostatLimit, "OpenSession.mirostat_limit") }
    // Exact sessions only: a collaboration goes on without what its first verifier knew.
    let resumesMirostat = sampling.mirostatTau > 0 && !decided.isEmpty && collaboration == nil
    guard (mirostatLimit != nil) == resumesMirostat else {
      throw resumesMirostat
        ? .missing(field: "OpenSession.mirostat_limit")
        : .outOfRange(field: "OpenSession.resumes_mirostat", value: 1, allowed: 0...0)
    }
    try rule.validate()
    try Check.range(prediction.count, 0...Limits.predictionCountMax, "OpenSession.prediction")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__OpenSession {
    var raw = unsafe Slipstream__V1__OpenSession()
    unsafe slipstream__v1__open_session__init(&raw)
    unsafe raw.n_prompt = prompt.count
    unsafe raw.prompt = scratch.words(prompt)
    unsafe raw.n_decided = decided.count
    unsafe raw.decided = scratch.words(decided)
    let part = unsafe sampling.raw(in: &scratch)
    unsafe raw.sampling = scratch.place(part)
    unsafe raw.limits_tokens = tokenLimit == nil ? 0 : 1
    unsafe raw.token_limit = UInt32(tokenLimit ?? 0)
    unsafe raw.n_end_tokens = endTokens.count
    unsafe raw.end_tokens = scratch.words(endTokens)
    unsafe raw.ignores_end = ignoresEnd ? 1 : 0
    unsafe raw.draft_origins = draftOrigins.reduce(0) { $0 | 1 << UInt32($1.rawValue) }
    unsafe raw.tenant = scratch.bytes(tenant?.bytes ?? [])
    unsafe raw.pipeline = pipeline?.raw ?? SLIPSTREAM__V1__PIPELINE__PIPELINE_UNSPECIFIED
    if let collaboration {
      let part = unsafe collaboration.raw(in: &scratch)
      unsafe raw.collaboration = scratch.place(part)
    }
    unsafe raw.resumes_mirostat = mirostatLimit == nil ? 0 : 1
    unsafe raw.mirostat_limit = mirostatLimit ?? 0
    if rule != VerifyRuleParameters() {
      let part = unsafe rule.raw(in: &scratch)
      unsafe raw.verify_rule = scratch.place(part)
    }
    unsafe raw.n_prediction = prediction.count
    unsafe raw.prediction = scratch.words(prediction)
    return unsafe raw
  }

  init(raw: Slipstream__V1__OpenSession) throws(WireError) {
    unsafe try self.init(
      prompt: Reading.words(raw.prompt, raw.n_prompt, as: TokenID.init(rawValue:)),
      sampling: SamplingParameters.read(raw.sampling, "OpenSession.sampling"))
    decided = unsafe Reading.words(raw.decided, raw.n_decided, as: TokenID.init(rawValue:))
    if unsafe raw.limits_tokens != 0 {
      tokenLimit = unsafe Int(raw.token_limit)
    } else if unsafe raw.token_limit != 0 {
      throw .outOfRange(
        field: "OpenSession.token_limit", value: unsafe Int(raw.token_limit), allowed: 0...0)
    }
    endTokens = unsafe Reading.words(raw.end_tokens, raw.n_end_tokens, as: TokenID.init(rawValue:))
    ignoresEnd = unsafe raw.ignores_end != 0
    draftOrigins = []
    for bit in UInt8(0)..<32 where unsafe raw.draft_origins >> UInt32(bit) & 1 != 0 {
      guard let origin = DraftOrigin(rawValue: bit) else {
        throw .unknownValue(
          field: "OpenSession.draft_origins", value: unsafe raw.draft_origins)
      }
      draftOrigins.insert(origin)
    }
    tenant = unsafe try Reading.tenant(raw.tenant, "OpenSession.tenant")
    pipeline = unsafe try Pipeline.read(raw.pipeline, "OpenSession.pipeline")
    collaboration = unsafe try CollaborationParameters.readIfPresent(
      raw.collaboration, "OpenSession.collaboration")
    mirostatLimit = unsafe try Reading.optional(
      raw.mirostat_limit, isThere: raw.resumes_mirostat != 0, "OpenSession.mirostat_limit")
    if unsafe raw.verify_rule != nil {
      rule = unsafe try VerifyRuleParameters.read(raw.verify_rule, "OpenSession.verify_rule")
    }
    prediction = unsafe Reading.words(
      raw.prediction, raw.n_prediction, as: TokenID.init(rawValue:))
  }
}

extension SessionTokens: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(firstIndex, 0...Limits.contextLengthMax, "SessionTokens.first_index")
    try Check.range(tokens.count, 0...Limits.contextLengthMax, "SessionTokens.tokens")
    if let ending { try ending.validate() }
    if let mirostatLimit { try Check.finite(mirostatLimit, "SessionTokens.mirostat_limit") }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__SessionTokens {
    var raw = unsafe Slipstream__V1__SessionTokens()
    unsafe slipstream__v1__session_tokens__init(&raw)
    unsafe raw.first_index = UInt32(firstIndex)
    unsafe raw.n_tokens = tokens.count
    unsafe raw.tokens = scratch.words(tokens)
    if let ending {
      let part = unsafe ending.raw(in: &scratch)
      unsafe raw.ending = scratch.place(part)
    }
    unsafe raw.uses_mirostat = mirostatLimit == nil ? 0 : 1
    unsafe raw.mirostat_limit = mirostatLimit ?? 0
    return unsafe raw
  }

  init(raw: Slipstream__V1__SessionTokens) throws(WireError) {
    unsafe self.init(
      firstIndex: Int(raw.first_index),
      tokens: Reading.words(raw.tokens, raw.n_tokens, as: TokenID.init(rawValue:)))
    if unsafe raw.ending != nil {
      ending = unsafe try SessionEnding.read(raw.ending, "SessionTokens.ending")
    }
    mirostatLimit = unsafe try Reading.optional(
      raw.mirostat_limit, isThere: raw.uses_mirostat != 0, "SessionTokens.mirostat_limit")
  }
}

extension SessionEnding: @unsafe WireBody {
  func validate() throws(WireError) { try statistics.validate() }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Ending {
    var raw = unsafe Slipstream__V1__Ending()
    unsafe slipstream__v1__ending__init(&raw)
    unsafe raw.finish =
      switch finishReason {
      case .stop: SLIPSTREAM__V1__FINISH__FINISH_STOP
      case .length: SLIPSTREAM__V1__FINISH__FINISH_LENGTH
      case .cancelled: SLIPSTREAM__V1__FINISH__FINISH_CANCELLED
      }
    let part = unsafe statistics.raw(in: &scratch)
    unsafe raw.statistics = scratch.place(part)
    return unsafe raw
  }

  init(raw: Slipstream__V1__Ending) throws(WireError) {
    switch unsafe raw.finish {
    case SLIPSTREAM__V1__FINISH__FINISH_STOP: finishReason = .stop
    case SLIPSTREAM__V1__FINISH__FINISH_LENGTH: finishReason = .length
    case SLIPSTREAM__V1__FINISH__FINISH_CANCELLED: finishReason = .cancelled
    default: throw .unknownValue(field: "Ending.finish", value: unsafe raw.finish.rawValue)
    }
    statistics = unsafe try SessionStatistics.read(raw.statistics, "Ending.statistics")
  }
}

extension SessionStatistics: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.duration(promptDuration, "Statistics.prompt_ns")
    try Check.duration(decodeDuration, "Statistics.decode_ns")
    let counts = 0...Int(UInt32.max)
    try Check.range(cachedTokenCount, counts, "Statistics.cached_tokens")
    try Check.range(verifyStepCount, counts, "Statistics.verify_steps")
    for origin in DraftOrigin.allCases {
      try Check.range(drafted[origin], counts, "Statistics.drafted")
      try Check.range(accepted[origin], 0...drafted[origin], "Statistics.accepted")
    }
    let placeCount = DraftOrigin.allCases.count * Self.placeCount
    guard draftedAt.isEmpty || draftedAt.count == placeCount else {
      throw .lengthMismatch(
        field: "Statistics.drafted_at", count: draftedAt.count, expected: placeCount)
    }
    guard acceptedAt.count == draftedAt.count else {
      throw .lengthMismatch(
        field: "Statistics.accepted_at", count: acceptedAt.count, expected: draftedAt.count)
    }
    for (drafted, accepted) in zip(draftedAt, acceptedAt) {
      try Check.range(drafted, counts, "Statistics.drafted_at")
      try Check.range(accepted, 0...drafted, "Statistics.accepted_at")
    }
    try Check.range(draftBytes.inbound, 0...Int.max, "Statistics.draft_bytes_in")
    try Check.range(draftBytes.outbound, 0...Int.max, "Statistics.draft_bytes_out")
    try Check.finite(expectedTokenCount, "Statistics.expected_tokens") { $0 >= 0 }
    try Check.duration(roundTrip, "Statistics.round_trip_ns")
    if let collaboration { try collaboration.validate() }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Statistics {
    var raw = unsafe Slipstream__V1__Statistics()
    unsafe slipstream__v1__statistics__init(&raw)
    unsafe raw.prompt_ns = UInt64(promptDuration.clampedNanoseconds)
    unsafe raw.decode_ns = UInt64(decodeDuration.clampedNanoseconds)
    unsafe raw.cached_tokens = UInt32(cachedTokenCount)
    unsafe raw.verify_steps = UInt32(verifyStepCount)
    unsafe raw.n_drafted = drafted.values.count
    unsafe raw.drafted = scratch.copy(drafted.values.map(UInt32.init))
    unsafe raw.n_accepted = accepted.values.count
    unsafe raw.accepted = scratch.copy(accepted.values.map(UInt32.init))
    unsafe raw.n_drafted_at = draftedAt.count
    unsafe raw.drafted_at = scratch.copy(draftedAt.map(UInt32.init))
    unsafe raw.n_accepted_at = acceptedAt.count
    unsafe raw.accepted_at = scratch.copy(acceptedAt.map(UInt32.init))
    unsafe raw.draft_bytes_in = UInt64(draftBytes.inbound)
    unsafe raw.draft_bytes_out = UInt64(draftBytes.outbound)
    unsafe raw.expected_tokens = expectedTokenCount
    unsafe raw.round_trip_ns = UInt64(roundTrip.clampedNanoseconds)
    if let collaboration {
      let part = unsafe collaboration.raw(in: &scratch)
      unsafe raw.collaboration = scratch.place(part)
    }
    return unsafe raw
  }

  init(raw: Slipstream__V1__Statistics) throws(WireError) {
    promptDuration = unsafe Duration(clampingNanoseconds: raw.prompt_ns)
    decodeDuration = unsafe Duration(clampingNanoseconds: raw.decode_ns)
    cachedTokenCount = unsafe Int(raw.cached_tokens)
    verifyStepCount = unsafe Int(raw.verify_steps)
    drafted = unsafe try OriginCounts(
      Reading.counts(raw.drafted, raw.n_drafted), "Statistics.drafted")
    accepted = unsafe try OriginCounts(
      Reading.counts(raw.accepted, raw.n_accepted), "Statistics.accepted")
    draftedAt = unsafe Reading.counts(raw.drafted_at, raw.n_drafted_at)
    acceptedAt = unsafe Reading.counts(raw.accepted_at, raw.n_accepted_at)
    draftBytes.inbound = unsafe Int(clamping: raw.draft_bytes_in)
    draftBytes.outbound = unsafe Int(clamping: raw.draft_bytes_out)
    expectedTokenCount = unsafe raw.expected_tokens
    roundTrip = unsafe Duration(clampingNanoseconds: raw.round_trip_ns)
    if unsafe raw.collaboration != nil {
      collaboration = unsafe try CollaborationReport.read(
        raw.collaboration, "Statistics.collaboration")
    }
  }
}

extension OriginCounts {
  /// Takes counts in the order of the codes; missing ones are 0.
  init(_ counts: [Int], _ field: String) throws(WireError) {
    self.init()
    try Check.range(counts.count, 0...DraftOrigin.allCases.count, field)
    for (origin, count) in zip(DraftOrigin.allCases, counts) { self[origin] = count }
  }
}

import CWire
import InferenceTypes

extension VerifierTotals: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.total(stepCount, "VerifierTotals.steps")
    try Check.total(stepSessionCount, "VerifierTotals.step_sessions")
    try Check.total(promptTokenCount, "VerifierTotals.prompt_tokens")
    try Check.total(plannedCount, "VerifierTotals.planned_nodes")
    guard expectedTokenCount.isFinite, expectedTokenCount >= 0 else {
      throw .invalidNumber(
        field: "VerifierTotals.expected_tokens", value: Float(expectedTokenCount))
    }
    try Check.total(tokenCount, "VerifierTotals.tokens")
    try Check.totalTime(expectedPassDuration, "VerifierTotals.expected_pass_ns")
    try Check.totalTime(passDuration, "VerifierTotals.pass_ns")
    try Check.totalTime(overheadDuration, "VerifierTotals.overhead_ns")
    try Check.total(waitCount, "VerifierTotals.waits")
    try Check.totalTime(waitDuration, "VerifierTotals.wait_ns")
    for origin in DraftOrigin.allCases {
      try Check.total(drafted[origin], "VerifierTotals.drafted")
      try Check.range(accepted[origin], 0...drafted[origin], "VerifierTotals.accepted")
    }
    try Check.range(
      waitingSessionCount, 0...Limits.slotCountMax, "VerifierTotals.waiting_sessions")
    try Check.duration(singleDuration, "VerifierTotals.single_ns")
    try Check.duration(eightDuration, "VerifierTotals.eight_ns")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__VerifierTotals {
    var raw = unsafe Slipstream__V1__VerifierTotals()
    unsafe slipstream__v1__verifier_totals__init(&raw)
    unsafe raw.steps = UInt64(stepCount)
    unsafe raw.step_sessions = UInt64(stepSessionCount)
    unsafe raw.prompt_tokens = UInt64(promptTokenCount)
    unsafe raw.planned_nodes = UInt64(plannedCount)
    unsafe raw.expected_tokens = expectedTokenCount
    unsafe raw.tokens = UInt64(tokenCount)
    unsafe raw.expected_pass_ns = UInt64(expectedPassDuration.clampedNanoseconds)
    unsafe raw.pass_ns = UInt64(passDuration.clampedNanoseconds)
    unsafe raw.overhead_ns = UInt64(overheadDuration.clampedNanoseconds)
    unsafe raw.waits = UInt64(waitCount)
    unsafe raw.wait_ns = UInt64(waitDuration.clampedNanoseconds)
    unsafe raw.n_drafted = drafted.values.count
    unsafe raw.drafted = scratch.copy(drafted.values.map(UInt64.init))
    unsafe raw.n_accepted = accepted.values.count
    unsafe raw.accepted = scratch.copy(accepted.values.map(UInt64.init))
    unsafe raw.waiting_sessions = UInt32(waitingSessionCount)
    unsafe raw.single_ns = UInt64(singleDuration.clampedNanoseconds)
    unsafe raw.eight_ns = UInt64(eightDuration.clampedNanoseconds)
    return unsafe raw
  }

  init(raw: Slipstream__V1__VerifierTotals) throws(WireError) {
    stepCount = unsafe Int(clamping: raw.steps)
    stepSessionCount = unsafe Int(clamping: raw.step_sessions)
    promptTokenCount = unsafe Int(clamping: raw.prompt_tokens)
    plannedCount = unsafe Int(clamping: raw.planned_nodes)
    expectedTokenCount = unsafe raw.expected_tokens
    tokenCount = unsafe Int(clamping: raw.tokens)
    expectedPassDuration = unsafe Duration(clampingNanoseconds: raw.expected_pass_ns)
    passDuration = unsafe Duration(clampingNanoseconds: raw.pass_ns)
    overheadDuration = unsafe Duration(clampingNanoseconds: raw.overhead_ns)
    waitCount = unsafe Int(clamping: raw.waits)
    waitDuration = unsafe Duration(clampingNanoseconds: raw.wait_ns)
    drafted = unsafe try OriginCounts(
      Reading.totals(raw.drafted, raw.n_drafted), "VerifierTotals.drafted")
    accepted = unsafe try OriginCounts(
      Reading.totals(raw.accepted, raw.n_accepted), "VerifierTotals.accepted")
    waitingSessionCount = unsafe Int(raw.waiting_sessions)
    singleDuration = unsafe Duration(clampingNanoseconds: raw.single_ns)
    eightDuration = unsafe Duration(clampingNanoseconds: raw.eight_ns)
  }
}

extension DrafterTotals: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.total(passCount, "DrafterTotals.passes")
    try Check.range(abortedPassCount, 0...max(0, passCount), "DrafterTotals.aborted_passes")
    try Check.range(
      restingSessionCount, 0...Limits.slotCountMax, "DrafterTotals.resting_sessions")
    try Check.duration(draftDuration, "DrafterTotals.draft_ns")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__DrafterTotals {
    var raw = unsafe Slipstream__V1__DrafterTotals()
    unsafe slipstream__v1__drafter_totals__init(&raw)
    unsafe raw.passes = UInt64(passCount)
    unsafe raw.aborted_passes = UInt64(abortedPassCount)
    unsafe raw.resting_sessions = UInt32(restingSessionCount)
    unsafe raw.draft_ns = UInt64(draftDuration.clampedNanoseconds)
    return unsafe raw
  }

  init(raw: Slipstream__V1__DrafterTotals) {
    passCount = unsafe Int(clamping: raw.passes)
    abortedPassCount = unsafe Int(clamping: raw.aborted_passes)
    restingSessionCount = unsafe Int(raw.resting_sessions)
    draftDuration = unsafe Duration(clampingNanoseconds: raw.draft_ns)
  }
}

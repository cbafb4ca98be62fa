import CWire
import InferenceTypes

extension CollaborationParameters: @unsafe WireBody {
  func validate() throws(WireError) {
    guard entropyThreshold >= 0 else {
      throw .invalidNumber(field: "Collaboration.entropy_threshold", value: entropyThreshold)
    }
    func check(
      _ value: Float, _ allowed: ClosedRange<Float>, _ field: String
    ) throws(WireError) {
      try Check.finite(value, "Collaboration.\(field)") { allowed.contains($0) }
    }
    let counts = Int(Int32.max)
    try check(entropyHysteresis, 0...32, "entropy_hysteresis")
    try Check.range(
      entropyWindow, 1...Limits.entropyWindowMax, "Collaboration.entropy_window")
    try Check.range(draftStay, 1...counts, "Collaboration.draft_stay")
    try Check.range(targetStay, 1...counts, "Collaboration.target_stay")
    try Check.range(leadingTokens, 0...counts, "Collaboration.leading_tokens")
    try check(leadProbability, 0...1, "lead_probability")
    try Check.range(ledSentences, 0...counts, "Collaboration.led_sentences")
    try check(plausibility, 0...1, "plausibility")
    try check(contrast, 0...10, "contrast")
    try check(tuningStrength, -10...10, "tuning_strength")
    try check(interventionThreshold, 0...1, "intervention_threshold")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Collaboration {
    var raw = unsafe Slipstream__V1__Collaboration()
    unsafe slipstream__v1__collaboration__init(&raw)
    unsafe raw.method = method.code
    unsafe raw.entropy_threshold = entropyThreshold
    unsafe raw.entropy_hysteresis = entropyHysteresis
    unsafe raw.entropy_window = UInt32(entropyWindow)
    unsafe raw.draft_stay = UInt32(draftStay)
    unsafe raw.target_stay = UInt32(targetStay)
    unsafe raw.leading_tokens = UInt32(leadingTokens)
    unsafe raw.lead_probability = leadProbability
    unsafe raw.led_sentences = UInt32(ledSentences)
    unsafe raw.plausibility = plausibility
    unsafe raw.contrast = contrast
    unsafe raw.tuning_strength = tuningStrength
    unsafe raw.intervention =
      switch intervention {
      case .always: SLIPSTREAM__V1__INTERVENTION__INTERVENTION_ALWAYS
      case .probability: SLIPSTREAM__V1__INTERVENTION__INTERVENTION_PROBABILITY
      case .gap: SLIPSTREAM__V1__INTERVENTION__INTERVENTION_GAP
      }
    unsafe raw.intervention_threshold = interventionThreshold
    return unsafe raw
  }

  init(raw: Slipstream__V1__Collaboration) throws(WireError) {
    self.init(method: unsafe try Method(code: raw.method, "Collaboration.method"))
    entropyThreshold = unsafe raw.entropy_threshold
    entropyHysteresis = unsafe raw.entropy_hysteresis
    entropyWindow = unsafe Int(raw.entropy_window)
    draftStay = unsafe Int(raw.draft_stay)
    targetStay = unsafe Int(raw.target_stay)
    leadingTokens = unsafe Int(raw.leading_tokens)
    leadProbability = unsafe raw.lead_probability
    ledSentences = unsafe Int(raw.led_sentences)
    plausibility = unsafe raw.plausibility
    contrast = unsafe raw.contrast
    tuningStrength = unsafe raw.tuning_strength
    switch unsafe raw.intervention {
    case SLIPSTREAM__V1__INTERVENTION__INTERVENTION_ALWAYS: intervention = .always
    case SLIPSTREAM__V1__INTERVENTION__INTERVENTION_PROBABILITY: intervention = .probability
    case SLIPSTREAM__V1__INTERVENTION__INTERVENTION_GAP: intervention = .gap
    default:
      throw .unknownValue(
        field: "Collaboration.intervention", value: unsafe raw.intervention.rawValue)
    }
    interventionThreshold = unsafe raw.intervention_threshold
  }

  // Null for an exact session.
  static func readIfPresent(
    _ raw: UnsafeMutablePointer<Slipstream__V1__Collaboration>?, _ field: String
  ) throws(WireError) -> CollaborationParameters? {
    guard unsafe raw != nil else { return nil }
    return unsafe try read(raw, field)
  }
}

extension CollaborationParameters.Method {
  fileprivate var code: Slipstream__V1__CollaborationMethod {
    switch self {
    case .entropy: SLIPSTREAM__V1__COLLABORATION_METHOD__COLLABORATION_METHOD_ENTROPY
    case .leading: SLIPSTREAM__V1__COLLABORATION_METHOD__COLLABORATION_METHOD_LEADING
    case .contrastive: SLIPSTREAM__V1__COLLABORATION_METHOD__COLLABORATION_METHOD_CONTRASTIVE
    case .proxy: SLIPSTREAM__V1__COLLABORATION_METHOD__COLLABORATION_METHOD_PROXY
    case .oracle: SLIPSTREAM__V1__COLLABORATION_METHOD__COLLABORATION_METHOD_ORACLE
    }
  }

  fileprivate init(
    code: Slipstream__V1__CollaborationMethod, _ field: String
  ) throws(WireError) {
    guard let method = Self.allCases.first(where: { $0.code.rawValue == code.rawValue }) else {
      throw .unknownValue(field: field, value: code.rawValue)
    }
    self = method
  }
}

extension CollaborationReport: @unsafe WireBody {
  func validate() throws(WireError) {
    let counts = 0...Int(UInt32.max)
    try Check.range(draftCount, counts, "CollaborationCounts.draft_tokens")
    try Check.range(targetCount, counts, "CollaborationCounts.target_tokens")
    try Check.range(combinedCount, counts, "CollaborationCounts.combined_tokens")
    try Check.range(switchCount, counts, "CollaborationCounts.switches")
    let most = Double.greatestFiniteMagnitude
    try Check.number(spentCost, 0...most, "CollaborationCounts.spent_cost")
    try Check.number(plainCost, 0...most, "CollaborationCounts.plain_cost")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__CollaborationCounts {
    var raw = unsafe Slipstream__V1__CollaborationCounts()
    unsafe slipstream__v1__collaboration_counts__init(&raw)
    unsafe raw.method = method.code
    unsafe raw.draft_tokens = UInt32(draftCount)
    unsafe raw.target_tokens = UInt32(targetCount)
    unsafe raw.combined_tokens = UInt32(combinedCount)
    unsafe raw.switches = UInt32(switchCount)
    unsafe raw.spent_cost = spentCost
    unsafe raw.plain_cost = plainCost
    unsafe raw.degraded = isDegraded ? 1 : 0
    return unsafe raw
  }

  init(raw: Slipstream__V1__CollaborationCounts) throws(WireError) {
    self.init(
      method: unsafe try CollaborationParameters.Method(
        code: raw.method, "CollaborationCounts.method"))
    draftCount = unsafe Int(raw.draft_tokens)
    targetCount = unsafe Int(raw.target_tokens)
    combinedCount = unsafe Int(raw.combined_tokens)
    switchCount = unsafe Int(raw.switches)
    spentCost = unsafe raw.spent_cost
    plainCost = unsafe raw.plain_cost
    isDegraded = unsafe raw.degraded != 0
  }
}

extension CollaborateIngest: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(tokens.count, 1...Limits.ingestTokenCountMax, "CollaborateIngest.tokens")
    try Check.range(
      firstPosition, 0...Limits.contextLengthMax - tokens.count,
      "CollaborateIngest.first_position")
    guard case .choice(let turn) = want else { return }
    try Check.range(turn.burstMax, 1...Limits.burstCountMax, "CollaborateIngest.burst_max")
    try Check.range(
      turn.entropies.count, 0...Limits.entropyWindowMax, "CollaborateIngest.entropies")
    for entropy in turn.entropies {
      try Check.number(
        entropy, 0...Double.greatestFiniteMagnitude, "CollaborateIngest.entropies")
    }
    try Check.range(turn.stay, 0...Limits.contextLengthMax, "CollaborateIngest.stay")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__CollaborateIngest {
    var raw = unsafe Slipstream__V1__CollaborateIngest()
    unsafe slipstream__v1__collaborate_ingest__init(&raw)
    unsafe raw.first_position = UInt32(firstPosition)
    unsafe raw.n_tokens = tokens.count
    unsafe raw.tokens = scratch.words(tokens)
    switch want {
    case .nothing:
      unsafe raw.want = SLIPSTREAM__V1__COLLABORATE_WANT__COLLABORATE_WANT_NOTHING
    case .summary:
      unsafe raw.want = SLIPSTREAM__V1__COLLABORATE_WANT__COLLABORATE_WANT_SUMMARY
    case .row: unsafe raw.want = SLIPSTREAM__V1__COLLABORATE_WANT__COLLABORATE_WANT_ROW
    case .choice(let turn):
      unsafe raw.want = SLIPSTREAM__V1__COLLABORATE_WANT__COLLABORATE_WANT_CHOICE
      unsafe raw.burst_max = UInt32(turn.burstMax)
      unsafe raw.n_entropies = turn.entropies.count
      unsafe raw.entropies = scratch.copy(turn.entropies)
      unsafe raw.stay = UInt32(turn.stay)
    }
    return unsafe raw
  }

  init(raw: Slipstream__V1__CollaborateIngest) throws(WireError) {
    var turn = CollaborateTurn(burstMax: unsafe Int(raw.burst_max))
    turn.entropies = unsafe Reading.doubles(raw.entropies, raw.n_entropies)
    turn.stay = unsafe Int(raw.stay)
    let want: Want
    switch unsafe raw.want {
    case SLIPSTREAM__V1__COLLABORATE_WANT__COLLABORATE_WANT_NOTHING: want = .nothing
    case SLIPSTREAM__V1__COLLABORATE_WANT__COLLABORATE_WANT_SUMMARY: want = .summary
    case SLIPSTREAM__V1__COLLABORATE_WANT__COLLABORATE_WANT_CHOICE: want = .choice(turn)
    case SLIPSTREAM__V1__COLLABORATE_WANT__COLLABORATE_WANT_ROW: want = .row
    default:
      throw .unknownValue(field: "CollaborateIngest.want", value: unsafe raw.want.rawValue)
    }
    if want != .choice(turn), turn != CollaborateTurn(burstMax: 0) {
      throw .outOfRange(
        field: "CollaborateIngest.burst_max", value: turn.burstMax, allowed: 0...0)
    }
    unsafe self.init(
      firstPosition: Int(raw.first_position),
      tokens: Reading.words(raw.tokens, raw.n_tokens, as: TokenID.init(rawValue:)), want: want)
  }
}

extension CollaborateAnswer: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(
      range.count, 1...Limits.ingestTokenCountMax, "CollaborateAnswer.end_position")
    try Check.range(
      range.upperBound, 1...Limits.contextLengthMax, "CollaborateAnswer.end_position")
    try Check.range(
      summaries.count, 0...Limits.burstCountMax + 1, "CollaborateAnswer.entropies")
    for summary in summaries {
      try Check.number(
        summary.entropy, 0...Double.greatestFiniteMagnitude, "CollaborateAnswer.entropies")
      try Check.number(
        summary.maxProbability, 0...1, "CollaborateAnswer.max_probabilities")
      try Check.number(summary.gap, 0...0.5, "CollaborateAnswer.gaps")
    }
    let fewest = max(0, summaries.count - 1)
    try Check.range(
      tokens.count, fewest...min(summaries.count, Limits.burstCountMax),
      "CollaborateAnswer.tokens")
    try Check.range(
      row.count, 0...(summaries.isEmpty ? 0 : Limits.rowCountMax), "CollaborateAnswer.row")
    for logit in row where !(logit < .infinity) {
      throw .invalidNumber(field: "CollaborateAnswer.row", value: logit)
    }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__CollaborateAnswer {
    var raw = unsafe Slipstream__V1__CollaborateAnswer()
    unsafe slipstream__v1__collaborate_answer__init(&raw)
    unsafe raw.first_position = UInt32(range.lowerBound)
    unsafe raw.end_position = UInt32(range.upperBound)
    unsafe raw.n_entropies = summaries.count
    unsafe raw.entropies = scratch.copy(summaries.map(\.entropy))
    unsafe raw.n_max_probabilities = summaries.count
    unsafe raw.max_probabilities = scratch.copy(summaries.map(\.maxProbability))
    unsafe raw.n_gaps = summaries.count
    unsafe raw.gaps = scratch.copy(summaries.map(\.gap))
    unsafe raw.n_tokens = tokens.count
    unsafe raw.tokens = scratch.words(tokens)
    unsafe raw.row = scratch.bytes(PackedWords.bytes(row.map(\.bitPattern)))
    return unsafe raw
  }

  init(raw: Slipstream__V1__CollaborateAnswer) throws(WireError) {
    let first = unsafe Int(raw.first_position)
    let end = unsafe Int(raw.end_position)
    guard first < end else {
      throw .outOfRange(
        field: "CollaborateAnswer.end_position", value: end,
        allowed: first + 1...first + Limits.ingestTokenCountMax)
    }
    self.init(range: first..<end)
    let entropies = unsafe Reading.doubles(raw.entropies, raw.n_entropies)
    let probabilities = unsafe Reading.doubles(raw.max_probabilities, raw.n_max_probabilities)
    let gaps = unsafe Reading.doubles(raw.gaps, raw.n_gaps)
    let lengths = [
      ("CollaborateAnswer.max_probabilities", probabilities.count),
      ("CollaborateAnswer.gaps", gaps.count),
    ]
    for (field, count) in lengths where count != entropies.count {
      throw .lengthMismatch(field: field, count: count, expected: entropies.count)
    }
    summaries = entropies.indices.map {
      Summary(entropy: entropies[$0], maxProbability: probabilities[$0], gap: gaps[$0])
    }
    tokens = unsafe Reading.words(raw.tokens, raw.n_tokens, as: TokenID.init(rawValue:))
    row = unsafe try PackedWords.words(Reading.bytes(raw.row), "CollaborateAnswer.row")
      .map { Float(bitPattern: $0) }
  }
}

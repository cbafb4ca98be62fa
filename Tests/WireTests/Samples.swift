import InferenceTypes
import Wire

/// Messages that together use every field, at its smallest, usual and largest.
enum Samples {
  static let session = SessionID(rawValue: 0xFEDC_BA98_7654_3210)

  static var epoch: InstanceEpoch { InstanceEpoch(rawValue: .max) }

  static func fingerprint(_ first: UInt8) -> Fingerprint {
    guard let fingerprint = Fingerprint(bytes: (0..<32).map { first &+ $0 }) else {
      preconditionFailure("32 bytes are a fingerprint")
    }
    return fingerprint
  }

  static func tokens(_ count: Int, _ last: UInt32 = .max) -> [TokenID] {
    (0..<count).map { TokenID(last &- UInt32($0)) }
  }

  static var register: Register {
    Register(
      role: .drafter, name: "d", epoch: InstanceEpoch(rawValue: 1), modelID: "m",
      modelFingerprint: fingerprint(0), tokenizerFingerprint: fingerprint(200),
      vocabularyCount: 1, contextLength: 1, slotCount: 1)
  }

  static var fullRegister: Register {
    var register = Register(
      role: .verifier, name: String(repeating: "~", count: Limits.nameLengthMax), epoch: epoch,
      modelID: String(repeating: "m", count: Limits.modelIDLengthMax),
      modelFingerprint: fingerprint(7), tokenizerFingerprint: fingerprint(9),
      vocabularyCount: Limits.vocabularyCountMax, contextLength: Limits.contextLengthMax,
      slotCount: Limits.slotCountMax)
    register.dataEndpoint =
      "tcp://" + String(repeating: "h", count: Limits.endpointLengthMax - 6)
    register.draftMethods = (0..<Limits.draftMethodCountMax).map { "method-\($0)" }
    register.draftDuration = Limits.durationMax
    register.relativeVerifyCosts = (0..<Limits.verifyCostCountMax).map { 1 + Float($0) / 8 }
    register.verifyDuration = .nanoseconds(1)
    register.verifyRules = Set(VerifyRule.allCases)
    return register
  }

  static var sampling: SamplingParameters {
    var sampling = SamplingParameters.commandLine
    sampling.repetitionPenalty = 1.1
    sampling.frequencyPenalty = -2
    sampling.presencePenalty = .greatestFiniteMagnitude
    sampling.penaltyWindow = Limits.contextLengthMax
    sampling.topK = Int(UInt32.max)
    sampling.logitBias = [
      LogitBias(token: 0, bias: -.infinity), LogitBias(token: 7, bias: 1.5),
      LogitBias(token: TokenID(.max), bias: .leastNonzeroMagnitude),
    ]
    sampling.seed = .max
    sampling.mirostatTau = 32
    sampling.mirostatEta = 0.25
    return sampling
  }

  static var openSession: OpenSession {
    var open = OpenSession(prompt: tokens(3), sampling: sampling)
    open.decided = tokens(2, 5)
    open.tokenLimit = 0
    open.endTokens = tokens(Limits.endTokenCountMax, 1000)
    open.ignoresEnd = true
    open.draftOrigins = [.trigram, .remote]
    open.tenant = TenantID(bytes: (1...16).map { $0 })
    open.pipeline = .vanilla
    open.mirostatLimit = -0.5
    open.rule = VerifyRuleParameters(.deferred)
    open.rule.typicalProbability = 0
    open.rule.typicalEntropy = 1 - 0x1p-53
    open.rule.relaxedCandidates = Limits.vocabularyCountMax
    open.rule.relaxedMargin = 1
    open.rule.deferredEntropy = .greatestFiniteMagnitude
    open.rule.deferredWindow = Limits.nodeCountMax
    open.prediction = tokens(3, 90)
    return open
  }

  /// No number at its default.
  static var collaboration: CollaborationParameters {
    var parameters = CollaborationParameters(method: .oracle)
    parameters.entropyThreshold = .infinity
    parameters.entropyHysteresis = 32
    parameters.entropyWindow = Limits.entropyWindowMax
    parameters.draftStay = Int(Int32.max)
    parameters.targetStay = 1
    parameters.leadingTokens = 0
    parameters.leadProbability = 0.25
    parameters.ledSentences = Int(Int32.max)
    parameters.plausibility = 0
    parameters.contrast = 10
    parameters.tuningStrength = -10
    parameters.intervention = .gap
    parameters.interventionThreshold = 0.125
    return parameters
  }

  static var report: CollaborationReport {
    var report = CollaborationReport(method: .contrastive)
    report.draftCount = Int(UInt32.max)
    report.targetCount = 1
    report.combinedCount = 2
    report.switchCount = 3
    report.spentCost = .greatestFiniteMagnitude
    report.plainCost = 0.1
    report.isDegraded = true
    return report
  }

  static var ingest: CollaborateIngest {
    var turn = CollaborateTurn(burstMax: Limits.burstCountMax)
    turn.entropies = [0, 0.1, .greatestFiniteMagnitude]
    turn.stay = Limits.contextLengthMax
    return CollaborateIngest(
      firstPosition: Limits.contextLengthMax - 3, tokens: tokens(3), want: .choice(turn))
  }

  static var answer: CollaborateAnswer {
    var answer = CollaborateAnswer(range: 7..<9)
    answer.summaries = [
      .init(entropy: 0.3, maxProbability: 1, gap: 0.5),
      .init(entropy: 22, maxProbability: .leastNonzeroMagnitude, gap: 0),
    ]
    answer.tokens = tokens(1)
    answer.row = [-.infinity, .greatestFiniteMagnitude, -0.0]
    return answer
  }

  static var statistics: SessionStatistics {
    var statistics = SessionStatistics()
    statistics.promptDuration = .nanoseconds(123_456_789)
    statistics.decodeDuration = Limits.durationMax
    statistics.cachedTokenCount = Int(UInt32.max)
    statistics.verifyStepCount = 9
    for origin in DraftOrigin.allCases {
      statistics.drafted[origin] = Int(UInt32.max) - Int(origin.rawValue)
      statistics.accepted[origin] = Int(origin.rawValue)
    }
    statistics.draftedAt = (0..<176).map { Int(UInt32.max) - $0 }
    statistics.acceptedAt = (0..<176).map { $0 * 3 }
    statistics.draftBytes.inbound = .max
    statistics.draftBytes.outbound = 1
    statistics.expectedTokenCount = 1.5
    statistics.roundTrip = .nanoseconds(20_000_001)
    statistics.collaboration = report
    return statistics
  }

  static var nodes: Nodes {
    Nodes(
      anchor: Limits.contextLengthMax,
      nodes: [
        DraftNode(id: NodeID(rawValue: 1), parent: .none, token: 0, score: 0),
        DraftNode(
          id: NodeID(rawValue: 2), parent: NodeID(rawValue: 1), token: 9, score: -1.0625),
        DraftNode(
          id: NodeID(rawValue: .max), parent: NodeID(rawValue: 1), token: TokenID(.max),
          score: -255.0 / 16),
      ])
  }

  /// A tree of draws.
  static var drawn: Nodes {
    var nodes = Nodes(
      anchor: 0,
      nodes: [
        DraftNode(id: NodeID(rawValue: 9), parent: .none, token: 4, score: 0),
        DraftNode(id: NodeID(rawValue: 10), parent: .none, token: 4, score: -1),
        DraftNode(id: NodeID(rawValue: 11), parent: NodeID(rawValue: 9), token: 7, score: -2),
      ])
    nodes.laws = [
      PlaceLaw(parent: .none, tokens: [0, 4, TokenID(.max)], weights: [1, .max, 300]),
      PlaceLaw(parent: NodeID(rawValue: 9), tokens: [7], weights: [.max]),
    ]
    return nodes
  }

  static var truth: Truth {
    var truth = Truth(
      from: 17, tokens: tokens(3), nodeIDs: [.none, NodeID(rawValue: .max), NodeID(rawValue: 3)])
    truth.verifyDuration = .microseconds(4711)
    truth.usedNodeCount = Limits.truthTokenCountMax
    truth.isFinished = true
    truth.topWidth = 2
    truth.topTokens = tokens(6, 80)
    return truth
  }

  static var verifierTotals: VerifierTotals {
    var totals = VerifierTotals()
    totals.stepCount = .max
    totals.stepSessionCount = 3
    totals.promptTokenCount = 4
    totals.plannedCount = 5
    totals.expectedTokenCount = 6.5
    totals.tokenCount = 7
    totals.expectedPassDuration = .nanoseconds(Int64.max)
    totals.passDuration = .seconds(9)
    totals.overheadDuration = .nanoseconds(10)
    totals.waitCount = 11
    totals.waitDuration = .nanoseconds(12)
    for origin in DraftOrigin.allCases {
      totals.drafted[origin] = 100 + Int(origin.rawValue)
      totals.accepted[origin] = Int(origin.rawValue)
    }
    totals.waitingSessionCount = Limits.slotCountMax
    totals.singleDuration = Limits.durationMax
    totals.eightDuration = .nanoseconds(16)
    return totals
  }

  static var drafterTotals: DrafterTotals {
    var totals = DrafterTotals()
    totals.passCount = .max
    totals.abortedPassCount = .max
    totals.restingSessionCount = Limits.slotCountMax
    totals.draftDuration = Limits.durationMax
    return totals
  }

  static let refusal = Refusal(
    code: .tokenizersDiffer, message: "the tokenizers differ: 1f… and 2e… (größer)")

  /// Small enough that tests can change every byte of each.
  static var messages: [WireMessage] {
    var heartbeat = Heartbeat(
      sequence: .max, activeSessionCount: Limits.slotCountMax, sentAtNanoseconds: .max)
    heartbeat.echoNanoseconds = .max
    heartbeat.echoDelay = .nanoseconds(1)
    heartbeat.isDraining = true
    heartbeat.roundTrip = Limits.durationMax
    var verifierHeartbeat = Heartbeat(sequence: 1, activeSessionCount: 0, sentAtNanoseconds: 1)
    verifierHeartbeat.totals = .verifier(verifierTotals)
    var drafterHeartbeat = verifierHeartbeat
    drafterHeartbeat.totals = .drafter(drafterTotals)
    var idleHeartbeat = verifierHeartbeat
    idleHeartbeat.totals = .verifier(VerifierTotals())
    var draftless = OpenSession(prompt: [0], sampling: SamplingParameters())
    draftless.draftOrigins = []
    draftless.rule.rule = .kSequential
    var attach = AttachAcceptance(sampling: sampling, promptLength: 1, truthLength: 0)
    attach.tenant = .unnamed
    attach.pipeline = .lockstep
    attach.relativeVerifyCosts = [1, 1.5]
    attach.verifyDuration = .milliseconds(6)
    attach.collaboration = collaboration
    var collaborative = draftless
    collaborative.collaboration = CollaborationParameters(method: .entropy)
    var mirostat = SessionTokens(firstIndex: 4, tokens: [9])
    mirostat.mirostatLimit = 10.25
    var chosen = CollaborateAnswer(range: 0..<1)
    chosen.summaries = [.init(entropy: 1, maxProbability: 0.5, gap: 0.25)]
    chosen.tokens = [3]
    attach.rule = .traversal
    let ending = SessionEnding(finishReason: .cancelled, statistics: statistics)
    return [
      .register(register), .register(fullRegister),
      .registered(.accepted(heartbeatInterval: .milliseconds(200), epoch: epoch)),
      .registered(.accepted(heartbeatInterval: Limits.heartbeatIntervalMax, epoch: epoch)),
      .registered(.refused(refusal)),
      .heartbeat(Heartbeat(sequence: 0, activeSessionCount: 0, sentAtNanoseconds: 1)),
      .heartbeat(heartbeat), .heartbeat(verifierHeartbeat), .heartbeat(drafterHeartbeat),
      .heartbeat(idleHeartbeat), .goodbye,
      .reject(Reject(refusal: refusal, messageType: .max)),
      .reject(Reject(refusal: Refusal(code: .internal, message: ""), messageType: 0)),
      .openSession(openSession), .openSession(draftless),
      .sessionTokens(SessionTokens(firstIndex: 0, tokens: [5])),
      .sessionTokens(SessionTokens(firstIndex: 7, tokens: [])),
      .sessionTokens(
        SessionTokens(firstIndex: Limits.contextLengthMax, tokens: [], ending: ending)),
      .sessionTokens(
        SessionTokens(
          firstIndex: 1, tokens: tokens(2),
          ending: SessionEnding(finishReason: .stop, statistics: SessionStatistics()))),
      .sessionFailed(refusal), .cancelSession,
      .assignDraft(
        AssignDraft(
          verifierEndpoint: "tcp://10.0.0.1:7000", verifierName: "v", verifierEpoch: epoch)),
      .draftAssigned(DraftAssigned(drafterName: "d", drafterEpoch: epoch)), .endDraft,
      .attachDraft(
        AttachDraft(
          drafterName: "d", drafterEpoch: epoch, truthLength: Limits.contextLengthMax,
          truthHash: .max)),
      .attachDraft(
        AttachDraft(drafterName: "d", drafterEpoch: epoch, truthLength: 0, truthHash: 0)),
      .attachReply(.accepted(attach)), .attachReply(.refused(refusal)),
      .nodes(nodes), .nodes(Nodes(anchor: 3, nodes: [])), .nodes(drawn), .truth(truth),
      .truth(Truth(from: 0, tokens: tokens(4))),
      .openSession(collaborative), .sessionTokens(mirostat), .collaborateIngest(ingest),
      .collaborateIngest(CollaborateIngest(firstPosition: 0, tokens: [1], want: .nothing)),
      .collaborateIngest(CollaborateIngest(firstPosition: 5, tokens: [1], want: .summary)),
      .collaborateIngest(CollaborateIngest(firstPosition: 5, tokens: [1], want: .row)),
      .collaborateAnswer(answer), .collaborateAnswer(chosen),
      .collaborateAnswer(CollaborateAnswer(range: 3..<4)),
    ]
  }

  /// Each list at its limit, with tokens that take the most bytes.
  static var largest: [WireMessage] {
    var open = OpenSession(prompt: tokens(Limits.contextLengthMax - 1), sampling: sampling)
    open.decided = tokens(1)
    open.mirostatLimit = .greatestFiniteMagnitude
    open.rule = openSession.rule
    open.prediction = tokens(Limits.predictionCountMax)
    open.sampling.logitBias = (0..<UInt32(Limits.logitBiasCountMax)).map {
      LogitBias(token: TokenID(UInt32.max - 5000 + $0), bias: 1)
    }
    let count = Limits.truthTokenCountMax
    var truth = Truth(
      from: 0, tokens: tokens(count), nodeIDs: tokens(count).map { NodeID(rawValue: $0.rawValue) })
    var rows = truth
    rows.tokens = tokens(Limits.topTokenCountMax / Limits.topWidthMax)
    rows.nodeIDs = rows.tokens.map { _ in NodeID.none }
    rows.topWidth = Limits.topWidthMax
    rows.topTokens = tokens(Limits.topTokenCountMax)
    truth.isFinished = true
    let refusal = Refusal(
      code: .internal, message: String(repeating: "x", count: Limits.textBytesMax))
    let nodes = (1...Limits.nodeCountMax).map { index in
      DraftNode(
        id: NodeID(rawValue: UInt32(index) << 24 | 1), parent: .none, token: TokenID(.max),
        score: -Float(index % 256) / 16)
    }
    var turn = CollaborateTurn(burstMax: Limits.burstCountMax)
    turn.entropies = [Double](repeating: 1.1, count: Limits.entropyWindowMax)
    let ingest = CollaborateIngest(
      firstPosition: 0, tokens: tokens(Limits.ingestTokenCountMax), want: .choice(turn))
    var answer = CollaborateAnswer(
      range: Limits.contextLengthMax - Limits.ingestTokenCountMax..<Limits.contextLengthMax)
    answer.summaries = [CollaborateAnswer.Summary](
      repeating: .init(entropy: 0.1, maxProbability: 0.1, gap: 0.1),
      count: Limits.burstCountMax + 1)
    answer.tokens = tokens(Limits.burstCountMax)
    answer.row = [Float](repeating: -1.5, count: Limits.rowCountMax)
    var drawn = Nodes(anchor: 0, nodes: nodes.filter { $0.id.rawValue > 1 })
    drawn.laws = drawn.nodes.map { node in
      PlaceLaw(
        parent: node.id, tokens: tokens(Limits.lawEntryCountMax).reversed(),
        weights: [UInt16](repeating: .max, count: Limits.lawEntryCountMax))
    }
    return [
      .collaborateIngest(ingest), .collaborateAnswer(answer),
      .nodes(drawn), .openSession(open), .truth(truth), .truth(rows), .sessionFailed(refusal),
      .sessionTokens(SessionTokens(firstIndex: 0, tokens: tokens(Limits.contextLengthMax))),
      .nodes(Nodes(anchor: 0, nodes: nodes.filter { $0.id.rawValue > 1 })),
    ]
  }
}

extension WireMessage {
  /// The message in an envelope that it may travel in.
  var enveloped: Envelope {
    sessionScope == .needed
      ? Envelope(session: Samples.session, message: self) : Envelope(message: self)
  }
}

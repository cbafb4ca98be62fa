import InferenceTypes
import Testing
import Wire

/// Collaborations and Mirostat: limits, and what a peer can send that our encoder never would.
@Suite struct CollaborationLimitsTests {
  private static var collaborative: OpenSession {
    var open = OpenSession(prompt: [1], sampling: SamplingParameters())
    open.collaboration = Samples.collaboration
    return open
  }

  private static func parameter(
    _ field: String, _ path: WritableKeyPath<CollaborationParameters, Int>,
    within: Int, beyond: Int
  ) -> LimitCase {
    .number(
      "Collaboration.\(field)", collaborative,
      WireMessage.openSession, \OpenSession.collaboration,
      within: changed(path, within), beyond: changed(path, beyond))
  }

  private static func changed(
    _ path: WritableKeyPath<CollaborationParameters, Int>, _ value: Int
  ) -> CollaborationParameters {
    var parameters = Samples.collaboration
    parameters[keyPath: path] = value
    return parameters
  }

  static let counts: [LimitCase] = [
    parameter("entropy_window", \.entropyWindow, within: 1024, beyond: 1025),
    parameter("entropy_window", \.entropyWindow, within: 1, beyond: 0),
    parameter("draft_stay", \.draftStay, within: 1, beyond: 0),
    parameter("target_stay", \.targetStay, within: 2_147_483_647, beyond: 2_147_483_648),
    parameter("leading_tokens", \.leadingTokens, within: 0, beyond: -1),
    parameter("led_sentences", \.ledSentences, within: 0, beyond: -1),
    .list(
      "CollaborateIngest.tokens",
      CollaborateIngest(firstPosition: 0, tokens: [], want: .nothing),
      WireMessage.collaborateIngest, \.tokens, 1, limit: 4096),
    .number(
      "CollaborateIngest.first_position", Samples.ingest, WireMessage.collaborateIngest,
      \.firstPosition, within: 131_069, beyond: 131_070),
    .number(
      "CollaborateIngest.burst_max", Samples.ingest, WireMessage.collaborateIngest, \.want,
      within: .choice(CollaborateTurn(burstMax: 256)),
      beyond: .choice(CollaborateTurn(burstMax: 257))),
    .number(
      "CollaborateIngest.burst_max", Samples.ingest, WireMessage.collaborateIngest, \.want,
      within: .choice(CollaborateTurn(burstMax: 1)),
      beyond: .choice(CollaborateTurn(burstMax: 0))),
    .number(
      "CollaborateIngest.entropies", Samples.ingest, WireMessage.collaborateIngest, \.want,
      within: .choice(turn(1024)), beyond: .choice(turn(1025))),
    .number(
      "CollaborateAnswer.end_position", Samples.answer, WireMessage.collaborateAnswer, \.range,
      within: 0..<4096, beyond: 0..<4097),
    .number(
      "CollaborateAnswer.end_position", Samples.answer, WireMessage.collaborateAnswer, \.range,
      within: 131_071..<131_072, beyond: 131_072..<131_073),
    LimitCase(
      "CollaborateAnswer.tokens", Samples.answer, WireMessage.collaborateAnswer,
      within: { $0.tokens = [1, 2] }, beyond: { $0.tokens = [1, 2, 3] }),
    LimitCase(
      "CollaborateAnswer.tokens", Samples.answer, WireMessage.collaborateAnswer,
      within: { $0.tokens = [1] }, beyond: { $0.tokens = [] }),
    .list(
      "CollaborateAnswer.row", Samples.answer, WireMessage.collaborateAnswer, \.row, 1,
      limit: 258_048),
    LimitCase(
      "CollaborateAnswer.row", CollaborateAnswer(range: 0..<1), WireMessage.collaborateAnswer,
      within: { _ in }, beyond: { $0.row = [1] }),
    .number(
      "Sampling.cautious_trials", Samples.openSession, WireMessage.openSession,
      \.sampling.cautiousTrials, within: 0, beyond: 2),
  ]

  private static func turn(_ count: Int) -> CollaborateTurn {
    var turn = CollaborateTurn(burstMax: 1)
    turn.entropies = [Double](repeating: 0, count: count)
    return turn
  }

  @Test(arguments: counts)
  func limitItselfPassesAndOneMoreDoesNot(_ limit: LimitCase) throws {
    let within = limit.within.enveloped
    #expect(try Envelope(decoding: within.encoded()) == within)
    let error = #expect(throws: WireError.self) { try limit.beyond.enveloped.encoded() }
    guard case .outOfRange(let field, _, _) = error else {
      Issue.record("\(limit.field): \(String(describing: error))")
      return
    }
    #expect(field == limit.field)
  }

  @Test func numbersThatMeanNothingAreRefused() {
    let changes: [(String, WritableKeyPath<CollaborationParameters, Float>, [Float])] = [
      ("entropy_threshold", \.entropyThreshold, [-0.1, .nan, -.infinity]),
      ("entropy_hysteresis", \.entropyHysteresis, [-0.1, 33, .nan]),
      ("lead_probability", \.leadProbability, [-0.1, 1.1, .nan]),
      ("plausibility", \.plausibility, [-0.1, 1.1, .nan]),
      ("contrast", \.contrast, [-0.1, 11, .infinity, .nan]),
      ("tuning_strength", \.tuningStrength, [-11, 11, .nan]),
      ("intervention_threshold", \.interventionThreshold, [-0.1, 1.1, .nan]),
    ]
    for (field, path, values) in changes {
      for value in values {
        var open = Self.collaborative
        open.collaboration?[keyPath: path] = value
        expectInvalid("Collaboration.\(field)", .openSession(open))
      }
    }
    for value in [-0.1, .nan, .infinity] as [Double] {
      var turn = CollaborateTurn(burstMax: 1)
      turn.entropies = [1, value]
      var ingest = Samples.ingest
      ingest.want = .choice(turn)
      expectInvalid("CollaborateIngest.entropies", .collaborateIngest(ingest))
      expectAnswer("CollaborateAnswer.entropies") { $0.summaries[1].entropy = value }
      var tokens = SessionTokens(firstIndex: 0, tokens: [1])
      tokens.mirostatLimit = value == -0.1 ? .nan : value
      expectInvalid("SessionTokens.mirostat_limit", .sessionTokens(tokens))
    }
    for value in [-0.1, 1.1, .nan] as [Double] {
      expectAnswer("CollaborateAnswer.max_probabilities") { $0.summaries[0].maxProbability = value }
      expectAnswer("CollaborateAnswer.gaps") { $0.summaries[0].gap = value }
    }
    for value in [Float.nan, .infinity] {
      expectAnswer("CollaborateAnswer.row") { $0.row[1] = value }
    }
    for value in [Float.nan, -1, 33] {
      var open = Samples.openSession
      open.sampling.mirostatTau = value
      expectInvalid("Sampling.mirostat_tau", .openSession(open))
    }
  }

  /// A verifier that takes over cannot guess the state; one that begins has none.
  @Test func mirostatTravelsExactlyWithDecidedTokens() {
    var open = Samples.openSession
    open.mirostatLimit = nil
    #expect(throws: WireError.missing(field: "OpenSession.mirostat_limit")) {
      try WireMessage.openSession(open).enveloped.encoded()
    }
    open = Samples.openSession
    open.decided = []
    #expect(
      throws: WireError.outOfRange(
        field: "OpenSession.resumes_mirostat", value: 1, allowed: 0...0)
    ) { try WireMessage.openSession(open).enveloped.encoded() }
  }

  @Test func unknownCodesAndCrookedAnswersAreNamed() {
    func expect(_ error: WireError, body: Int, _ fields: FrameBuilder) {
      #expect(throws: error) {
        try Envelope(decoding: FrameBuilder.envelope(session: 1, body: body, fields))
      }
    }
    for want in [0, 5] as [UInt64] {
      expect(
        .unknownValue(field: "CollaborateIngest.want", value: UInt32(want)), body: 64,
        FrameBuilder().packed(2, [1]).number(3, want))
    }
    // A summary has no burst.
    expect(
      .outOfRange(field: "CollaborateIngest.burst_max", value: 3, allowed: 0...0), body: 64,
      FrameBuilder().packed(2, [1]).number(3, 2).number(4, 3))
    expect(
      .outOfRange(field: "CollaborateAnswer.end_position", value: 4, allowed: 6...4101), body: 65,
      FrameBuilder().number(1, 5).number(2, 4))
    expect(
      .lengthMismatch(field: "CollaborateAnswer.max_probabilities", count: 0, expected: 1),
      body: 65,
      FrameBuilder().number(1, 5).number(2, 6).bytes(3, [UInt8](repeating: 0, count: 8)))
    expect(
      .lengthMismatch(field: "CollaborateAnswer.row", count: 3, expected: 0), body: 65,
      FrameBuilder().number(1, 5).number(2, 6).bytes(7, [1, 2, 3]))
    let method = FrameBuilder().number(1, 6)
    expect(
      .unknownValue(field: "Collaboration.method", value: 6), body: 32,
      FrameBuilder().packed(1, [1])
        .bytes(3, FrameBuilder().float(3, 1).float(5, 1).bytes).bytes(30, method.bytes))
  }

  private func expectAnswer(_ field: String, _ change: (inout CollaborateAnswer) -> Void) {
    var answer = Samples.answer
    change(&answer)
    expectInvalid(field, .collaborateAnswer(answer))
  }

  private func expectInvalid(_ field: String, _ message: WireMessage) {
    let error = #expect(throws: WireError.self) { try message.enveloped.encoded() }
    guard case .invalidNumber(field, _) = error else {
      Issue.record("\(field): \(String(describing: error))")
      return
    }
  }
}

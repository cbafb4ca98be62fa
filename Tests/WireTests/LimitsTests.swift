import InferenceTypes
import Testing
import Wire

/// A field at its limit, and one step past it.
struct LimitCase: CustomTestStringConvertible, Sendable {
  let field: String
  let within: WireMessage
  let beyond: WireMessage

  var testDescription: String { field }

  init<Body>(
    _ field: String, _ body: Body, _ make: (Body) -> WireMessage, within: (inout Body) -> Void,
    beyond: (inout Body) -> Void
  ) {
    var first = body
    within(&first)
    var second = body
    beyond(&second)
    self.field = field
    self.within = make(first)
    self.beyond = make(second)
  }

  static func list<Body, Element>(
    _ field: String, _ body: Body, _ make: (Body) -> WireMessage,
    _ path: WritableKeyPath<Body, [Element]>, _ element: Element, limit: Int
  ) -> LimitCase {
    LimitCase(
      field, body, make,
      within: { $0[keyPath: path] = [Element](repeating: element, count: limit) },
      beyond: { $0[keyPath: path] = [Element](repeating: element, count: limit + 1) })
  }

  static func number<Body, Value>(
    _ field: String, _ body: Body, _ make: (Body) -> WireMessage,
    _ path: WritableKeyPath<Body, Value>, within: Value, beyond: Value
  ) -> LimitCase {
    LimitCase(
      field, body, make, within: { $0[keyPath: path] = within },
      beyond: { $0[keyPath: path] = beyond })
  }
}

@Suite struct LimitsTests {
  static let register: [LimitCase] = [
    .number(
      "Register.name", Samples.register, WireMessage.register, \.name,
      within: String(repeating: "n", count: 64), beyond: String(repeating: "n", count: 65)),
    .number(
      "Register.name", Samples.register, WireMessage.register, \.name, within: "n", beyond: ""),
    .number(
      "Register.model_id", Samples.register, WireMessage.register, \.modelID,
      within: String(repeating: "n", count: 128), beyond: String(repeating: "n", count: 129)),
    .number(
      "Register.vocabulary_count", Samples.register, WireMessage.register, \.vocabularyCount,
      within: 1 << 22, beyond: 1 << 22 + 1),
    .number(
      "Register.vocabulary_count", Samples.register, WireMessage.register, \.vocabularyCount,
      within: 1, beyond: -1),
    .number(
      "Register.context_length", Samples.register, WireMessage.register, \.contextLength,
      within: 131_072, beyond: 131_073),
    .number(
      "Register.slots", Samples.register, WireMessage.register, \.slotCount, within: 4096,
      beyond: 4097),
    .number(
      "Register.data_endpoint", Samples.register, WireMessage.register, \.dataEndpoint,
      within: String(repeating: "n", count: 256), beyond: String(repeating: "n", count: 257)),
    .list(
      "Register.draft_methods", Samples.register, WireMessage.register, \.draftMethods, "m",
      limit: 16),
    .list(
      "Register.verify_costs", Samples.register, WireMessage.register, \.relativeVerifyCosts, 1,
      limit: 128),
    .number(
      "Register.draft_ns", Samples.register, WireMessage.register, \.draftDuration,
      within: .seconds(1_000_000), beyond: .seconds(1_000_000) + .nanoseconds(1)),
    .number(
      "Register.verify_ns", Samples.register, WireMessage.register, \.verifyDuration,
      within: .zero, beyond: .nanoseconds(-1)),
    .number(
      "Heartbeat.active_sessions",
      Heartbeat(sequence: 1, activeSessionCount: 0, sentAtNanoseconds: 1), WireMessage.heartbeat,
      \.activeSessionCount, within: 4096, beyond: 4097),
  ]

  static let totals: [LimitCase] = [
    .number(
      "VerifierTotals.waiting_sessions", Samples.verifierTotals, verifierHeartbeat,
      \.waitingSessionCount, within: 4096, beyond: 4097),
    .number(
      "VerifierTotals.steps", Samples.verifierTotals, verifierHeartbeat, \.stepCount, within: 0,
      beyond: -1),
    .number(
      "VerifierTotals.pass_ns", Samples.verifierTotals, verifierHeartbeat, \.passDuration,
      within: .nanoseconds(Int64.max), beyond: .seconds(Int64.max)),
    .number(
      "VerifierTotals.accepted", Samples.verifierTotals, verifierHeartbeat, \.accepted[.copy],
      within: 104, beyond: 105),
    .number(
      "VerifierTotals.single_ns", Samples.verifierTotals, verifierHeartbeat, \.singleDuration,
      within: Limits.durationMax, beyond: Limits.durationMax + .nanoseconds(1)),
    .number(
      "DrafterTotals.aborted_passes", drafterTotals(passes: 5), drafterHeartbeat,
      \.abortedPassCount, within: 5, beyond: 6),
    .number(
      "DrafterTotals.resting_sessions", Samples.drafterTotals, drafterHeartbeat,
      \.restingSessionCount, within: 4096, beyond: 4097),
  ]

  private static func verifierHeartbeat(_ totals: VerifierTotals) -> WireMessage {
    var heartbeat = Heartbeat(sequence: 1, activeSessionCount: 0, sentAtNanoseconds: 1)
    heartbeat.totals = .verifier(totals)
    return .heartbeat(heartbeat)
  }

  private static func drafterHeartbeat(_ totals: DrafterTotals) -> WireMessage {
    var heartbeat = Heartbeat(sequence: 1, activeSessionCount: 0, sentAtNanoseconds: 1)
    heartbeat.totals = .drafter(totals)
    return .heartbeat(heartbeat)
  }

  private static func drafterTotals(passes: Int) -> DrafterTotals {
    var totals = DrafterTotals()
    totals.passCount = passes
    return totals
  }

  static let session: [LimitCase] = [
    .list(
      "OpenSession.prompt", OpenSession(prompt: [], sampling: SamplingParameters()),
      WireMessage.openSession, \.prompt, 1, limit: 131_072),
    .list(
      "OpenSession.decided", OpenSession(prompt: [1, 2], sampling: SamplingParameters()),
      WireMessage.openSession, \.decided, 1, limit: 131_070),
    .number(
      "OpenSession.prompt", Samples.openSession, WireMessage.openSession, \.prompt, within: [1],
      beyond: []),
    .list(
      "OpenSession.end_tokens", Samples.openSession, WireMessage.openSession, \.endTokens, 1,
      limit: 64),
    .number(
      "OpenSession.token_limit", Samples.openSession, WireMessage.openSession, \.tokenLimit,
      within: 131_072, beyond: 131_073),
    .number(
      "Sampling.penalty_window", Samples.openSession, WireMessage.openSession,
      \.sampling.penaltyWindow, within: 131_072, beyond: 131_073),
    .number(
      "Sampling.top_k", Samples.openSession, WireMessage.openSession, \.sampling.topK, within: 0,
      beyond: -1),
    .number(
      "Sampling.bias_tokens", Samples.openSession, WireMessage.openSession, \.sampling.logitBias,
      within: (0..<4096).map { LogitBias(token: TokenID($0), bias: 0) },
      beyond: (0..<4097).map { LogitBias(token: TokenID($0), bias: 0) }),
    .list(
      "SessionTokens.tokens", SessionTokens(firstIndex: 0, tokens: []), WireMessage.sessionTokens,
      \.tokens, 1, limit: 131_072),
    .number(
      "SessionTokens.first_index", SessionTokens(firstIndex: 0, tokens: [1]),
      WireMessage.sessionTokens, \.firstIndex, within: 131_072, beyond: 131_073),
    .number(
      "Refusal.message", Samples.refusal, WireMessage.sessionFailed, \.message,
      within: String(repeating: "ä", count: 512), beyond: String(repeating: "ä", count: 512) + "a"),
  ]

  static let stream: [LimitCase] = [
    .number(
      "Nodes.id_deltas", Samples.nodes, WireMessage.nodes, \.nodes, within: chain(256),
      beyond: chain(257)),
    .number(
      "Nodes.anchor", Samples.nodes, WireMessage.nodes, \.anchor, within: 131_072, beyond: 131_073),
    .number(
      "Truth.from", Samples.truth, WireMessage.truth, \.from, within: 131_072, beyond: 131_073),
    .number(
      "Truth.nodes_used", Samples.truth, WireMessage.truth, \.usedNodeCount, within: 65_536,
      beyond: 65_537),
    LimitCase(
      "Truth.tokens", Truth(from: 0, tokens: []), WireMessage.truth,
      within: { $0 = Truth(from: 0, tokens: Samples.tokens(65_536)) },
      beyond: { $0 = Truth(from: 0, tokens: Samples.tokens(65_537)) }),
    LimitCase(
      "Truth.top_width", Truth(from: 0, tokens: [1]), WireMessage.truth,
      within: {
        $0.topWidth = 64
        $0.topTokens = Samples.tokens(64)
      },
      beyond: {
        $0.topWidth = 65
        $0.topTokens = Samples.tokens(65)
      }),
    LimitCase(
      "Truth.top_tokens", Truth(from: 0, tokens: Samples.tokens(32_768)), WireMessage.truth,
      within: {
        $0.topWidth = 1
        $0.topTokens = Samples.tokens(32_768)
      },
      beyond: {
        $0 = Truth(from: 0, tokens: Samples.tokens(32_769))
        $0.topWidth = 1
        $0.topTokens = Samples.tokens(32_769)
      }),
    .number(
      "AttachDraft.truth_length",
      AttachDraft(drafterName: "d", drafterEpoch: Samples.epoch, truthLength: 0, truthHash: 0),
      WireMessage.attachDraft, \.truthLength, within: 131_072, beyond: 131_073),
  ]

  static func chain(_ count: Int) -> [DraftNode] {
    (1...UInt32(count)).map {
      DraftNode(
        id: NodeID(rawValue: $0), parent: NodeID(rawValue: $0 - 1), token: TokenID($0), score: 0)
    }
  }

  @Test(arguments: register + totals + session + stream)
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

  @Test(arguments: [
    Float.nan, .infinity, -1, -.leastNonzeroMagnitude,
  ])
  func temperatureIsFiniteAndNotNegative(_ value: Float) {
    var open = Samples.openSession
    open.sampling.temperature = value
    expectInvalid("Sampling.temperature", .openSession(open))
  }

  @Test func numbersThatMeanNothingAreRefused() {
    let changes: [(String, WritableKeyPath<SamplingParameters, Float>, [Float])] = [
      ("Sampling.top_p", \.topP, [0, 1.000_001, .nan]),
      ("Sampling.min_p", \.minP, [-0.1, 1.1, .nan]),
      ("Sampling.repetition_penalty", \.repetitionPenalty, [0, -1, .infinity, .nan]),
      ("Sampling.frequency_penalty", \.frequencyPenalty, [.infinity, .nan]),
      ("Sampling.presence_penalty", \.presencePenalty, [-.infinity, .nan]),
    ]
    for (field, path, values) in changes {
      for value in values {
        var open = Samples.openSession
        open.sampling[keyPath: path] = value
        expectInvalid(field, .openSession(open))
      }
    }
    for bias in [Float.infinity, .nan] {
      var open = Samples.openSession
      open.sampling.logitBias = [LogitBias(token: 1, bias: bias)]
      expectInvalid("Sampling.bias_values", .openSession(open))
    }
    for score in [Float.nan, 0.1, .infinity] {
      var nodes = Samples.nodes
      nodes.nodes[1].score = score
      expectInvalid("Nodes.scores", .nodes(nodes))
    }
    for cost in [Float.nan, 0, -1, .infinity, 10_001, 1 / 10_001] {
      var register = Samples.register
      register.relativeVerifyCosts = [1, cost]
      expectInvalid("Register.verify_costs", .register(register))
    }
  }

  private func expectInvalid(_ field: String, _ message: WireMessage) {
    let error = #expect(throws: WireError.self) { try message.enveloped.encoded() }
    guard case .invalidNumber(field, _) = error else {
      Issue.record("\(field): \(String(describing: error))")
      return
    }
  }

  @Test func biasAndNodesAscend() {
    var open = Samples.openSession
    open.sampling.logitBias = [LogitBias(token: 4, bias: 0), LogitBias(token: 4, bias: 1)]
    #expect(throws: WireError.notAscending(field: "Sampling.bias_tokens", index: 1)) {
      try WireMessage.openSession(open).enveloped.encoded()
    }
    for (first, second) in [(0, 1), (2, 2), (3, 2)] as [(UInt32, UInt32)] {
      let nodes = [first, second].map {
        DraftNode(id: NodeID(rawValue: $0), parent: .none, token: 1, score: 0)
      }
      #expect(
        throws: WireError.notAscending(field: "Nodes.id_deltas", index: first == 0 ? 0 : 1)
      ) { try WireMessage.nodes(Nodes(anchor: 0, nodes: nodes)).enveloped.encoded() }
    }
    let orphan = DraftNode(
      id: NodeID(rawValue: 3), parent: NodeID(rawValue: 3), token: 1, score: 0)
    #expect(throws: WireError.notAscending(field: "Nodes.parent_deltas", index: 0)) {
      try WireMessage.nodes(Nodes(anchor: 0, nodes: [orphan])).enveloped.encoded()
    }
  }
}

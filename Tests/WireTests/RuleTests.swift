import InferenceTypes
import Testing
import Wire

/// Verify rules, the laws of draws and predictions on the wire.
@Suite struct RuleTests {
  private func decoded(_ message: WireMessage) throws -> WireMessage {
    try Envelope(decoding: message.enveloped.encoded()).message
  }

  @Test(arguments: VerifyRule.allCases)
  func everyRuleArrives(rule: VerifyRule) throws {
    var open = OpenSession(prompt: [1], sampling: SamplingParameters())
    open.rule = VerifyRuleParameters(rule)
    #expect(try decoded(.openSession(open)) == .openSession(open))
    var attach = AttachAcceptance(
      sampling: SamplingParameters(), promptLength: 1, truthLength: 0)
    attach.rule = rule
    #expect(try decoded(.attachReply(.accepted(attach))) == .attachReply(.accepted(attach)))
    var register = Samples.register
    register.verifyRules = [rule]
    #expect(try decoded(.register(register)) == .register(register))
  }

  /// Peers of before have no word for rules: they know one.
  @Test func whatIsNotSaidIsGumbelMatch() throws {
    let frame = FrameBuilder.envelope(
      session: 1, body: 32,
      FrameBuilder().packed(1, [1]).bytes(3, FrameBuilder().float(3, 1).float(5, 1).bytes))
    guard case .openSession(let open) = try Envelope(decoding: frame).message else {
      Issue.record("not OpenSession")
      return
    }
    #expect(open.rule == VerifyRuleParameters() && open.prediction.isEmpty)
  }

  @Test func settingsOutOfTheirRangesAreRefused() {
    let changes: [(String, (inout VerifyRuleParameters) -> Void)] = [
      ("VerifyRule.typical_probability", { $0.typicalProbability = 1 }),
      ("VerifyRule.typical_probability", { $0.typicalProbability = .nan }),
      ("VerifyRule.typical_entropy", { $0.typicalEntropy = -0.1 }),
      ("VerifyRule.relaxed_margin", { $0.relaxedMargin = 1.001 }),
      ("VerifyRule.deferred_entropy", { $0.deferredEntropy = -1 }),
      ("VerifyRule.deferred_entropy", { $0.deferredEntropy = .infinity }),
    ]
    for (field, change) in changes {
      var open = Samples.openSession
      change(&open.rule)
      let error = #expect(throws: WireError.self) {
        try WireMessage.openSession(open).enveloped.encoded()
      }
      guard case .invalidNumber(field, _) = error else {
        Issue.record("\(field): \(String(describing: error))")
        continue
      }
    }
  }

  @Test func lawsAreLaws() {
    let changes: [(WireError, (inout Nodes) -> Void)] = [
      (.notAscending(field: "PlaceLaw.token_deltas", index: 1), { $0.laws[0].tokens[1] = 0 }),
      (
        .outOfRange(field: "PlaceLaw.weights", value: 0, allowed: 1...65535),
        { $0.laws[0].weights[2] = 0 }
      ),
      (
        .lengthMismatch(field: "PlaceLaw.weights", count: 2, expected: 3),
        { $0.laws[0].weights.removeLast() }
      ),
      (
        .outOfRange(field: "PlaceLaw.token_deltas", value: 0, allowed: 1...64),
        { $0.laws[1] = PlaceLaw(parent: NodeID(rawValue: 9), tokens: [], weights: []) }
      ),
      (.notAscending(field: "Nodes.laws", index: 1), { $0.laws[1].parent = .none }),
      (.notAscending(field: "Nodes.laws", index: 1), { $0.laws.swapAt(0, 1) }),
    ]
    for (expected, change) in changes {
      var nodes = Samples.drawn
      change(&nodes)
      #expect(throws: expected) { try WireMessage.nodes(nodes).enveloped.encoded() }
    }
  }

  /// What our encoder would never send.
  @Test func garbageIsNamed() {
    func expect(_ error: WireError, body: Int, session: UInt64 = 1, _ fields: FrameBuilder) {
      let frame = FrameBuilder.envelope(session: session, body: body, fields)
      #expect(throws: error) { try Envelope(decoding: frame) }
    }
    func nodes(_ law: FrameBuilder) -> FrameBuilder {
      FrameBuilder().number(2, 1).packed(3, [0]).packed(4, [0]).packed(5, [1]).bytes(6, [0])
        .bytes(40, law.bytes)
    }
    expect(
      .notAscending(field: "PlaceLaw.token_deltas", index: 1), body: 53,
      nodes(FrameBuilder().packed(2, [UInt64(UInt32.max), 1]).bytes(3, [1, 0, 1, 0])))
    expect(
      .notAscending(field: "PlaceLaw.token_deltas", index: 1), body: 53,
      nodes(FrameBuilder().packed(2, [3, 0]).bytes(3, [1, 0, 1, 0])))
    expect(
      .lengthMismatch(field: "PlaceLaw.weights", count: 3, expected: 4), body: 53,
      nodes(FrameBuilder().packed(2, [3, 1]).bytes(3, [1, 0, 1])))
    expect(
      .outOfRange(field: "PlaceLaw.token_deltas", value: 65, allowed: 1...64), body: 53,
      nodes(FrameBuilder().packed(2, (0..<65).map { _ in 1 })))
    expect(
      .outOfRange(field: "PlaceLaw.weights", value: 0, allowed: 1...65535), body: 53,
      nodes(FrameBuilder().packed(2, [3]).bytes(3, [0, 0])))
    var many = nodes(FrameBuilder().packed(2, [3]).bytes(3, [1, 0]))
    let law = FrameBuilder().packed(2, [3]).bytes(3, [1, 0])
    for _ in 0..<256 { many = many.bytes(40, law.bytes) }
    expect(.outOfRange(field: "Nodes.laws", value: 257, allowed: 0...256), body: 53, many)
    let open = FrameBuilder().packed(1, [1]).bytes(
      3, FrameBuilder().float(3, 1).float(5, 1).bytes)
    expect(.missing(field: "VerifyRule.rule"), body: 32, open.bytes(40, []))
    expect(
      .unknownValue(field: "VerifyRule.rule", value: 11), body: 32,
      open.bytes(40, FrameBuilder().number(1, 11).bytes))
    expect(
      .outOfRange(field: "VerifyRule.deferred_window", value: 0, allowed: 1...256), body: 32,
      open.bytes(40, FrameBuilder().number(1, 3).bytes))
    expect(
      .outOfRange(field: "OpenSession.prediction", value: 16_385, allowed: 0...16_384), body: 32,
      open.packed(41, [UInt64](repeating: 1, count: 16_385)))
  }

  @Test func aRuleThatIsNotKnownIsNotTaken() {
    let fields = FrameBuilder().number(1, 1).text(2, "d").fixed(3, 1).text(4, "m")
      .bytes(5, [UInt8](repeating: 1, count: 32)).bytes(6, [UInt8](repeating: 2, count: 32))
      .number(7, 1).number(8, 1).number(9, 1).number(40, 1 << 11)
    #expect(throws: WireError.unknownValue(field: "Register.verify_rules", value: 2048)) {
      try Envelope(decoding: FrameBuilder.envelope(body: 16, fields))
    }
  }
}

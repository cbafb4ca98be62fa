import InferenceTypes
import Testing
import Wire

/// What a peer can send and our own encoder never would.
@Suite struct DecodingTests {
  private func expect(_ error: WireError, session: UInt64 = 1, body: Int, _ fields: FrameBuilder) {
    #expect(throws: error) {
      try Envelope(decoding: FrameBuilder.envelope(session: session, body: body, fields))
    }
  }

  private func register(
    role: UInt64 = 1, name: [UInt8] = [0x64], fingerprint: Int = 32, costBytes: Int = 0
  ) -> FrameBuilder {
    FrameBuilder().number(1, role).bytes(2, name).fixed(3, 5).text(4, "m")
      .bytes(5, [UInt8](repeating: 1, count: fingerprint))
      .bytes(6, [UInt8](repeating: 2, count: 32)).number(7, 10).number(8, 10).number(9, 1)
      .bytes(13, [UInt8](repeating: 0x3F, count: costBytes))
  }

  @Test func handBuiltRegisterIsValid() throws {
    let frame = FrameBuilder.envelope(body: 16, register(costBytes: 8))
    guard case .register(let decoded) = try Envelope(decoding: frame).message else {
      Issue.record("not a Register")
      return
    }
    #expect(decoded.name == "d")
    #expect(decoded.relativeVerifyCosts.count == 2)
  }

  @Test func fingerprintsHave32Bytes() {
    for count in [0, 31, 33] {
      expect(
        .lengthMismatch(field: "Register.model_fingerprint", count: count, expected: 32),
        session: 0, body: 16, register(fingerprint: count))
    }
  }

  @Test func textIsPrintableAndWhole() {
    let names: [[UInt8]] = [
      [0x64, 0x00], [0x64, 0x0A], [0x20], [0x7F], [0xC3], [0xFF, 0xFE], Array("ä".utf8),
    ]
    for name in names {
      expect(.invalidText(field: "Register.name"), session: 0, body: 16, register(name: name))
    }
    for message in [[0x61, 0x00, 0x62], [0xED, 0xA0, 0x80]] as [[UInt8]] {
      let refusal = FrameBuilder().number(1, 3).bytes(2, message)
      expect(
        .invalidText(field: "Refusal.message"), body: 34, FrameBuilder().bytes(1, refusal.bytes))
    }
  }

  @Test func unknownCodesAreNamed() {
    for role in [0, 3, UInt64(UInt32.max)] {
      expect(
        .unknownValue(field: "Register.role", value: UInt32(role)), session: 0, body: 16,
        register(role: role))
    }
    for code in [0, 14] as [UInt64] {
      let refusal = FrameBuilder().number(1, code)
      expect(
        .unknownValue(field: "Refusal.code", value: UInt32(code)), body: 34,
        FrameBuilder().bytes(1, refusal.bytes))
    }
    let ending = FrameBuilder().number(1, 4).bytes(2, [])
    expect(
      .unknownValue(field: "Ending.finish", value: 4), body: 33,
      FrameBuilder().bytes(3, ending.bytes))
    expect(
      .unknownValue(field: "OpenSession.draft_origins", value: 2048), body: 32,
      FrameBuilder().packed(1, [1]).bytes(3, sampling.bytes).number(8, 2048))
  }

  /// Sampling as the router sends it for a greedy session.
  private var sampling: FrameBuilder {
    FrameBuilder().float(3, 1).float(5, 1).number(6, 64)
  }

  @Test func aTenantIsSixteenBytesThatAreNotAllZero() {
    func open(_ tenant: [UInt8]) -> FrameBuilder {
      FrameBuilder().packed(1, [1]).bytes(3, sampling.bytes).bytes(9, tenant)
    }
    func accepted(_ tenant: [UInt8]) -> FrameBuilder {
      let acceptance = FrameBuilder().bytes(1, sampling.bytes).number(2, 1).bytes(4, tenant)
      return FrameBuilder().bytes(1, acceptance.bytes)
    }
    for count in [1, 15, 17] {
      let tenant = [UInt8](repeating: 1, count: count)
      expect(
        .lengthMismatch(field: "OpenSession.tenant", count: count, expected: 16), body: 32,
        open(tenant))
      expect(
        .lengthMismatch(field: "AttachReply.tenant", count: count, expected: 16), body: 52,
        accepted(tenant))
    }
    let zeros = [UInt8](repeating: 0, count: 16)
    expect(.missing(field: "OpenSession.tenant"), body: 32, open(zeros))
    expect(.missing(field: "AttachReply.tenant"), body: 52, accepted(zeros))
  }

  @Test func partsThatMustBeThereAreMissed() {
    expect(
      .missing(field: "OpenSession.sampling"), body: 32, FrameBuilder().packed(1, [1]))
    expect(.missing(field: "Registered.outcome"), session: 0, body: 17, FrameBuilder())
    expect(.missing(field: "AttachReply.outcome"), body: 52, FrameBuilder())
    expect(.missing(field: "Reject.refusal"), session: 0, body: 20, FrameBuilder())
    expect(.missing(field: "Envelope.body"), body: 34, FrameBuilder())
    expect(
      .missing(field: "Ending.statistics"), body: 33,
      FrameBuilder().bytes(3, FrameBuilder().number(1, 1).bytes))
  }

  @Test func arraysAgreeInLength() {
    func nodes(_ ids: [UInt64], _ parents: [UInt64], _ tokens: [UInt64], _ scores: Int)
      -> FrameBuilder
    {
      FrameBuilder().number(2, 5).packed(3, ids).packed(4, parents).packed(5, tokens)
        .bytes(6, [UInt8](repeating: 0, count: scores))
    }
    expect(
      .lengthMismatch(field: "Nodes.parent_deltas", count: 1, expected: 2), body: 53,
      nodes([0, 1], [0], [1, 1], 2))
    expect(
      .lengthMismatch(field: "Nodes.tokens", count: 3, expected: 2), body: 53,
      nodes([0, 1], [0, 0], [1, 1, 1], 2))
    expect(
      .lengthMismatch(field: "Nodes.scores", count: 0, expected: 2), body: 53,
      nodes([0, 1], [0, 0], [1, 1], 0))
    expect(
      .lengthMismatch(field: "Truth.node_ids", count: 1, expected: 2), body: 54,
      FrameBuilder().packed(2, [1, 2]).packed(3, [1]))
    expect(
      .lengthMismatch(field: "Truth.top_tokens", count: 1, expected: 4), body: 54,
      FrameBuilder().packed(2, [1, 2]).number(7, 2).bytes(8, [1, 2, 3, 4]))
    expect(
      .lengthMismatch(field: "Truth.top_tokens", count: 5, expected: 4), body: 54,
      FrameBuilder().packed(2, [1]).number(7, 1).bytes(8, [1, 2, 3, 4, 5]))
    expect(
      .lengthMismatch(field: "Sampling.bias_values", count: 1, expected: 2), body: 32,
      FrameBuilder().packed(1, [1])
        .bytes(3, FrameBuilder().packed(9, [1, 2]).bytes(10, [0, 0, 0, 0]).bytes))
  }

  @Test func nodeArithmeticDoesNotOverflow() {
    let last = UInt64(UInt32.max)
    func nodes(base: UInt64, _ ids: [UInt64], _ parents: [UInt64]) -> FrameBuilder {
      FrameBuilder().number(2, base).packed(3, ids).packed(4, parents).packed(5, ids)
        .bytes(6, ids.map { _ in 0 })
    }
    expect(
      .notAscending(field: "Nodes.id_deltas", index: 1), body: 53,
      nodes(base: last, [0, 1], [0, 0]))
    expect(
      .notAscending(field: "Nodes.id_deltas", index: 0), body: 53, nodes(base: 1, [1], [0]))
    expect(
      .notAscending(field: "Nodes.id_deltas", index: 1), body: 53,
      nodes(base: 1, [0, 0], [0, 0]))
    expect(.notAscending(field: "Nodes.id_deltas", index: 0), body: 53, nodes(base: 0, [0], [0]))
    for parent in [5, 6, last] {
      expect(
        .notAscending(field: "Nodes.parent_deltas", index: 0), body: 53,
        nodes(base: 5, [0], [parent]))
    }
  }

  @Test func limitsHoldForWhatArrives() {
    let tokens = [UInt64](repeating: 1, count: Limits.contextLengthMax + 1)
    expect(
      .outOfRange(field: "OpenSession.prompt", value: 131_073, allowed: 1...131_072), body: 32,
      FrameBuilder().packed(1, tokens).bytes(3, sampling.bytes))
    expect(
      .outOfRange(
        field: "Truth.verify_ns", value: .max, allowed: 0...1_000_000_000_000_000), body: 54,
      FrameBuilder().packed(2, [1]).number(4, .max))
    expect(
      .outOfRange(field: "OpenSession.token_limit", value: 9, allowed: 0...0), body: 32,
      FrameBuilder().packed(1, [1]).bytes(3, sampling.bytes).number(5, 9))
    let drafted = FrameBuilder().packed(5, [3]).packed(6, [4])
    expect(
      .outOfRange(field: "Statistics.accepted", value: 4, allowed: 0...3), body: 33,
      FrameBuilder().bytes(3, FrameBuilder().number(1, 1).bytes(2, drafted.bytes).bytes))
    let origins = FrameBuilder().packed(5, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    expect(
      .outOfRange(field: "Statistics.drafted", value: 12, allowed: 0...11), body: 33,
      FrameBuilder().bytes(3, FrameBuilder().number(1, 1).bytes(2, origins.bytes).bytes))
  }

  @Test func scoresAreRoundedToSixteenths() throws {
    for score in [-Float.infinity, -20, -0.04, -0.03, 0] {
      let node = DraftNode(id: NodeID(rawValue: 1), parent: .none, token: 0, score: score)
      let sent = WireMessage.nodes(Nodes(anchor: 0, nodes: [node])).enveloped
      guard case .nodes(let received) = try Envelope(decoding: sent.encoded()).message else {
        Issue.record("not Nodes")
        return
      }
      #expect(received.nodes.map(\.score) == [Nodes.quantised(score: score)])
      #expect(abs(Nodes.quantised(score: score) - max(score, -255.0 / 16)) <= 1.0 / 32)
    }
  }

  /// FNV-1a of no bytes and of "abcd", as its authors publish them.
  @Test func truthHashIsFNV1a() {
    #expect(TruthHash().value == 0xCBF2_9CE4_8422_2325)
    var hash = TruthHash()
    hash.absorb([0x6463_6261])
    #expect(hash.value == 0xFC17_9F83_EE07_24DD)
  }

  @Test func codesSayWhetherToTryAgain() {
    #expect(RefusalCode.allCases.filter(\.isRetryable).count == 6)
    #expect(!RefusalCode.versionsDiffer.isRetryable)
    #expect(RefusalCode.draining.isRetryable)
  }
}

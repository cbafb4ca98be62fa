import InferenceTypes
import Testing
import Wire

@Suite struct EnvelopeTests {
  @Test(arguments: Samples.messages + Samples.largest)
  func everyMessageRoundTrips(_ message: WireMessage) throws {
    let envelope = message.enveloped
    let frame = try envelope.encoded()
    #expect(frame.count <= Limits.frameBytesMax)
    #expect(try Envelope(decoding: frame) == envelope)
  }

  @Test func everyTypeIsSampled() {
    let types = Set(Samples.messages.map(\.type))
    #expect(types == Set([16...20, 32...35, 48...54, 64...65].joined()))
  }

  /// A peer built from another commit must read the same bytes.
  @Test func bytesOfTheStreamAreFixed() throws {
    let nodes = Envelope(session: SessionID(rawValue: 1), message: .nodes(Samples.nodes))
    #expect(
      try hex(nodes.encoded())
        == "0801110100000000000000aa03260880800810011a07"
        + "0001fdffffff0f22070001feffffff0f2a070009ffffffff0f32030011ff")
    let heartbeat = Heartbeat(sequence: 2, activeSessionCount: 3, sentAtNanoseconds: 4)
    #expect(
      try hex(Envelope(message: .heartbeat(heartbeat)).encoded())
        == "080192010d08021003190400000000000000")
  }

  private func hex(_ bytes: [UInt8]) -> String {
    bytes.map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0" + digits : digits
    }.joined()
  }

  @Test(arguments: Samples.messages)
  func everyTruncationIsRefusedOrValid(_ message: WireMessage) throws {
    let frame = try message.enveloped.encoded()
    for count in 0..<frame.count { expectRefusedOrValid(Array(frame[..<count])) }
  }

  @Test(arguments: Samples.messages)
  func everyChangedByteIsRefusedOrValid(_ message: WireMessage) throws {
    var frame = try message.enveloped.encoded()
    for index in frame.indices {
      for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255] as [UInt8] {
        frame[index] ^= mask
        expectRefusedOrValid(frame)
        frame[index] ^= mask
      }
    }
  }

  @Test func garbageIsRefusedOrValid() {
    var random = SplitMix64(state: 2026)
    for _ in 0..<10_000 {
      var frame = (0..<Int.random(in: 0...300, using: &random)).map { _ in
        UInt8.random(in: .min ... .max, using: &random)
      }
      // Half of the frames get past the version, so that bodies are reached.
      if Bool.random(using: &random) { frame = [8, 1] + frame }
      expectRefusedOrValid(frame)
    }
  }

  /// What is accepted must be within the limits, which is what encoding it again shows.
  private func expectRefusedOrValid(_ frame: [UInt8]) {
    guard let envelope = try? Envelope(decoding: frame) else { return }
    #expect(throws: Never.self) { try envelope.encoded() }
  }

  @Test func frameSizeIsLimited() {
    let limit = Limits.frameBytesMax
    let frame = [UInt8](repeating: 0, count: limit + 1)
    #expect(throws: WireError.frameTooLarge(sizeBytes: limit + 1, limit: limit)) {
      try Envelope(decoding: frame)
    }
    #expect(throws: WireError.malformed(sizeBytes: limit)) {
      try Envelope(decoding: Array(frame.dropLast()))
    }
  }

  /// protobuf-c takes about thirty bytes for each of these two.
  @Test func framesThatTakeTooMuchMemoryAreRefused() {
    let unknown = Array(repeating: [0xA0, 0x3F, 0x01] as [UInt8], count: 300_000).joined()
    let frame = FrameBuilder.envelope(body: 19) + unknown
    #expect(throws: WireError.malformed(sizeBytes: frame.count)) {
      try Envelope(decoding: frame)
    }
    let empty = Array(repeating: [0x5A, 0x00] as [UInt8], count: 400_000).joined()
    let methods = FrameBuilder().bytes(16, Array(empty)).bytes
    #expect(throws: WireError.malformed(sizeBytes: methods.count + 2)) {
      try Envelope(decoding: [8, 1] + methods)
    }
  }

  @Test func otherVersionsAreNamed() {
    for version in [0, 2, UInt64(UInt32.max)] {
      #expect(
        throws: WireError.versionMismatch(received: UInt32(version), supported: 1)
      ) { try Envelope(decoding: FrameBuilder.envelope(version: version, body: 19)) }
    }
    #expect(throws: WireError.versionMismatch(received: 0, supported: 1)) {
      try Envelope(decoding: [])
    }
  }

  @Test func unknownBodiesAreNamed() {
    #expect(throws: WireError.unknownMessage(type: 99)) {
      try Envelope(decoding: FrameBuilder.envelope(session: 1, body: 99))
    }
    #expect(throws: WireError.unknownMessage(type: 0)) {
      try Envelope(decoding: FrameBuilder.envelope())
    }
  }

  @Test func unknownFieldsAreCountedAndSkipped() throws {
    let body = FrameBuilder().number(1, 7).fixed(3, 1).text(500, "new").number(501, 1)
    let frame = FrameBuilder.envelope(body: 18, body) + FrameBuilder().number(900, 3).bytes
    let envelope = try Envelope(decoding: frame)
    #expect(envelope.unknownFieldCount == 3)
    #expect(
      envelope.message
        == .heartbeat(Heartbeat(sequence: 7, activeSessionCount: 0, sentAtNanoseconds: 1)))
  }

  @Test(arguments: Samples.messages)
  func sessionIsThereExactlyWhereItBelongs(_ message: WireMessage) throws {
    let without = Envelope(message: message)
    let with = Envelope(session: Samples.session, message: message)
    switch message.sessionScope {
    case .needed:
      #expect(throws: WireError.wrongSession(message: message.name, .needed)) {
        try without.encoded()
      }
    case .forbidden:
      #expect(throws: WireError.wrongSession(message: message.name, .forbidden)) {
        try with.encoded()
      }
    case nil:
      #expect(try Envelope(decoding: without.encoded()) == without)
      #expect(try Envelope(decoding: with.encoded()) == with)
    }
    #expect(throws: WireError.wrongSession(message: "Goodbye", .forbidden)) {
      try Envelope(decoding: FrameBuilder.envelope(session: 1, body: 19))
    }
  }
}

/// - SeeAlso: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
struct SplitMix64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}

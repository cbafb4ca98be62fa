import CWire
package import InferenceTypes

/// What travels as one frame: a message, and the session that it belongs to.
///
/// ```swift
/// let frame = try Envelope(session: id, message: .truth(truth)).encoded()
/// let envelope = try Envelope(decoding: frame)
/// ```
package struct Envelope: Sendable, Equatable {
  /// The version that this build speaks.
  package static let version: UInt32 = 1
  /// The session of messages that belong to none.
  package static let noSession = SessionID(rawValue: 0)

  package var session: SessionID
  package var message: WireMessage
  /// Fields of the envelope and of its body that a decoder skipped because it does not know them.
  package private(set) var unknownFieldCount = 0

  package init(session: SessionID = Envelope.noSession, message: WireMessage) {
    self.session = session
    self.message = message
  }

  /// - Throws: ``WireError`` where a field breaks its limit.
  package func encoded() throws(WireError) -> [UInt8] {
    try validateScope()
    var scratch = unsafe FrameScratch()
    var raw = unsafe Slipstream__V1__Envelope()
    unsafe slipstream__v1__envelope__init(&raw)
    unsafe raw.version = Self.version
    unsafe raw.session = session.rawValue
    unsafe try Self.setBody(of: &raw, to: message, in: &scratch)

    let sizeBytes = unsafe slipstream__v1__envelope__get_packed_size(&raw)
    guard sizeBytes <= Limits.frameBytesMax else {
      throw .frameTooLarge(sizeBytes: sizeBytes, limit: Limits.frameBytesMax)
    }
    // safe: `scratch` keeps what `raw` points to; `pack` fills exactly the size computed above.
    return unsafe [UInt8](unsafeUninitializedCapacity: sizeBytes) { buffer, count in
      guard let start = buffer.baseAddress else { return }
      unsafe count = slipstream__v1__envelope__pack(&raw, start)
    }
  }

  /// - Parameter frame: one whole frame as it was received.
  /// - Throws: ``WireError`` where the frame is not an envelope of this version, holds no known
  ///   message, or a field breaks its limit.
  package init(decoding frame: [UInt8]) throws(WireError) {
    guard frame.count <= Limits.frameBytesMax else {
      throw .frameTooLarge(sizeBytes: frame.count, limit: Limits.frameBytesMax)
    }
    var result = Result<Envelope, WireError>.failure(.malformed(sizeBytes: frame.count))
    unsafe Unpacking.withEnvelope(frame) { raw in
      result = Result { () throws(WireError) -> Envelope in unsafe try Envelope(raw: raw) }
    }
    self = try result.get()
  }

  private init(raw: Slipstream__V1__Envelope) throws(WireError) {
    guard unsafe raw.version == Self.version else {
      throw .versionMismatch(received: unsafe raw.version, supported: Self.version)
    }
    session = unsafe SessionID(rawValue: raw.session)
    message = unsafe try Self.body(of: raw)
    unknownFieldCount = unsafe Unpacking.unknownFieldCount(raw)
    try validateScope()
  }

  private func validateScope() throws(WireError) {
    guard let scope = message.sessionScope else { return }
    guard (session != Self.noSession) == (scope == .needed) else {
      throw .wrongSession(message: message.name, scope)
    }
  }
}

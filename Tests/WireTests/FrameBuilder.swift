/// Writes protobuf by hand, so that tests can send what our encoder refuses to.
struct FrameBuilder {
  private(set) var bytes: [UInt8] = []

  static func envelope(
    version: UInt64 = 1, session: UInt64 = 0, body: Int? = nil, _ fields: FrameBuilder = .init()
  ) -> [UInt8] {
    var frame = FrameBuilder().number(1, version).fixed(2, session)
    if let body { frame = frame.bytes(body, fields.bytes) }
    return frame.bytes
  }

  func number(_ field: Int, _ value: UInt64) -> Self {
    appending(field: field, wireType: 0, Self.varint(value))
  }

  func fixed(_ field: Int, _ value: UInt64) -> Self {
    appending(field: field, wireType: 1, (0..<8).map { UInt8(value >> (8 * $0) & 0xFF) })
  }

  func float(_ field: Int, _ value: Float) -> Self {
    appending(
      field: field, wireType: 5, (0..<4).map { UInt8(value.bitPattern >> (8 * $0) & 0xFF) })
  }

  func bytes(_ field: Int, _ value: [UInt8]) -> Self {
    appending(field: field, wireType: 2, Self.varint(UInt64(value.count)) + value)
  }

  func text(_ field: Int, _ value: String) -> Self { bytes(field, Array(value.utf8)) }

  func packed(_ field: Int, _ values: [UInt64]) -> Self {
    bytes(field, values.flatMap(Self.varint))
  }

  private func appending(field: Int, wireType: UInt64, _ payload: [UInt8]) -> Self {
    var copy = self
    copy.bytes += Self.varint(UInt64(field) << 3 | wireType) + payload
    return copy
  }

  private static func varint(_ value: UInt64) -> [UInt8] {
    var rest = value
    var bytes: [UInt8] = []
    while rest >= 0x80 {
      bytes.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }
}

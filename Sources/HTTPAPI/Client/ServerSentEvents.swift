/// Splits the bytes of an event stream into the data of its events.
struct ServerSentEvents {
  /// Longest line in bytes.
  static let lineLimit = 1 << 20

  private var line: [UInt8] = []
  private var data: [UInt8]?

  /// Takes the next bytes, cut anywhere.
  ///
  /// - Returns: the data of the events that they complete; `nil` if a line exceeds the limit.
  mutating func receive(_ bytes: some Sequence<UInt8>) -> [[UInt8]]? {
    var events: [[UInt8]] = []
    for byte in bytes {
      guard byte == UInt8(ascii: "\n") else {
        guard line.count < Self.lineLimit else { return nil }
        line.append(byte)
        continue
      }
      if line.last == UInt8(ascii: "\r") { line.removeLast() }
      if line.isEmpty {
        if let data { events.append(data) }
        data = nil
      } else {
        endLine()
      }
      line.removeAll(keepingCapacity: true)
    }
    return events
  }

  /// Lines of an event join with line feeds; comments and other fields are skipped.
  private mutating func endLine() {
    let field = Array("data:".utf8)
    guard line.starts(with: field) else { return }
    var value = line.dropFirst(field.count)
    if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
    data = data.map { $0 + [UInt8(ascii: "\n")] + value } ?? Array(value)
  }
}

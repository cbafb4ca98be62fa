/// The API keys that open the server.
struct KeyRing: Sendable {
  private static let scheme = "bearer "
  private let keys: [[UInt8]]

  /// - Parameter keys: none of them empty; an empty list lets everybody in.
  init(_ keys: [String]) { self.keys = keys.map { Array($0.utf8) } }

  /// What tells clients apart: the key that an admitted header shows, or nothing where everybody is
  /// let in.
  func account(of header: String?) -> String {
    keys.isEmpty ? "" : String(header?.dropFirst(Self.scheme.count) ?? "")
  }

  /// Whether an `Authorization` header opens.
  ///
  /// - Complexity: the time tells neither which key nor how much of one was right: every key is
  ///   compared, and over all bytes of what was sent.
  func admits(_ header: String?) -> Bool {
    guard !keys.isEmpty else { return true }
    guard let header else { return false }
    guard header.prefix(Self.scheme.count).lowercased() == Self.scheme else { return false }
    let candidate = Array(header.dropFirst(Self.scheme.count).utf8)
    var isAdmitted = false
    for key in keys { isAdmitted = Self.areEqual(candidate, key) || isAdmitted }
    return isAdmitted
  }

  private static func areEqual(_ candidate: [UInt8], _ key: [UInt8]) -> Bool {
    var difference = candidate.count ^ key.count
    for (index, byte) in candidate.enumerated() {
      difference |= Int(byte ^ key[index % key.count])
    }
    return difference == 0
  }
}

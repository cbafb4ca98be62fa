/// Finds the longest of many texts at a place: a trie whose edges are bytes.
struct PrefixMatcher: Sendable {
  private static let root: UInt32 = 0

  /// Node in the upper bits and byte in the lower eight, to the next node.
  private var edges: [UInt64: UInt32] = [:]
  private var nodeCount: UInt32 = 1
  /// The token whose text ends at a node.
  private var tokens: [UInt32: UInt32] = [:]

  var isEmpty: Bool { tokens.isEmpty }

  /// Adds `text`, which is not empty. A later token of the same text takes its place.
  mutating func insert(_ text: [UInt8], token: UInt32) {
    var node = Self.root
    for byte in text {
      let edge = UInt64(node) << 8 | UInt64(byte)
      if let next = edges[edge] {
        node = next
      } else {
        edges[edge] = nodeCount
        node = nodeCount
        nodeCount += 1
      }
    }
    tokens[node] = token
  }

  /// The longest text that starts at `start`.
  ///
  /// - Complexity: O(length of the longest text).
  func longestMatch(in bytes: [UInt8], at start: Int) -> (token: UInt32, end: Int)? {
    var node = Self.root
    var match: (token: UInt32, end: Int)?
    var index = start
    while index < bytes.count, let next = edges[UInt64(node) << 8 | UInt64(bytes[index])] {
      node = next
      index += 1
      if let token = tokens[node] { match = (token, index) }
    }
    return match
  }
}

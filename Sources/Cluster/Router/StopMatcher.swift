/// Ends a text before the first stop string, and holds back what may be the beginning of one.
///
/// First is the stop string that is complete first; of several that end at one place the longest.
/// So the result does not depend on how the text was cut into pieces.
///
/// - Complexity: O(1) amortised for each byte and stop string.
/// - SeeAlso: Knuth, Morris and Pratt 1977, doi:10.1137/0206024.
package struct StopMatcher: Sendable {
  private struct Pattern: Sendable {
    let bytes: [UInt8]
    /// For each prefix, without the empty one: the length of its longest proper prefix that is also
    /// its suffix.
    let borders: [Int]
    /// Bytes of the pattern that the text ends with.
    var matched = 0

    init(_ text: String) {
      bytes = Array(text.utf8)
      var borders = [0]
      for index in bytes.indices.dropFirst() {
        var length = borders[index - 1]
        while length > 0, bytes[length] != bytes[index] { length = borders[length - 1] }
        borders.append(bytes[length] == bytes[index] ? length + 1 : 0)
      }
      self.borders = borders
    }

    /// - Returns: whether the pattern is complete.
    mutating func advance(_ byte: UInt8) -> Bool {
      while matched > 0, bytes[matched] != byte { matched = borders[matched - 1] }
      if bytes[matched] == byte { matched += 1 }
      return matched == bytes.count
    }
  }

  private var patterns: [Pattern]
  /// The end of the text, as long as the longest beginning of a stop string in it.
  private var held: [UInt8] = []
  /// Whether the text has ended.
  package private(set) var isFound = false

  /// - Parameter stopStrings: empty ones are left out.
  package init(stopStrings: [String]) {
    patterns = stopStrings.filter { !$0.isEmpty }.map { Pattern($0) }
  }

  /// - Returns: the text that is certain now. Stop strings begin with whole characters, so it does
  ///   too.
  package mutating func append(_ text: String) -> String {
    guard !isFound else { return "" }
    guard !patterns.isEmpty else { return text }
    for byte in text.utf8 {
      held.append(byte)
      var hitLength = 0
      for index in patterns.indices where patterns[index].advance(byte) {
        hitLength = max(hitLength, patterns[index].bytes.count)
      }
      if hitLength > 0 {
        isFound = true
        return take(held.count - hitLength)
      }
    }
    return take(held.count - patterns.reduce(0) { max($0, $1.matched) })
  }

  /// - Returns: what was held back.
  package mutating func finish() -> String { isFound ? "" : take(held.count) }

  private mutating func take(_ count: Int) -> String {
    defer { held.removeFirst(count) }
    return String(decoding: held[..<count], as: UTF8.self)
  }
}

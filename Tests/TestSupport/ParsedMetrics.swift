/// Prometheus' text format, read strictly: every sample belongs to a family that was announced with
/// its help and its type just before, and none comes twice.
package struct ParsedMetrics {
  package struct Malformed: Error, CustomStringConvertible {
    package let description: String
  }

  /// By name, with labels where there are any, as in `a_total{b="c"}`.
  package private(set) var values: [String: Double] = [:]
  package private(set) var types: [String: String] = [:]

  package init(_ text: String) throws {
    guard text.isEmpty || text.hasSuffix("\n") else {
      throw Malformed(description: "no line feed at the end")
    }
    var helped = ""
    var family = ""
    for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
      let words = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: false)
      if line.hasPrefix("# HELP "), words.count == 4, !words[3].isEmpty {
        helped = String(words[2])
      } else if line.hasPrefix("# TYPE "), words.count == 4, helped == words[2] {
        family = helped
        let type = String(words[3])
        guard ["counter", "gauge"].contains(type), types[family] == nil,
          family.hasSuffix("_total") == (type == "counter")
        else { throw Malformed(description: "type \(type) of \(family)") }
        types[family] = type
      } else if let space = line.lastIndex(of: " ") {
        let key = String(line[..<space])
        let name = key.prefix { $0 != "{" }
        guard name == family, let value = Double(line[line.index(after: space)...]),
          name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }),
          key.contains("{") == key.hasSuffix("}"), values[key] == nil
        else { throw Malformed(description: "\(line)") }
        values[key] = value
      } else {
        throw Malformed(description: "\(line)")
      }
    }
  }

  /// The value of a metric with these labels.
  package subscript(key: String) -> Double? { values[key] }

  /// Of all values of a metric, whatever their labels.
  package func sum(_ name: String) -> Double {
    values.reduce(0) { $0 + ($1.key.prefix { $0 != "{" } == name ? $1.value : 0) }
  }
}

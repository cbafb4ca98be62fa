/// One metric with its values, as Prometheus understands it.
package struct MetricFamily: Sendable, Equatable {
  package enum Kind: String, Sendable {
    /// Only grows, until its process starts anew.
    case counter
    case gauge
  }

  package struct Sample: Sendable, Equatable {
    package var labels: [Label]
    package var value: Double
  }

  package struct Label: Sendable, Equatable {
    package var name: String
    package var value: String

    package init(_ name: String, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  package let name: String
  package let help: String
  package let kind: Kind
  package private(set) var samples: [Sample] = []

  /// Names of counters end with `_total`, those of times with their unit before it.
  package init(_ name: String, _ kind: Kind, _ help: String) {
    precondition(
      (kind == .counter) == name.hasSuffix("_total"), "a \(kind) of the name \(name)")
    self.name = name
    self.kind = kind
    self.help = help
  }

  package mutating func add(_ value: Double, _ labels: Label...) {
    samples.append(Sample(labels: labels, value: value))
  }
}

/// The text format of Prometheus, version 0.0.4.
///
/// - SeeAlso: prometheus.io, *Exposition formats*.
package enum PrometheusText {
  package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  /// All families that have values.
  package static func render(_ families: [MetricFamily]) -> String {
    var text = ""
    for family in families where !family.samples.isEmpty {
      text += "# HELP \(family.name) \(escaped(family.help, quotes: false))\n"
      text += "# TYPE \(family.name) \(family.kind.rawValue)\n"
      for sample in family.samples {
        text += family.name
        if !sample.labels.isEmpty {
          let labels = sample.labels.map {
            "\($0.name)=\"\(escaped($0.value, quotes: true))\""
          }
          text += "{\(labels.joined(separator: ","))}"
        }
        text += " \(number(sample.value))\n"
      }
    }
    return text
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var escaped = ""
    for character in text.unicodeScalars {
      switch character {
      case "\\": escaped += "\\\\"
      case "\n": escaped += "\\n"
      case "\"" where quotes: escaped += "\\\""
      default: escaped.unicodeScalars.append(character)
      }
    }
    return escaped
  }

  private static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    guard value.isFinite else { return value > 0 ? "+Inf" : "-Inf" }
    return Int(exactly: value).map(String.init) ?? "\(value)"
  }
}

import InferenceTypes

/// The rules that more than one field follows. Each throws with the name of the field.
enum Check {
  static func range(
    _ value: Int, _ allowed: ClosedRange<Int>, _ field: String
  ) throws(WireError) {
    guard allowed.contains(value) else {
      throw .outOfRange(field: field, value: value, allowed: allowed)
    }
  }

  /// Printable ASCII without spaces, for what appears in logs, metrics and addresses.
  static func name(
    _ text: String, length: ClosedRange<Int>, _ field: String
  ) throws(WireError) {
    try range(text.utf8.count, length, field)
    guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
      throw .invalidText(field: field)
    }
  }

  static func workerName(_ text: String, _ field: String) throws(WireError) {
    try name(text, length: 1...Limits.nameLengthMax, field)
  }

  static func epoch(_ epoch: InstanceEpoch, _ field: String) throws(WireError) {
    guard epoch.rawValue != 0 else { throw .missing(field: field) }
  }

  static func duration(
    _ value: Duration, upTo limit: Duration = Limits.durationMax, _ field: String
  ) throws(WireError) {
    guard value >= .zero, value <= limit else {
      throw .outOfRange(
        field: field, value: value.clampedNanoseconds, allowed: 0...limit.clampedNanoseconds)
    }
  }

  static func verifyCosts(_ costs: [Float], _ field: String) throws(WireError) {
    try range(costs.count, 0...Limits.verifyCostCountMax, field)
    let first = costs.first ?? 1
    for cost in costs {
      try finite(cost, field) {
        $0 > 0 && $0 <= first * Limits.verifyCostMax && $0 * Limits.verifyCostMax >= first
      }
    }
  }

  /// A sum over the life of a process.
  static func total(_ value: Int, _ field: String) throws(WireError) {
    try range(value, 0...Int.max, field)
  }

  /// A time that was added up over the life of a process.
  static func totalTime(_ value: Duration, _ field: String) throws(WireError) {
    try duration(value, upTo: .nanoseconds(Int64.max), field)
  }

  static func number(
    _ value: Double, _ field: String, where isAllowed: (Double) -> Bool
  ) throws(WireError) {
    guard value.isFinite, isAllowed(value) else {
      throw .invalidNumber(field: field, value: Float(value))
    }
  }

  static func finite(
    _ value: Float, _ field: String, where isAllowed: (Float) -> Bool = { _ in true }
  ) throws(WireError) {
    guard value.isFinite, isAllowed(value) else {
      throw .invalidNumber(field: field, value: value)
    }
  }
}

extension Check {
  /// NaN is in no range.
  static func number(
    _ value: Double, _ allowed: ClosedRange<Double>, _ field: String
  ) throws(WireError) {
    guard allowed.contains(value) else {
      throw .invalidNumber(field: field, value: Float(value))
    }
  }

  /// Anything but infinities and NaN.
  static func finite(_ value: Double, _ field: String) throws(WireError) {
    guard value.isFinite else { throw .invalidNumber(field: field, value: Float(value)) }
  }
}

extension Duration {
  /// Whole nanoseconds, rounded towards zero, within what `Int` holds.
  var clampedNanoseconds: Int {
    let (seconds, attoseconds) = components
    let (scaled, overflows) = Int(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    guard !overflows else { return seconds < 0 ? .min : .max }
    let (sum, sumOverflows) = scaled.addingReportingOverflow(Int(attoseconds / 1_000_000_000))
    return sumOverflows ? (seconds < 0 ? .min : .max) : sum
  }

  /// Saturates: what is too long for `Int64` is far beyond every limit.
  init(clampingNanoseconds value: UInt64) {
    self = .nanoseconds(Int64(clamping: value))
  }
}

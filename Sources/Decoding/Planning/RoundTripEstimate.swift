/// The round trip of a link from probes that the other end answers at once.
///
/// The shortest of the latest probes: whatever else a busy machine does makes a probe longer, never
/// shorter, and a path that changed shows after eight of them.
package struct RoundTripEstimate: Sendable, Equatable {
  private static let sampleMax = 8
  private var samples: [Duration] = []

  package init() {}

  /// `nil` before the first answer.
  package var value: Duration? { samples.min() }

  /// Takes a measurement; what is negative is no measurement.
  package mutating func add(_ sample: Duration) {
    guard sample >= .zero else { return }
    if samples.count == Self.sampleMax { samples.removeFirst() }
    samples.append(sample)
  }
}

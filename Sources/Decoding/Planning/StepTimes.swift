/// Time of a pass by its size: measured at the start, corrected by every pass since.
///
/// A correction has two parts: of the machine, which moves all sizes, and of each size against the
/// others. Both move slowly, an outlier by little, and neither leaves its bounds. What is not seen
/// any more returns to what was measured, so that a size that once looked slow is tried again.
package struct StepTimes: Sendable {
  /// Sizes with a correction of their own; those in between have a mixture.
  private static let anchors = [1, 2, 4, 8, 16, 32, 64, 128]
  private static let machineRate = 0.1
  private static let anchorRate = 0.04
  private static let forgetting = 0.999
  private static let machineBounds = 0.25...4.0
  private static let anchorBounds = 0.5...2.0
  /// An observation counts as at most this much slower or faster than expected.
  private static let surpriseMax = 2.0
  /// Observations between two tables: making one costs more than keeping the old one a little.
  private static let refreshInterval = 8

  private let measured: VerifyCosts
  /// Time of a pass over one token at the start, in seconds.
  private let single: Double
  private var machine = 1.0
  private var corrections = [Double](repeating: 1, count: anchors.count)
  private var observedCount = 0
  /// The corrected costs.
  package private(set) var costs: VerifyCosts

  /// - Parameters:
  ///   - costs: as measured.
  ///   - single: time of a pass over one token.
  package init(costs: VerifyCosts, single: Duration) {
    measured = costs
    self.single = max(1e-9, single.inSeconds)
    self.costs = costs
  }

  /// Expected time of a pass over `count` tokens that attend to so many positions altogether.
  package func duration(count: Int, positions: Int) -> Duration {
    .seconds(seconds(count: count, positions: positions))
  }

  /// Corrects the times by a pass whose every token's logits were wanted.
  package mutating func observe(count: Int, positions: Int, duration: Duration) {
    let seen = duration.inSeconds / seconds(count: count, positions: positions)
    guard seen > 0, seen.isFinite else { return }
    let surprise = min(Self.surpriseMax, max(1 / Self.surpriseMax, seen)) - 1
    machine = Self.clamp(machine * (1 + Self.machineRate * surprise), to: Self.machineBounds)
    let (index, share) = Self.place(count)
    for anchor in corrections.indices {
      var weight = 0.0
      if anchor == index { weight = 1 - share }
      if anchor == index + 1 { weight = share }
      let moved = corrections[anchor] * (1 + Self.anchorRate * weight * surprise)
      corrections[anchor] = Self.clamp(
        1 + (moved - 1) * Self.forgetting, to: Self.anchorBounds)
    }
    observedCount += 1
    if observedCount.isMultiple(of: Self.refreshInterval) { refresh() }
  }

  private func seconds(count: Int, positions: Int) -> Double {
    single * machine
      * (Double(measured.cost(count)) * correction(count)
        + Double(measured.attention) * Double(positions))
  }

  private func correction(_ count: Int) -> Double {
    let (index, share) = Self.place(count)
    guard share > 0 else { return corrections[index] }
    return corrections[index] * (1 - share) + corrections[index + 1] * share
  }

  private mutating func refresh() {
    let unit = correction(1)
    let size = max(measured.relative.count, 2)
    costs = VerifyCosts(
      relative: (1...size).map { measured.cost($0) * Float(correction($0)) },
      attention: measured.attention / Float(unit))
  }

  /// The anchor at or before a size, and how far it is on the way to the next one.
  private static func place(_ count: Int) -> (index: Int, share: Double) {
    guard let last = anchors.last, count < last else { return (anchors.count - 1, 0) }
    let index = max(0, (anchors.firstIndex { $0 > count } ?? 1) - 1)
    let width = anchors[index + 1] - anchors[index]
    return (index, Double(count - anchors[index]) / Double(width))
  }

  private static func clamp(_ value: Double, to bounds: ClosedRange<Double>) -> Double {
    min(bounds.upperBound, max(bounds.lowerBound, value))
  }
}

extension Duration {
  package var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}

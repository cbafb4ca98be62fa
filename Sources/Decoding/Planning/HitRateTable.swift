/// Observed hit rates of drafts by cell (for example rank and confidence), which turn a source's
/// own estimates into probabilities.
///
/// An estimate starts as what the source claims, scaled by how much of its claims came true, and
/// moves to the observed rate of its cell. A source that is always wrong falls below any use within
/// a dozen trials; one that recovers rises again because old trials fade.
package struct HitRateTable: Sendable {
  /// Bounds of the confidence bins, in probability.
  private static let binBounds: [Float] = [0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9]
  package static let binCount = binBounds.count + 1
  static let cellTrialsMax: Float = 256
  static let claimedMax: Float = 128

  private let priorTrials: Float
  var hits: [Float]
  var trials: [Float]
  var hitSum: Float = 0
  var claimedSum: Float = 0

  /// - Parameters:
  ///   - cellCount: number of cells.
  ///   - priorTrials: number of trials that the source's own estimate is worth.
  package init(cellCount: Int, priorTrials: Float = 3) {
    self.priorTrials = priorTrials
    hits = [Float](repeating: 0, count: cellCount)
    trials = hits
  }

  /// The confidence bin of a claimed probability.
  package static func bin(_ claimed: Float) -> Int {
    var bin = 0
    while bin < binBounds.count && claimed >= binBounds[bin] { bin += 1 }
    return bin
  }

  /// Probability that a draft of this cell is right, between 0.0001 and 0.995.
  package func estimate(cell: Int, claimed: Float) -> Float {
    let scale = min(1.25, (hitSum + 2) / (claimedSum + 2))
    let prior = claimed * scale
    let rate = (hits[cell] + priorTrials * prior) / (trials[cell] + priorTrials)
    return max(0.0001, min(0.995, rate))
  }

  /// Counts one draft whose parent is on the truth path.
  package mutating func record(cell: Int, claimed: Float, isHit: Bool) {
    trials[cell] += 1
    claimedSum += claimed
    if isHit {
      hits[cell] += 1
      hitSum += 1
    }
    if trials[cell] > Self.cellTrialsMax {
      trials[cell] *= 0.5
      hits[cell] *= 0.5
    }
    if claimedSum > Self.claimedMax {
      claimedSum *= 0.5
      hitSum *= 0.5
    }
  }
}

package import Decoding
import InferenceTypes

/// Verified and accepted drafts by source and position: edges from the last truth token, from 1.
package struct AcceptanceCounts: Sendable {
  private var drafted = [Int](repeating: 0, count: cellCount)
  private var accepted = [Int](repeating: 0, count: cellCount)

  private static let cellCount = DraftOrigin.allCases.count * DraftStatistics.depthMax

  package init() {}

  /// - Shape: each `[origin, depth]`, as counters travel; empty where nothing was told.
  package init(drafted: [Int], accepted: [Int]) {
    guard !drafted.isEmpty else { return }
    precondition(
      drafted.count == Self.cellCount && accepted.count == Self.cellCount,
      "\(drafted.count) and \(accepted.count) counters of \(Self.cellCount)")
    self.drafted = drafted
    self.accepted = accepted
  }

  package init(_ statistics: DraftStatistics) {
    var index = 0
    for origin in DraftOrigin.allCases {
      for depth in 1...DraftStatistics.depthMax {
        drafted[index] = statistics.verifiedCount(origin, depth: depth)
        accepted[index] = statistics.acceptedCount(origin, depth: depth)
        index += 1
      }
    }
  }

  package mutating func add(_ other: AcceptanceCounts) {
    for index in drafted.indices {
      drafted[index] += other.drafted[index]
      accepted[index] += other.accepted[index]
    }
  }

  /// Sources that had a draft verified.
  package var sources: [Source] {
    DraftOrigin.allCases.compactMap { origin in
      let start = Int(origin.rawValue) * DraftStatistics.depthMax
      let cells = start..<start + DraftStatistics.depthMax
      let count = drafted[cells].reduce(0, +)
      guard count > 0 else { return nil }
      return Source(
        source: "\(origin)", drafted: count, accepted: accepted[cells].reduce(0, +),
        acceptanceByPosition: cells.map {
          drafted[$0] == 0 ? nil : Double(accepted[$0]) / Double(drafted[$0])
        })
    }
  }

  /// Drafts of one source.
  package struct Source: Encodable, Sendable {
    package let source: String
    package let drafted: Int
    package let accepted: Int
    /// Share that became truth, by position; `nil` where none was verified. The last holds all
    /// positions from there on.
    package let acceptanceByPosition: [Double?]
  }
}

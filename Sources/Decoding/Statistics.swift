package import InferenceTypes

/// Verified and accepted draft tokens of one session, by origin and depth.
package struct DraftStatistics: Sendable, Equatable {
  /// Depths from here on are counted together.
  package static let depthMax = 16

  private static let cellCount = DraftOrigin.allCases.count * depthMax

  /// Forward passes concluded.
  package private(set) var stepCount = 0
  /// Tokens emitted by them.
  package private(set) var emittedCount = 0
  /// Tokens that the planner expected of them.
  package private(set) var expectedCount = 0.0
  /// Forward passes by their nodes: `[n - 1]` had n.
  package private(set) var stepCounts: [Int] = []
  private var verified = [Int](repeating: 0, count: cellCount)
  private var accepted = [Int](repeating: 0, count: cellCount)

  package init() {}

  package var verifiedCount: Int { verified.reduce(0, +) }
  package var acceptedCount: Int { accepted.reduce(0, +) }

  /// Draft tokens in concluded forward passes; `depth` counts edges from the root, from 1.
  package func verifiedCount(_ origin: DraftOrigin, depth: Int) -> Int {
    verified[Self.cell(origin, depth)]
  }

  /// Those of them that became truth.
  package func acceptedCount(_ origin: DraftOrigin, depth: Int) -> Int {
    accepted[Self.cell(origin, depth)]
  }

  /// At all depths.
  package func verifiedCount(_ origin: DraftOrigin) -> Int {
    (1...Self.depthMax).reduce(0) { $0 + verifiedCount(origin, depth: $1) }
  }

  /// Those of them that became truth.
  package func acceptedCount(_ origin: DraftOrigin) -> Int {
    (1...Self.depthMax).reduce(0) { $0 + acceptedCount(origin, depth: $1) }
  }

  mutating func countStep(nodes: Int, emitted: Int, expected: Float) {
    stepCount += 1
    while stepCounts.count < nodes { stepCounts.append(0) }
    stepCounts[nodes - 1] += 1
    emittedCount += emitted
    expectedCount += Double(expected)
  }

  mutating func countVerified(_ origin: DraftOrigin, depth: Int) {
    verified[Self.cell(origin, depth)] += 1
  }

  mutating func countAccepted(_ origin: DraftOrigin, depth: Int) {
    accepted[Self.cell(origin, depth)] += 1
  }

  private static func cell(_ origin: DraftOrigin, _ depth: Int) -> Int {
    precondition(depth >= 1, "depth \(depth)")
    return Int(origin.rawValue) * depthMax + min(depth, depthMax) - 1
  }
}

import InferenceTypes

/// What one forward pass over several sessions was expected to bring, and what it brought.
package struct StepReport: Sendable, Equatable {
  /// Sessions that decoded.
  package var sessionCount: Int
  /// Sessions whose prompts were read, and tokens of them.
  package var prefillSessionCount: Int
  package var prefillCount: Int
  /// Draft tokens by origin; `[DraftOrigin.rawValue]`.
  package var draftCounts = [Int](repeating: 0, count: DraftOrigin.allCases.count)
  package var expectedTokenCount: Float
  package var tokenCount = 0
  /// Of the forward pass.
  package var expectedDuration: Duration
  package var duration = Duration.zero
  /// Planning and conclusion.
  package var overhead = Duration.zero

  package init(
    sessionCount: Int, prefillSessionCount: Int, prefillCount: Int, expectedTokenCount: Float,
    expectedDuration: Duration
  ) {
    self.sessionCount = sessionCount
    self.prefillSessionCount = prefillSessionCount
    self.prefillCount = prefillCount
    self.expectedTokenCount = expectedTokenCount
    self.expectedDuration = expectedDuration
  }

  package var draftCount: Int { draftCounts.reduce(0, +) }
}

/// Sums over the steps of a verifier.
package struct StepStatistics: Sendable, Equatable {
  package private(set) var stepCount = 0
  package private(set) var sessionCount = 0
  package private(set) var prefillCount = 0
  package private(set) var draftCount = 0
  package private(set) var tokenCount = 0
  package private(set) var expectedTokenCount: Double = 0
  package private(set) var duration = Duration.zero
  package private(set) var expectedDuration = Duration.zero
  package private(set) var overhead = Duration.zero
  /// Steps whose times can be compared, and the sums of the relative errors.
  private var comparedCount = 0
  private var timeErrorSum: Double = 0
  private var decodedCount = 0
  private var tokenErrorSum: Double = 0

  package init() {}

  package mutating func count(_ report: StepReport) {
    stepCount += 1
    sessionCount += report.sessionCount
    prefillCount += report.prefillCount
    draftCount += report.draftCount
    tokenCount += report.tokenCount
    expectedTokenCount += Double(report.expectedTokenCount)
    duration += report.duration
    expectedDuration += report.expectedDuration
    overhead += report.overhead
    if report.duration > .zero {
      comparedCount += 1
      timeErrorSum +=
        abs(report.expectedDuration.inSeconds - report.duration.inSeconds)
        / report.duration.inSeconds
    }
    if report.tokenCount > 0 {
      decodedCount += 1
      tokenErrorSum +=
        abs(Double(report.expectedTokenCount) - Double(report.tokenCount))
        / Double(report.tokenCount)
    }
  }

  /// Mean of |expected − measured| / measured over the steps; `nil` before the first.
  package var meanTimeError: Double? {
    comparedCount == 0 ? nil : timeErrorSum / Double(comparedCount)
  }

  /// Mean of |expected − decided| / decided over the steps that decoded; `nil` before the first.
  package var meanTokenError: Double? {
    decodedCount == 0 ? nil : tokenErrorSum / Double(decodedCount)
  }
}

import Decoding
import InferenceTypes
import Wire

/// Adds up what a verifier does, on the thread that computes, and tells it now and then.
struct VerifierMeter {
  /// Where a session stood before its pass.
  struct Mark {
    fileprivate let statistics: DraftStatistics
    fileprivate let missingCount: Int
    fileprivate let contextCount: Int
    fileprivate let start: ContinuousClock.Instant
  }

  /// More often nobody asks.
  private static let interval = Duration.milliseconds(50)
  private let box: TotalsBox
  private let clock = ContinuousClock()
  private var next: ContinuousClock.Instant
  /// Passes of one session each, which ``SharedStep`` does not count.
  private var passes = StepStatistics()
  /// Of the sessions that have ended.
  private var endedDrafted = OriginCounts()
  private var endedAccepted = OriginCounts()
  private var waitCount = 0
  private var waitDuration = Duration.zero

  init(_ box: TotalsBox) {
    self.box = box
    next = clock.now
  }

  /// A step waited for drafts on their way.
  mutating func waited(_ duration: Duration) {
    waitCount += 1
    waitDuration += duration
  }

  func mark(_ target: TargetSession) -> Mark {
    Mark(
      statistics: target.machine.statistics, missingCount: target.missingCount,
      contextCount: target.contextCount, start: clock.now)
  }

  /// Counts a pass that one session had to itself.
  mutating func countPass(of target: TargetSession, since mark: Mark, times: StepTimes) {
    let duration = clock.now - mark.start
    let statistics = target.machine.statistics
    let stepCount = statistics.stepCount - mark.statistics.stepCount
    let promptCount = stepCount > 0 ? 0 : max(0, mark.missingCount - target.missingCount)
    let draftCount = statistics.verifiedCount - mark.statistics.verifiedCount
    let rowCount = max(1, promptCount + stepCount + draftCount)
    var report = StepReport(
      sessionCount: stepCount, prefillSessionCount: promptCount > 0 ? 1 : 0,
      prefillCount: promptCount,
      expectedTokenCount: Float(statistics.expectedCount - mark.statistics.expectedCount),
      expectedDuration: times.duration(
        count: rowCount, positions: rowCount * (mark.contextCount + promptCount / 2)))
    for origin in DraftOrigin.allCases {
      report.draftCounts[Int(origin.rawValue)] =
        statistics.verifiedCount(origin) - mark.statistics.verifiedCount(origin)
    }
    report.tokenCount = statistics.emittedCount - mark.statistics.emittedCount
    report.duration = duration
    passes.count(report)
  }

  /// A session is gone; what it counted stays.
  mutating func ended(_ statistics: DraftStatistics) {
    Self.add(statistics, drafted: &endedDrafted, accepted: &endedAccepted)
    next = clock.now
  }

  /// Tells what there is, where it is time.
  ///
  /// - Parameters:
  ///   - shared: the steps of all sessions together.
  ///   - live: counters of the sessions that are open.
  ///   - waitingCount: sessions that wait for memory.
  mutating func publishIfDue(
    _ shared: SharedStep, live: @autoclosure () -> [DraftStatistics],
    waitingCount: @autoclosure () -> Int
  ) {
    guard clock.now >= next else { return }
    next = clock.now + Self.interval
    var totals = VerifierTotals()
    for steps in [shared.statistics, passes] {
      totals.stepCount += steps.stepCount
      totals.stepSessionCount += steps.sessionCount
      totals.promptTokenCount += steps.prefillCount
      totals.plannedCount += steps.draftCount
      totals.expectedTokenCount += steps.expectedTokenCount
      totals.tokenCount += steps.tokenCount
      totals.expectedPassDuration += steps.expectedDuration
      totals.passDuration += steps.duration
      totals.overheadDuration += steps.overhead
    }
    totals.waitCount = waitCount
    totals.waitDuration = waitDuration
    totals.drafted = endedDrafted
    totals.accepted = endedAccepted
    for statistics in live() {
      Self.add(statistics, drafted: &totals.drafted, accepted: &totals.accepted)
    }
    totals.waitingSessionCount = waitingCount()
    totals.singleDuration = shared.times.duration(count: 1, positions: 0)
    totals.eightDuration = shared.times.duration(count: 8, positions: 0)
    box.store(.verifier(totals))
  }

  private static func add(
    _ statistics: DraftStatistics, drafted: inout OriginCounts, accepted: inout OriginCounts
  ) {
    for origin in DraftOrigin.allCases {
      drafted[origin] += statistics.verifiedCount(origin)
      accepted[origin] += statistics.acceptedCount(origin)
    }
  }
}

import Simulation
import Testing

@Suite struct ScheduleTests {
  /// The command that replays a schedule.
  static func replay(_ seed: UInt64) -> String { "slipstream simulate --schedule \(seed)" }

  @Test func everyScheduleEndsWithTheTargetsOwnText() {
    var total = RandomSchedules.Outcome(seed: 0)
    for seed in 0..<10_000 as Range<UInt64> {
      let outcome = RandomSchedules.run(seed: seed)
      for violation in outcome.violations.prefix(3) {
        Issue.record("\(violation); \(Self.replay(seed))")
      }
      total.requestCount += outcome.requestCount
      total.completeCount += outcome.completeCount
      total.failedCount += outcome.failedCount
      total.tokenCount += outcome.tokenCount
      total.acceptedDraftCount += outcome.acceptedDraftCount
      total.faultCount += outcome.faultCount
      total.eventCount += outcome.eventCount
    }
    // Otherwise the schedules would prove little.
    #expect(total.completeCount > total.requestCount * 8 / 10)
    #expect(total.failedCount > 0 && total.faultCount > 20_000)
    #expect(total.acceptedDraftCount > total.tokenCount / 20)
  }

  @Test func aSeedIsATrace() {
    var hashes: Set<UInt64> = []
    for seed in 0..<200 as Range<UInt64> {
      let outcome = RandomSchedules.run(seed: seed)
      #expect(outcome == RandomSchedules.run(seed: seed), "seed \(seed)")
      hashes.insert(outcome.traceHash)
    }
    #expect(hashes.count == 200)
  }
}

import Decoding
import Testing

@Suite struct StepTimesTests {
  private let measured = VerifyCosts(
    relative: (0..<128).map { 1 + 0.05 * Float($0) }, attention: 0.0001)
  private func times() -> StepTimes {
    StepTimes(costs: measured, single: .milliseconds(4))
  }

  private func seconds(_ duration: Duration) -> Double { duration.inSeconds }

  @Test func untoldItExpectsWhatWasMeasured() {
    let times = times()
    #expect(times.costs == measured)
    #expect(abs(seconds(times.duration(count: 1, positions: 0)) - 0.004) < 1e-7)
    let long = seconds(times.duration(count: 21, positions: 10_000))
    #expect(abs(long - 0.004 * 3) < 1e-6)
  }

  /// A machine that became slower: all sizes, those never seen as well.
  @Test func aSlowerMachineIsNoticedForAllSizes() {
    var times = times()
    for step in 0..<400 {
      let count = [1, 3, 8][step % 3]
      let expected = 0.004 * Double(measured.cost(count)) * 1.6
      times.observe(count: count, positions: 0, duration: .seconds(expected))
    }
    for count in [1, 2, 8] {
      let ratio = seconds(times.duration(count: count, positions: 0))
      #expect(abs(ratio / (0.004 * Double(measured.cost(count)) * 1.6) - 1) < 0.02)
    }
    let unseen = seconds(times.duration(count: 64, positions: 0))
    #expect(abs(unseen / (0.004 * Double(measured.cost(64))) - 1.6) < 0.3)
    #expect(abs(times.costs.cost(8) / measured.cost(8) - 1) < 0.05)
  }

  @Test func aSizeThatIsDearerThanMeasuredBecomesSo() {
    var times = times()
    for step in 0..<2000 {
      let count = step % 2 == 0 ? 1 : 16
      let factor = count == 16 ? 1.5 : 1
      times.observe(
        count: count, positions: 0,
        duration: .seconds(0.004 * Double(measured.cost(count)) * factor))
    }
    #expect(abs(times.costs.cost(16) / (measured.cost(16) * 1.5) - 1) < 0.08)
    #expect(times.costs.cost(16) <= times.costs.cost(17), "costs never fall with the size")
  }

  @Test func outliersAndNonsenseMoveLittle() {
    var times = times()
    times.observe(count: 1, positions: 0, duration: .seconds(60))
    #expect(seconds(times.duration(count: 1, positions: 0)) < 0.004 * 1.2)
    let before = times.duration(count: 4, positions: 0)
    times.observe(count: 4, positions: 0, duration: .zero)
    times.observe(count: 4, positions: 0, duration: .seconds(-1))
    #expect(times.duration(count: 4, positions: 0) == before)
  }

  @Test func correctionsHaveBounds() {
    for factor in [0.001, 1000] {
      var times = times()
      for _ in 0..<3000 {
        times.observe(count: 8, positions: 0, duration: .seconds(0.004 * factor))
      }
      let ratio =
        seconds(times.duration(count: 8, positions: 0)) / (0.004 * Double(measured.cost(8)))
      #expect(ratio > 0.12 && ratio < 8.1)
      #expect(times.costs.cost(8) > 0.3 * measured.cost(8))
      #expect(times.costs.cost(8) < 3 * measured.cost(8))
    }
  }

  /// What looked slow once is tried again when it has not been seen for long.
  @Test func oldCorrectionsAreForgotten() {
    var times = times()
    for step in 0..<600 {
      let count = step % 2 == 0 ? 1 : 32
      times.observe(
        count: count, positions: 0,
        duration: .seconds(0.004 * Double(measured.cost(count)) * (count == 32 ? 1.8 : 1)))
    }
    #expect(times.costs.cost(32) > measured.cost(32) * 1.3)
    for _ in 0..<5000 { times.observe(count: 1, positions: 0, duration: .seconds(0.004)) }
    #expect(abs(times.costs.cost(32) / measured.cost(32) - 1) < 0.1)
  }

  @Test func statisticsCompareWhatWasExpected() {
    var statistics = StepStatistics()
    #expect(statistics.meanTimeError == nil && statistics.meanTokenError == nil)
    var report = StepReport(
      sessionCount: 2, prefillSessionCount: 0, prefillCount: 0, expectedTokenCount: 3,
      expectedDuration: .milliseconds(5))
    report.tokenCount = 4
    report.duration = .milliseconds(4)
    report.draftCounts[3] = 6
    statistics.count(report)
    var prompt = StepReport(
      sessionCount: 0, prefillSessionCount: 1, prefillCount: 64, expectedTokenCount: 0,
      expectedDuration: .milliseconds(9))
    prompt.duration = .milliseconds(12)
    statistics.count(prompt)
    #expect(statistics.stepCount == 2 && statistics.tokenCount == 4 && statistics.draftCount == 6)
    #expect(abs((statistics.meanTimeError ?? 0) - 0.25) < 1e-9)
    #expect(abs((statistics.meanTokenError ?? 0) - 0.25) < 1e-9)
  }
}

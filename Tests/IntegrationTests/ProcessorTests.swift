import Benchmarks
import Foundation
import TestSupport
import Testing

extension IntegrationTests {
  /// What processes take from the machine they share.
  @Suite struct ProcessorTests {
    /// Seconds of CPU time that a process has used, all threads.
    private func processorSeconds(_ process: Daemon) throws -> Double {
      let text = try String(
        contentsOfFile: "/proc/\(process.identifier)/stat", encoding: .utf8)
      // The name in parentheses may hold spaces.
      let fields = try #require(text.split(separator: ")").last).split(separator: " ")
      let ticks = try #require(Double(fields[11])) + (try #require(Double(fields[12])))
      return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Less than 1 % of a core; the time that passes on a busy machine makes it easier only.
    @Test func anIdleVerifierNeedsHardlyAnyTime() async throws {
      let cluster = try await RunningCluster(specType: "auto", options: ["--threads", "2"])
      // Its threads look for work for a moment before they sleep.
      try await Task.sleep(for: .milliseconds(500))
      let clock = ContinuousClock()
      let start = clock.now
      let before = try processorSeconds(cluster.verifier)
      try await Task.sleep(for: .seconds(5))
      let used = try processorSeconds(cluster.verifier) - before
      let passed = clock.now - start
      // Two ticks of the clock more, since it counts in hundredths.
      #expect(used <= 0.01 * (passed / .seconds(1)) + 0.02)
    }

    @Test func twoProcessesOnOneProcessorRangeAreNoticed() async throws {
      let cluster = try await RunningCluster(specType: "none", options: ["--cpu-range", "0"])
      let drafter = try Daemon(
        "drafter",
        [
          "drafter", "-m", cluster.model, "--router", cluster.workers, "--spec-type", "draft",
          "--lifeline", "--cpu-range", "0",
        ])
      _ = try await drafter.line()
      #expect(drafter.log.contains("other slipstream processes compute on these CPUs"))
    }

    @Test func theHalfLengthIsInterpolated() {
      #expect(ContextBenchmark.halfLength([(0, 1), (100, 1.5), (200, 2.5)]) == 150)
      #expect(ContextBenchmark.halfLength([(0, 1), (100, 2)]) == 100)
      #expect(ContextBenchmark.halfLength([(0, 1), (100, 1.9)]) == nil)
      #expect(ContextBenchmark.halfLength([]) == nil)
    }
  }
}

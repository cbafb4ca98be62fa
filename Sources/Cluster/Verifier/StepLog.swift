import Decoding
import Logging

/// Writes now and then what the steps of a verifier were expected to bring and what they brought.
struct StepLog {
  private static let interval = Duration.seconds(60)
  private let logger: Logger
  private let clock = ContinuousClock()
  private var next: ContinuousClock.Instant
  private var writtenCount = 0

  init(logger: Logger) {
    self.logger = logger
    next = clock.now + Self.interval
  }

  /// Writes where it is time and there is anything new.
  mutating func writeIfDue(_ statistics: StepStatistics) {
    guard clock.now >= next else { return }
    write(statistics)
  }

  /// Writes where there is anything new.
  mutating func write(_ statistics: StepStatistics) {
    next = clock.now + Self.interval
    guard statistics.stepCount > writtenCount else { return }
    writtenCount = statistics.stepCount
    var metadata: Logger.Metadata = [
      "step.count": "\(statistics.stepCount)", "session.count": "\(statistics.sessionCount)",
      "prompt.tokens": "\(statistics.prefillCount)", "draft.tokens": "\(statistics.draftCount)",
      "tokens": "\(statistics.tokenCount)",
      "tokens.expected": "\(Int(statistics.expectedTokenCount.rounded()))",
      "pass.time": "\(statistics.duration)", "pass.time.expected": "\(statistics.expectedDuration)",
      "overhead.time": "\(statistics.overhead)",
    ]
    if let error = statistics.meanTimeError {
      metadata["time.error.percent"] = "\(Int((error * 100).rounded()))"
    }
    if let error = statistics.meanTokenError {
      metadata["tokens.error.percent"] = "\(Int((error * 100).rounded()))"
    }
    logger.info("steps so far", metadata: metadata)
  }
}

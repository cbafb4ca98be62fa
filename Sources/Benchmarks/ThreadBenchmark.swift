package import Engine
import Foundation
internal import Synchronization

/// What several threads do in terms of one, beside what the machine allows.
package struct ThreadBenchmark {
  /// One test: seconds of each turn.
  package struct Measurement: Sendable {
    package let test: EngineBenchmark.Test
    /// Of an engine with one thread, and of one with all.
    package fileprivate(set) var alone: [Double] = []
    package fileprivate(set) var together: [Double] = []
    /// Of engines of one thread, as many as there are threads, each of which does the whole test: the
    /// slowest of them.
    package fileprivate(set) var apart: [Double] = []

    /// Times the speed of one thread, turn by turn.
    package var speedups: [Double] { zip(alone, together).map { $0 / $1 } }
  }

  private let model: Model
  private let threadCount: Int
  private let contextLength: Int?

  /// `threadCount`: 2 or more.
  package init(model: Model, threadCount: Int, contextLength: Int?) {
    precondition(threadCount > 1, "\(threadCount) threads")
    self.model = model
    self.threadCount = threadCount
    self.contextLength = contextLength
  }

  /// Times the work that `measurement` did apart, in terms of one thread: what threads that never
  /// wait for each other do, though each reads all weights.
  package func apartSpeedups(_ measurement: Measurement) -> [Double] {
    zip(measurement.alone, measurement.apart).map { Double(threadCount) * $0 / $1 }
  }

  /// Runs all tests `roundCount` times on one thread, on all and on all apart, in turns. Engines are
  /// made anew for every turn, so that none has threads that wait while another computes.
  /// - Throws: ``EngineError``.
  package func run(_ tests: [EngineBenchmark.Test], roundCount: Int) throws -> [Measurement] {
    var measurements = tests.map { Measurement(test: $0) }
    for _ in 0..<roundCount {
      let alone = try times(tests, threadCount: 1)
      let together = try times(tests, threadCount: threadCount)
      let apart = try timesApart(tests)
      for index in tests.indices {
        measurements[index].alone.append(alone[index])
        measurements[index].together.append(together[index])
        measurements[index].apart.append(apart[index])
      }
    }
    return measurements
  }

  private func times(_ tests: [EngineBenchmark.Test], threadCount: Int) throws -> [Double] {
    let benchmark = EngineBenchmark(engine: try engine(threadCount), peer: nil)
    return try tests.map { test in
      _ = try benchmark.time(test)
      return try benchmark.time(test)
    }
  }

  private func timesApart(_ tests: [EngineBenchmark.Test]) throws -> [Double] {
    let slowest = Mutex(Result<[Double], any Error>.success(tests.map { _ in 0 }))
    try WorkerThreads(count: threadCount).run { worker in
      let made = Result { EngineBenchmark(engine: try engine(1), peer: nil) }
      // Who fails comes to the barriers all the same: the others wait there.
      let times = tests.map { test in
        let warm = made.flatMap { made in Result { try made.time(test) } }
        worker.barrier()
        return warm.flatMap { _ in Result { try made.get().time(test) } }
      }
      slowest.withLock { slowest in
        slowest = Result { try zip(try slowest.get(), times).map { max($0, try $1.get()) } }
      }
    }
    return try slowest.withLock { $0 }.get()
  }

  private func engine(_ threadCount: Int) throws(EngineError) -> InferenceEngine {
    try InferenceEngine(model: model, threadCount: threadCount, contextLength: contextLength)
  }
}

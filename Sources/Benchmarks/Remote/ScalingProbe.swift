import CMeasure
import Synchronization
import Transport

/// What two CPUs do at once beside what one of them does: 2 where they share nothing, 1 where they
/// are one core by another name, or somebody else needs them. Figures of two processes mean nothing
/// without it.
package struct ScalingProbe: Sendable {
  private static let rounds: UInt64 = 200_000
  private static let time = Duration.milliseconds(80)
  private let processors: [Int]
  private let isa: String

  /// `isa` names the instructions of the kernels.
  package init(processors: [Int], isa: String) {
    precondition(processors.count == 2, "\(processors.count) processors for two threads")
    self.processors = processors
    self.isa = isa
  }

  /// Products of both at once over those of one alone; 0 where this processor has no instruction to
  /// measure with. - Throws: where there is no thread left.
  package func measure() async throws -> Double {
    var alone = 0.0
    for processor in processors { alone += try await products([processor]) }
    let together = try await products(processors)
    return alone > 0 ? 2 * together / alone : 0
  }

  /// Products per unit of time of one thread on each CPU.
  private func products(_ processors: [Int]) async throws -> Double {
    let count = Count()
    let threads = try processors.map { processor in
      try PinnedThread(name: "probe", cpu: processor) { [isa] in
        let clock = ContinuousClock()
        let end = clock.now + Self.time
        while clock.now < end {
          let done = unsafe cmeasure_products(isa, cmeasure_integers, Self.rounds)
          guard done > 0 else { return }
          count.value.wrappingAdd(Int(done), ordering: .relaxed)
        }
      }
    }
    for thread in threads { await thread.join() }
    return Double(count.value.load(ordering: .relaxed))
  }

  private final class Count: Sendable {
    let value = Atomic<Int>(0)
  }
}

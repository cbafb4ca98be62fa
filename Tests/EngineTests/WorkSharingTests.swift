import Engine
import Synchronization
import Testing

@Suite struct WorkSharingTests {
  /// Whatever the workers' number, every element of what was offered is taken once, offer after
  /// offer, with workers that are slower by turns.
  @Test(arguments: [1, 2, 3, 5], [0, 1, 2, 7, 64, 191])
  func everythingOfferedIsTakenOnce(workers: Int, total: Int) throws {
    let threads = try WorkerThreads(count: workers)
    let rounds = 20
    let counts = Mutex([Int](repeating: 0, count: rounds * max(total, 1)))
    threads.run { worker in
      for round in 0..<rounds {
        worker.offer(total)
        worker.barrier()
        while let part = worker.take(grain: 1 + round % 5) {
          counts.withLock { counts in
            for element in part { counts[round * total + element] += 1 }
          }
          if round % worker.count == worker.index { _ = Self.pause() }
        }
        worker.barrier()
      }
    }
    #expect(counts.withLock { $0.prefix(rounds * total).allSatisfy { $0 == 1 } })
  }

  /// Half of a worker's own share comes first, in whole grains but for the last part.
  @Test func partsHalve() throws {
    let threads = try WorkerThreads(count: 2)
    let parts = Mutex<[Range<Int>]>([])
    threads.run { worker in
      worker.offer(60)
      worker.barrier()
      guard worker.index == 0 else { return }
      while let part = worker.take(grain: 4) { parts.withLock { $0.append(part) } }
    }
    // Its own 0 ..< 30 from the front, then the other's 30 ..< 60 from the back.
    let expected = [
      0..<16, 16..<24, 24..<28, 28..<30, 44..<60, 36..<44, 32..<36, 30..<32,
    ]
    #expect(parts.withLock { $0 } == expected)
  }

  private static func pause() -> UInt64 {
    var state: UInt64 = 1
    for _ in 0..<2000 { state = state &* 6_364_136_223_846_793_005 &+ 1 }
    return state
  }
}

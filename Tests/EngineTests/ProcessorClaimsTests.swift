import Engine
import Glibc
import Synchronization
import Testing

@Suite struct ProcessorClaimsTests {
  /// Claims under a name of this test alone.
  private func claims(_ processors: [Int], name: String = #function) -> ProcessorClaims {
    ProcessorClaims(processors: processors, namePrefix: "slipstream-test/\(getpid())/\(name)")
  }

  @Test func poolsOfOneProcessGetDifferentProcessors() {
    let claims = claims([0, 1, 4, 5])
    claims.pinThreads()
    let first = claims.take(2)
    let second = claims.take(2)
    #expect(first.pinned == [0, 1] && second.pinned == [4, 5])
    #expect(!first.isShared && !second.isShared)
    // A third one runs wherever it can, in turns with the others.
    #expect(claims.take(1) == ProcessorClaims.Grant())
    claims.giveBack(first)
    #expect(claims.take(2).pinned == [0, 1])
  }

  @Test func moreThreadsThanProcessorsShareThem() {
    let claims = claims([2, 3])
    claims.pinThreads()
    #expect(claims.take(3) == ProcessorClaims.Grant(isShared: true))
    #expect(claims.take(2).pinned == [2, 3])
  }

  /// Two values with one name behave as two processes.
  @Test func otherProcessesAreNoticed() {
    let (mine, other) = (claims([0, 1, 2]), claims([0, 1, 2]))
    mine.pinThreads()
    other.pinThreads()
    let grant = mine.take(2)
    #expect(grant.pinned == [0, 1])
    #expect(other.take(2) == ProcessorClaims.Grant(isShared: true))
    #expect(!other.hasRoom(for: 2) && other.hasRoom(for: 1))
    #expect(other.take(1).pinned == [2])
    mine.giveBack(grant)
    #expect(other.take(2).pinned == [0, 1])
  }

  @Test func withoutPinningClaimsAreOnlyCounted() {
    let (mine, other) = (claims([0, 1]), claims([0, 1]))
    #expect(mine.take(1) == ProcessorClaims.Grant(claimed: [1]))
    other.pinThreads()
    #expect(other.take(1).pinned == [0])
  }

  @Test func processesOfOneMachineGetDisjointRanges() {
    #expect(ProcessorClaims.split([0, 1], among: [1, 1]) == [0...0, 1...1])
    // The first gets what is left, and CPUs that nobody may use do not count.
    #expect(ProcessorClaims.split([0, 1, 4, 5, 6], among: [2, 1]) == [0...5, 6...6])
    #expect(ProcessorClaims.split([0, 1], among: [2, 1]) == nil)
    #expect(ProcessorClaims.split([3], among: [1]) == [3...3])
  }

  /// Workers stay where the pool put them; the caller stays free.
  @Test func pinnedWorkersStayOnTheirProcessors() throws {
    let allowed = ProcessorClaims.allowedProcessors
    try #require(!allowed.isEmpty)
    let claims = claims(allowed)
    claims.pinThreads()
    let count = min(2, allowed.count)
    let threads = try WorkerThreads(count: count, claims: claims)
    #expect(threads.processors == Array(allowed.prefix(count)) && !threads.sharesProcessors)
    let seen = Mutex<[Int: [Int]]>([:])
    for _ in 0..<3 {
      threads.run { worker in
        let processors = ProcessorClaims.allowedProcessors
        seen.withLock { $0[worker.index] = processors }
      }
    }
    let found = seen.withLock { $0 }
    #expect(found[0] == allowed)
    for index in 1..<count { #expect(found[index] == [allowed[index]]) }
  }

  /// A system that refuses leaves the thread where it is.
  @Test func processorsThatDoNotExistAreIgnored() throws {
    let claims = claims([100_000, 100_001])
    claims.pinThreads()
    let threads = try WorkerThreads(count: 2, claims: claims)
    let sum = Atomic<Int>(0)
    threads.run { worker in sum.wrappingAdd(worker.index + 1, ordering: .relaxed) }
    #expect(sum.load(ordering: .relaxed) == 3)
  }

  /// Waiting threads sleep at once, so many of them on few CPUs get along.
  @Test(arguments: [1, 3, 16])
  func barriersHold(count: Int) throws {
    let threads = try WorkerThreads(count: count, claims: claims([0], name: "barriers\(count)"))
    #expect(threads.sharesProcessors == (count > 1))
    let sum = Atomic<Int>(0)
    let wrong = Atomic<Int>(0)
    for _ in 0..<20 {
      sum.store(0, ordering: .relaxed)
      threads.run { worker in
        for turn in 1...25 {
          sum.wrappingAdd(1, ordering: .relaxed)
          worker.barrier()
          if sum.load(ordering: .relaxed) != turn * count {
            wrong.wrappingAdd(1, ordering: .relaxed)
          }
          worker.barrier()
        }
      }
    }
    #expect(wrong.load(ordering: .relaxed) == 0)
  }
}

internal import CKernels
internal import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The only owner of compute parallelism: a fixed set of threads that run one job together.
///
/// Whoever waits, for a job or for the others, spins for a moment and then sleeps, so an idle model
/// costs nothing. The calling thread is worker 0. Jobs come from one thread at a time.
///
/// In a process whose CPUs are its own by ``ProcessorClaims/pinThreads()``, each of several workers
/// stays on one of them that no other pool has. Where more threads than CPUs want to run, waiting
/// threads sleep sooner: the CPU they spin on is one that somebody else needs.
package final class WorkerThreads: Sendable {
  package let count: Int
  private let team: Team
  private let claims: ProcessorClaims
  private let grant: ProcessorClaims.Grant
  /// Whether other threads may need the CPUs that these run on.
  package var sharesProcessors: Bool { grant.isShared }
  /// The CPU of each worker; empty where the system chooses.
  package var processors: [Int] { grant.pinned }

  /// `count` includes the caller: 1...256.
  /// - Throws: ``EngineError/invalidThreadCount(_:limit:)``.
  package init(count: Int, claims: ProcessorClaims = .process) throws(EngineError) {
    guard (1...256).contains(count) else { throw .invalidThreadCount(count, limit: 256) }
    self.count = count
    self.claims = claims
    grant = claims.take(count)
    team = Team(workerCount: count, grant: grant)
    for index in 1..<max(count, 1) {
      let team = self.team
      startThread { team.work(index) }
    }
  }

  deinit {
    team.stop()
    claims.giveBack(grant)
  }

  /// Runs `body` once on every worker and returns when all are done.
  package func run(_ body: @escaping @Sendable (WorkerContext) -> Void) {
    run(ClosureJob(body: body))
  }

  /// Runs `job` once on every worker and returns when all are done. Allocates nothing.
  func run(_ job: any WorkerJob) { team.run(job) }
}

/// What all workers do together.
protocol WorkerJob: AnyObject, Sendable {
  func run(_ worker: WorkerContext)
}

private final class ClosureJob: WorkerJob {
  private let body: @Sendable (WorkerContext) -> Void
  init(body: @escaping @Sendable (WorkerContext) -> Void) { self.body = body }
  func run(_ worker: WorkerContext) { body(worker) }
}

/// One worker's view of the job it takes part in.
package struct WorkerContext: Sendable {
  package let index: Int
  package let count: Int
  fileprivate let team: Team

  /// Waits until every worker has come here; writes before are visible to all after.
  package func barrier() { team.barrier(index) }

  /// This worker's part of `0 ..< total`: contiguous, all parts about equal.
  package func share(of total: Int) -> Range<Int> {
    total * index / count..<total * (index + 1) / count
  }

  /// Offers this worker's part of `0 ..< total` to all. What was offered before has been taken, and
  /// a barrier stands between that and this, and between this and ``take(grain:)``.
  package func offer(_ total: Int) { team.shares.offer(share(of: total), index) }

  /// The next part of what was offered, or nil where nothing is left: half of what this worker has,
  /// then half of what another one has, as a multiple of `grain` if there is so much. So workers are
  /// done at about the same time, though some are slower.
  package func take(grain: Int) -> Range<Int>? {
    guard count > 1 else { return team.shares.takeAll(of: index) }
    if let part = team.shares.take(grain, .front, of: index) { return part }
    for other in 1..<count {
      if let part = team.shares.take(grain, .back, of: (index + other) % count) { return part }
    }
    return nil
  }
}

/// State that outlives the pool while its threads wind down.
private final class Team: Sendable {
  private let workerCount: Int
  private let generation = Atomic<UInt32>(0)
  private let running = Atomic<Int>(0)
  private let arrived = Atomic<Int>(0)
  private let phase = Atomic<UInt32>(0)
  private let stopping = Atomic<Bool>(false)
  private let job = Mutex<(any WorkerJob)?>(nil)
  fileprivate let shares: WorkShares
  private let sleepers: [Sleeper]
  private let processors: [Int]
  /// Turns of a waiting loop before a thread sleeps: about 70 microseconds where the CPU is ours.
  private let spinCount: Int

  init(workerCount: Int, grant: ProcessorClaims.Grant) {
    self.workerCount = workerCount
    shares = WorkShares(workerCount: workerCount)
    processors = grant.pinned
    // Sleeping at once would more than double the time of a token where the others are idle.
    spinCount = grant.isShared ? 300 : 1500
    sleepers = (0..<workerCount).map { _ in Sleeper() }
  }

  func run(_ body: any WorkerJob) {
    let context = WorkerContext(index: 0, count: workerCount, team: self)
    guard workerCount > 1 else { return body.run(context) }
    // The caller belongs to somebody else, and what it starts would inherit a fixed CPU: it is
    // moved away from the other workers, and stays free to be moved again.
    if let processor = processors.first { ProcessorClaims.moveThread(to: processor) }
    job.withLock { $0 = body }
    running.store(workerCount - 1, ordering: .relaxed)
    // Releases the job to the workers, which acquire the generation.
    generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
    for index in 1..<workerCount { sleepers[index].wake() }
    body.run(context)
    sleepers[0].wait(spinCount) { running.load(ordering: .sequentiallyConsistent) == 0 }
    job.withLock { $0 = nil }
  }

  func work(_ index: Int) {
    if index < processors.count { ProcessorClaims.pinThread(to: processors[index]) }
    var seen: UInt32 = 0
    while true {
      sleepers[index].wait(spinCount) {
        generation.load(ordering: .sequentiallyConsistent) != seen
      }
      if stopping.load(ordering: .acquiring) { return }
      seen &+= 1
      let body = job.withLock { $0 }
      body?.run(WorkerContext(index: index, count: workerCount, team: self))
      if running.wrappingSubtract(1, ordering: .sequentiallyConsistent).newValue == 0 {
        sleepers[0].wake()
      }
    }
  }

  func stop() {
    stopping.store(true, ordering: .releasing)
    generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
    for sleeper in sleepers { sleeper.wake() }
  }

  func barrier(_ index: Int) {
    guard workerCount > 1 else { return }
    let current = phase.load(ordering: .acquiring)
    if arrived.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == workerCount {
      arrived.store(0, ordering: .relaxed)
      phase.wrappingAdd(1, ordering: .sequentiallyConsistent)
      for other in 0..<workerCount where other != index { sleepers[other].wake() }
    } else {
      sleepers[index].wait(spinCount) { phase.load(ordering: .sequentiallyConsistent) != current }
    }
  }
}

/// A range of numbers for each worker, from whose ends parts are taken.
// unchecked: atomics, made for use from several threads; their address never changes.
@safe private final class WorkShares: @unchecked Sendable {
  enum End { case front, back }

  /// First and end of a range, in 32 bits each. Only every `spacing`-th is used, so that workers do
  /// not write to neighbouring cache lines.
  private let ranges: UnsafeMutablePointer<Atomic<UInt64>>
  private let workerCount: Int
  private static let spacing = 16

  init(workerCount: Int) {
    self.workerCount = workerCount
    unsafe ranges = .allocate(capacity: workerCount * Self.spacing)
    for index in 0..<workerCount * Self.spacing {
      unsafe (ranges + index).initialize(to: Atomic(0))
    }
  }

  deinit {
    unsafe ranges.deinitialize(count: workerCount * Self.spacing)
    unsafe ranges.deallocate()
  }

  func offer(_ range: Range<Int>, _ index: Int) {
    let word = UInt64(UInt32(range.lowerBound)) << 32 | UInt64(UInt32(range.upperBound))
    unsafe ranges[index * Self.spacing].store(word, ordering: .releasing)
  }

  /// What is left of a worker's range, which no other takes from.
  func takeAll(of index: Int) -> Range<Int>? { take(1 << 32, .front, of: index) }

  /// Half of what is left of a worker's range, rounded up to a multiple of `grain`.
  func take(_ grain: Int, _ end: End, of index: Int) -> Range<Int>? {
    precondition(index < workerCount)
    var word = unsafe ranges[index * Self.spacing].load(ordering: .acquiring)
    while true {
      let lower = Int(word >> 32)
      let upper = Int(UInt32(truncatingIfNeeded: word))
      guard lower < upper else { return nil }
      let half = (upper - lower + 1) / 2
      let size = min(upper - lower, (half + grain - 1) / grain * grain)
      let rest = end == .front ? lower + size..<upper : lower..<upper - size
      let (isTaken, seen) = unsafe ranges[index * Self.spacing].compareExchange(
        expected: word, desired: UInt64(rest.lowerBound) << 32 | UInt64(rest.upperBound),
        ordering: .acquiringAndReleasing)
      if isTaken { return end == .front ? lower..<lower + size : upper - size..<upper }
      word = seen
    }
  }
}

/// Lets one thread sleep until it is woken; a wake before the sleep is not lost.
// unchecked: the semaphore is made for use from several threads; its address never changes.
@safe private final class Sleeper: @unchecked Sendable {
  private let semaphore: UnsafeMutablePointer<sem_t>
  private let isAsleep = Atomic<Bool>(false)

  init() {
    unsafe semaphore = .allocate(capacity: 1)
    unsafe sem_init(semaphore, 0, 0)
  }

  deinit {
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  /// Spins `spinCount` turns, then sleeps until woken.
  func wait(_ spinCount: Int, until ready: () -> Bool) {
    while true {
      for _ in 0..<spinCount {
        if ready() { return }
        ck_pause()
      }
      isAsleep.store(true, ordering: .sequentiallyConsistent)
      // Ready meanwhile: whoever takes the flag down first decides whether a post is coming.
      if ready(), isAsleep.exchange(false, ordering: .sequentiallyConsistent) { return }
      while unsafe sem_wait(semaphore) != 0 {}
    }
  }

  func wake() {
    // Looking first keeps the cache line shared while everybody is awake.
    if isAsleep.load(ordering: .sequentiallyConsistent),
      isAsleep.exchange(false, ordering: .sequentiallyConsistent)
    {
      unsafe sem_post(semaphore)
    }
  }
}

private func startThread(_ body: @escaping @Sendable () -> Void) {
  final class Box {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var thread = pthread_t()
  let box = unsafe Unmanaged.passRetained(Box(body)).toOpaque()
  let status = unsafe pthread_create(
    &thread, nil,
    { argument in
      guard let argument = unsafe argument else { return nil }
      unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
      return nil
    }, box)
  precondition(status == 0, "pthread_create: \(status)")
  pthread_detach(thread)
}

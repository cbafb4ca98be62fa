internal import CKernels
internal import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The only owner of compute parallelism: a fixed set of threads that run one job together.
///
/// Between jobs a worker spins for a moment and then sleeps, so an idle model costs nothing. The
/// calling thread is worker 0. Jobs come from one thread at a time.
final class WorkerThreads: Sendable {
  let count: Int
  private let shared: Shared

  /// `count` includes the caller: 1...256.
  init(count: Int) throws(EngineError) {
    guard (1...256).contains(count) else { throw .invalidThreadCount(count, limit: 256) }
    self.count = count
    shared = Shared(workerCount: count)
    for index in 1..<max(count, 1) {
      let shared = self.shared
      startThread { shared.work(index) }
    }
  }

  deinit { shared.stop() }

  /// Runs `body` once on every worker and returns when all are done.
  func run(_ body: @escaping @Sendable (WorkerContext) -> Void) {
    shared.run(body)
  }
}

/// One worker's view of the job it takes part in.
struct WorkerContext: Sendable {
  let index: Int
  let count: Int
  fileprivate let shared: Shared

  /// Waits until every worker has come here; writes before are visible to all after.
  func barrier() { shared.barrier() }

  /// This worker's part of `0 ..< total`: contiguous, all parts about equal.
  func share(of total: Int) -> Range<Int> {
    total * index / count..<total * (index + 1) / count
  }
}

/// State that outlives the pool while its threads wind down.
private final class Shared: Sendable {
  private let workerCount: Int
  private let generation = Atomic<UInt32>(0)
  private let running = Atomic<Int>(0)
  private let arrived = Atomic<Int>(0)
  private let phase = Atomic<UInt32>(0)
  private let stopping = Atomic<Bool>(false)
  private let job = Mutex<(@Sendable (WorkerContext) -> Void)?>(nil)
  private let sleepers: [Sleeper]

  init(workerCount: Int) {
    self.workerCount = workerCount
    sleepers = (0..<workerCount).map { _ in Sleeper() }
  }

  func run(_ body: @escaping @Sendable (WorkerContext) -> Void) {
    guard workerCount > 1 else {
      body(WorkerContext(index: 0, count: 1, shared: self))
      return
    }
    job.withLock { $0 = body }
    running.store(workerCount - 1, ordering: .relaxed)
    // Releases the job to the workers, which acquire the generation.
    generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
    for sleeper in sleepers.dropFirst() { sleeper.wake() }
    body(WorkerContext(index: 0, count: workerCount, shared: self))
    spin { running.load(ordering: .acquiring) == 0 }
    job.withLock { $0 = nil }
  }

  func work(_ index: Int) {
    var seen: UInt32 = 0
    while true {
      sleepers[index].wait { generation.load(ordering: .sequentiallyConsistent) != seen }
      if stopping.load(ordering: .acquiring) { return }
      seen &+= 1
      let body = job.withLock { $0 }
      body?(WorkerContext(index: index, count: workerCount, shared: self))
      running.wrappingSubtract(1, ordering: .acquiringAndReleasing)
    }
  }

  func stop() {
    stopping.store(true, ordering: .releasing)
    generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
    for sleeper in sleepers { sleeper.wake() }
  }

  func barrier() {
    guard workerCount > 1 else { return }
    let current = phase.load(ordering: .acquiring)
    if arrived.wrappingAdd(1, ordering: .acquiringAndReleasing).newValue == workerCount {
      arrived.store(0, ordering: .relaxed)
      phase.wrappingAdd(1, ordering: .releasing)
    } else {
      spin { phase.load(ordering: .acquiring) != current }
    }
  }

  /// Short waits only: another worker is known to be on its way. Yields the core when that one
  /// does not run.
  private func spin(until done: () -> Bool) {
    var turns = 0
    while !done() {
      turns += 1
      if turns < 2000 { ck_pause() } else { sched_yield() }
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

  /// Spins for about 50 microseconds, then sleeps until woken.
  func wait(until ready: () -> Bool) {
    while true {
      for _ in 0..<1500 {
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
    if isAsleep.exchange(false, ordering: .sequentiallyConsistent) { unsafe sem_post(semaphore) }
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

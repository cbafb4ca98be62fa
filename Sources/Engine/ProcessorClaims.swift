internal import CLinux
internal import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The CPUs of this process, and which pool of threads has which.
///
/// A CPU that a pool takes is also claimed against the other processes of this host, by a name that
/// the system gives to one holder at a time and frees when that process ends (an abstract socket
/// address, so processes in other network namespaces are not seen).
package final class ProcessorClaims: Sendable {
  /// What one pool of threads got.
  package struct Grant: Sendable, Equatable {
    /// The CPU of each worker; empty where the system chooses.
    package var pinned: [Int] = []
    /// CPUs that are claimed for the pool.
    package var claimed: [Int] = []
    /// Whether other threads may need the CPUs that the pool runs on.
    package var isShared = false

    package init(pinned: [Int] = [], claimed: [Int] = [], isShared: Bool = false) {
      self.pinned = pinned
      self.claimed = claimed
      self.isShared = isShared
    }
  }

  /// Those of this process, as its affinity was when they were first asked for.
  package static let process = ProcessorClaims(
    processors: allowedProcessors, namePrefix: "slipstream/cpu")

  /// CPUs of the calling thread's affinity, ascending.
  package static var allowedProcessors: [Int] {
    (0..<Int(csystem_cpu_limit())).filter { csystem_cpu_is_allowed(Int32($0)) == 1 }
  }

  /// Cuts `processors`, ascending, into one range for each of several processes that compute with so
  /// many threads: ranges share no CPU, each has one for every thread, the first also what is left.
  /// `nil` where there are fewer CPUs than threads.
  package static func split(_ processors: [Int], among threadCounts: [Int]) -> [ClosedRange<Int>]? {
    precondition(threadCounts.allSatisfy { $0 >= 1 }, "thread counts \(threadCounts)")
    let surplus = processors.count - threadCounts.reduce(0, +)
    guard surplus >= 0 else { return nil }
    var ranges: [ClosedRange<Int>] = []
    var next = 0
    for (index, count) in threadCounts.enumerated() {
      let end = next + count + (index == 0 ? surplus : 0)
      ranges.append(processors[next]...processors[end - 1])
      next = end
    }
    return ranges
  }

  private struct State {
    var pinsThreads = false
    /// The descriptor that holds the name of each CPU a pool has.
    var held: [Int: Int32] = [:]
  }

  private let processors: [Int]
  private let namePrefix: String
  private let state = Mutex(State())

  /// Hands out `processors`; processes with the same `namePrefix` know of each other's claims.
  package init(processors: [Int], namePrefix: String) {
    self.processors = processors
    self.namePrefix = namePrefix
  }

  /// From now on, the threads of new pools each stay on a CPU of their own. For a process that was
  /// told its CPUs: others, in containers for instance, may use the same without a claim.
  package func pinThreads() { state.withLock { $0.pinsThreads = true } }

  /// Whether a pool of `threadCount` threads would have CPUs that no other process claims.
  package func hasRoom(for threadCount: Int) -> Bool {
    let grant = take(threadCount)
    defer { giveBack(grant) }
    return !grant.isShared
  }

  /// Claims a CPU for each of `count` threads, all or none.
  package func take(_ count: Int) -> Grant {
    state.withLock { state in
      guard count <= processors.count else { return Grant(isShared: true) }
      var grant = Grant()
      // Who need not stay where it is leaves the first CPUs to those who must.
      let order = state.pinsThreads ? processors : processors.reversed()
      for processor in order where state.held[processor] == nil {
        if grant.claimed.count == count { break }
        let descriptor = claim(processor)
        guard descriptor >= 0 else { continue }
        state.held[processor] = descriptor
        grant.claimed.append(processor)
      }
      if grant.claimed.count == count {
        if state.pinsThreads { grant.pinned = grant.claimed }
        return grant
      }
      for processor in grant.claimed { release(processor, &state) }
      // Pools of one process usually compute in turns: CPUs of the others count as ours.
      return Grant(isShared: state.held.count + grant.claimed.count < count)
    }
  }

  /// Ends the claims of a pool.
  package func giveBack(_ grant: Grant) {
    state.withLock { state in
      for processor in grant.claimed { release(processor, &state) }
    }
  }

  private func claim(_ processor: Int) -> Int32 {
    unsafe csystem_name_claim("\(namePrefix)/\(processor)")
  }

  private func release(_ processor: Int, _ state: inout State) {
    if let descriptor = state.held.removeValue(forKey: processor) { close(descriptor) }
  }

  /// Keeps the calling thread on one CPU. Where the system refuses, it runs anywhere.
  static func pinThread(to processor: Int) { _ = csystem_thread_pin(Int32(clamping: processor)) }

  /// Moves the calling thread to a CPU if it runs on another one; it may be moved again.
  static func moveThread(to processor: Int) { _ = csystem_thread_move(Int32(clamping: processor)) }
}

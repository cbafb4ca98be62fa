import Synchronization

/// Number of running sessions, for heartbeats.
final class ActiveCount: Sendable {
  private let count = Atomic<Int>(0)

  func store(_ value: Int) { count.store(value, ordering: .relaxed) }
  var value: Int { count.load(ordering: .relaxed) }
}

import Synchronization
import Wire

/// What the thread of a worker tells of its work, for the heartbeats that its shell sends.
final class TotalsBox: Sendable {
  private let current = Mutex<WorkerTotals?>(nil)

  /// `nil` before anything was told.
  var value: WorkerTotals? { current.withLock { $0 } }

  func store(_ totals: WorkerTotals) { current.withLock { $0 = totals } }
}

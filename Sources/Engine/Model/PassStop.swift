internal import Synchronization

/// Gives up a running pass, all workers after the same layer.
///
/// Worker 0 asks before it enters the barriers of a layer, and every worker looks when it has left
/// them. By the number of the layer: worker 0 may be one layer ahead when another one looks.
final class PassStop: Sendable {
  private let shouldStop: @Sendable () -> Bool
  private let lastLayer = Atomic<Int>(.max)

  init(_ shouldStop: @escaping @Sendable () -> Bool) { self.shouldStop = shouldStop }

  var hasStopped: Bool { lastLayer.load(ordering: .relaxed) < .max }

  /// For worker 0.
  func ask(before layer: Int) {
    guard !hasStopped, shouldStop() else { return }
    lastLayer.store(layer, ordering: .relaxed)
  }

  /// The barriers of the layer order this after ``ask(before:)``.
  func ends(after layer: Int) -> Bool { lastLayer.load(ordering: .relaxed) <= layer }
}

import Synchronization

/// Whose turn it is among the questions that several clients ask.
final class QuestionQueue: Sendable {
  private let count: Int
  private let next = Mutex(0)

  init(count: Int) { self.count = count }

  /// The place of the next question; `nil` after the last.
  func take() -> Int? {
    next.withLock { next in
      guard next < count else { return nil }
      defer { next += 1 }
      return next
    }
  }
}

/// How long a session that begins waits for its drafter before the target reads the prompt.
///
/// The draft model reads the prompt, too. Where it gets the text first, both read at the same time,
/// and the first verification has drafts; otherwise it begins when the target is done.
package struct DrafterPatience: Sendable, Equatable {
  /// For the router to name a drafter: it does so right after the session.
  package static let namingMax = Duration.microseconds(500)
  /// For that drafter to come.
  package static let arrivalMax = Duration.milliseconds(3)

  private let begin: Duration
  private var isOver = false

  /// - Parameter now: when the session came.
  package init(at now: Duration) { begin = now }

  /// Until when to wait for the next message.
  ///
  /// - Parameters:
  ///   - isNamed: whether the router has named a drafter.
  ///   - hasCome: whether a drafter has attached.
  ///   - now: the present.
  /// - Returns: `nil` where the session goes on, which is for good.
  package mutating func deadline(isNamed: Bool, hasCome: Bool, at now: Duration) -> Duration? {
    let end = begin + (isNamed ? Self.arrivalMax : Self.namingMax)
    if hasCome || now >= end { isOver = true }
    return isOver ? nil : end
  }
}

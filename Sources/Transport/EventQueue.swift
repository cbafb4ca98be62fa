import Synchronization

/// The bounded queue between the threads of a transport and the reader of its events.
///
/// A message that does not fit is dropped and counted by a ``TransportEvent/overflow`` in its
/// place. The coming and going of peers has room of its own.
final class EventQueue: Sendable {
  private struct State {
    /// The events from `head` on are waiting.
    var events: [TransportEvent] = []
    var head = 0
    var bytes = 0
    var isFinished = false
    var reader: CheckedContinuation<TransportEvent?, Never>?

    var count: Int { events.count - head }

    mutating func takeFirst() -> TransportEvent {
      let event = events[head]
      head += 1
      bytes -= event.messageBytes
      // Halving keeps the cost of a removal constant on average.
      if head > 64, head * 2 > events.count {
        events.removeFirst(head)
        head = 0
      }
      return event
    }
  }

  private let countMax: Int
  private let bytesMax: Int
  private let state = Mutex(State())

  init(_ limits: TransportLimits) {
    countMax = limits.eventCountMax
    bytesMax = limits.eventBytesMax
  }

  /// The events, for one reader. Cancelling the reader ends the queue.
  func makeStream() -> AsyncStream<TransportEvent> {
    AsyncStream(unfolding: { await self.next() }, onCancel: { self.finish(discarding: true) })
  }

  func emit(_ event: TransportEvent) {
    let reader = state.withLock { state -> CheckedContinuation<TransportEvent?, Never>? in
      guard !state.isFinished else { return nil }
      if let reader = state.reader {
        state.reader = nil
        return reader
      }
      let room = event.isMessage ? countMax : 2 * countMax
      guard state.count < room, state.bytes + event.messageBytes <= bytesMax else {
        if state.count > 0, case .overflow(let dropped) = state.events.last {
          state.events[state.events.count - 1] = .overflow(droppedEventCount: dropped + 1)
        } else {
          state.events.append(.overflow(droppedEventCount: 1))
        }
        return nil
      }
      state.bytes += event.messageBytes
      state.events.append(event)
      return nil
    }
    reader?.resume(returning: event)
  }

  /// Nothing follows what is in the queue.
  func finish(discarding: Bool = false) {
    let reader = state.withLock { state -> CheckedContinuation<TransportEvent?, Never>? in
      state.isFinished = true
      if discarding {
        state.events = []
        state.head = 0
      }
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume(returning: nil)
  }

  private func next() async -> TransportEvent? {
    await withCheckedContinuation { continuation in
      let (isReady, event) = state.withLock { state -> (Bool, TransportEvent?) in
        if state.count > 0 { return (true, state.takeFirst()) }
        if state.isFinished { return (true, nil) }
        precondition(state.reader == nil, "events have one reader")
        state.reader = continuation
        return (false, nil)
      }
      if isReady { continuation.resume(returning: event) }
    }
  }
}

extension TransportEvent {
  fileprivate var isMessage: Bool {
    if case .message = self { return true }
    return false
  }

  fileprivate var messageBytes: Int {
    if case .message(_, let frame) = self { return frame.count }
    return 0
  }
}

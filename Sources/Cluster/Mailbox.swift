import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// A bounded queue into a thread that computes: filled by anyone, emptied between two passes.
// unchecked: the semaphore is made for use from several threads; its address never changes.
@safe final class Mailbox<Message: Sendable>: @unchecked Sendable {
  private let semaphore: UnsafeMutablePointer<sem_t>
  private let state = Mutex<[Message]>([])
  private let limit: Int
  private let dropped = Atomic<Int>(0)

  /// - Parameter limit: messages held at most; what ``offer(_:)`` brings beyond them is dropped.
  init(limit: Int) {
    self.limit = limit
    unsafe semaphore = .allocate(capacity: 1)
    unsafe sem_init(semaphore, 0, 0)
  }

  deinit {
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  /// Messages dropped so far.
  var droppedCount: Int { dropped.load(ordering: .relaxed) }

  /// Adds a message that must not be lost; the senders of such messages are few and bounded.
  func post(_ message: Message) {
    let wasEmpty = state.withLock { messages in
      messages.append(message)
      return messages.count == 1
    }
    if wasEmpty { unsafe sem_post(semaphore) }
  }

  /// Adds a message, or drops and counts it where the queue is full.
  func offer(_ message: Message) {
    let wasEmpty = state.withLock { messages -> Bool? in
      guard messages.count < limit else { return nil }
      messages.append(message)
      return messages.count == 1
    }
    guard let wasEmpty else {
      dropped.wrappingAdd(1, ordering: .relaxed)
      return
    }
    if wasEmpty { unsafe sem_post(semaphore) }
  }

  /// Whether a waiting message is of this kind; it goes on waiting. Others wait for the answer.
  func contains(where isSought: (Message) -> Bool) -> Bool {
    state.withLock { messages in messages.contains(where: isSought) }
  }

  /// All waiting messages, oldest first; may be none.
  func take() -> [Message] {
    state.withLock { messages in
      let taken = messages
      messages.removeAll(keepingCapacity: true)
      return taken
    }
  }

  /// Waits until a message is there or the time is over, then takes all.
  func take(timeout: Duration) -> [Message] {
    let taken = take()
    guard taken.isEmpty else { return taken }
    var deadline = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &deadline)
    let nanoseconds =
      Int(timeout.components.attoseconds / 1_000_000_000) + deadline.tv_nsec
    deadline.tv_sec += Int(timeout.components.seconds) + nanoseconds / 1_000_000_000
    deadline.tv_nsec = nanoseconds % 1_000_000_000
    while true {
      // A post left over from messages already taken wakes early: the queue tells.
      let status = unsafe sem_timedwait(semaphore, &deadline)
      let messages = take()
      if !messages.isEmpty { return messages }
      if status != 0, errno != EINTR { return [] }
    }
  }
}

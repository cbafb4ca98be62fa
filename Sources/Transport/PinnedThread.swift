import CLinux
import Glibc
import Synchronization

/// A thread of its own for work that blocks or computes for long.
package final class PinnedThread: Sendable {
  private struct Completion {
    var isDone = false
    var waiters: [CheckedContinuation<Void, Never>] = []
  }

  private final class Start: Sendable {
    let run: @Sendable () -> Void

    init(run: @escaping @Sendable () -> Void) { self.run = run }
  }

  private final class CompletionBox: Sendable {
    let state = Mutex(Completion())
  }

  private let completion = CompletionBox()

  /// Starts the thread. It lives until `body` returns, whether this object is kept or not.
  ///
  /// - Parameters:
  ///   - name: what the system shows; the first 15 bytes count.
  ///   - cpu: the only CPU to run on. A CPU that this process may not use leaves the thread free to
  ///     run anywhere.
  ///   - body: what the thread does.
  /// - Throws: ``TransportError/callFailed(call:code:)`` where the system has no thread left.
  package init(
    name: String, cpu: Int? = nil, _ body: @escaping @Sendable () -> Void
  ) throws(TransportError) {
    let start = Start { [completion] in
      // Neither failure changes what the thread computes.
      _ = unsafe csystem_thread_set_name(name)
      if let cpu { _ = csystem_thread_pin(Int32(clamping: cpu)) }
      body()
      let waiters = completion.state.withLock { state in
        state.isDone = true
        defer { state.waiters = [] }
        return state.waiters
      }
      for waiter in waiters { waiter.resume() }
    }
    var thread = pthread_t()
    let argument = unsafe Unmanaged.passRetained(start)
    // safe: the new thread takes over the reference that `passRetained` made.
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, argument.toOpaque())
    guard code == 0 else {
      unsafe argument.release()
      throw .callFailed(call: "pthread_create", code: code)
    }
    pthread_detach(thread)
  }

  /// Returns when `body` has returned.
  package func join() async {
    await withCheckedContinuation { continuation in
      let isDone = completion.state.withLock { state in
        if !state.isDone { state.waiters.append(continuation) }
        return state.isDone
      }
      if isDone { continuation.resume() }
    }
  }
}

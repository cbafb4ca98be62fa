import CZeroMQ
import Synchronization

/// The ZeroMQ state that routers and dealers of one process share.
///
/// Close it last: that waits until the last frames of closed sockets have left.
package final class ZeroMQContext: Sendable {
  // The pointer is used under the lock of `state`, or by the one thread that terminates the context.
  // unchecked: libzmq allows calls on a context from every thread.
  @safe private struct Handle: @unchecked Sendable {
    let pointer: UnsafeMutableRawPointer

    /// Blocks until all sockets are closed and their last frames sent or given up.
    func terminate() {
      while unsafe zmq_ctx_term(pointer) != 0, zmq_errno() == EINTR {}
    }
  }

  private enum State {
    case open(Handle)
    case closing(PinnedThread?)
  }

  private let state: Mutex<State>

  /// - Throws: ``TransportError/callFailed(call:code:)`` where the system has no descriptor left.
  package init() throws(TransportError) {
    guard let pointer = unsafe zmq_ctx_new() else {
      throw .callFailed(call: "zmq_ctx_new", code: zmq_errno())
    }
    state = unsafe Mutex(.open(Handle(pointer: pointer)))
  }

  deinit { _ = beginClosing() }

  /// Ends all sockets of this context and returns when their threads have let go of them.
  package func close() async { await beginClosing()?.join() }

  /// - Returns: the thread that waits for libzmq; `nil` where that was done in this call.
  private func beginClosing() -> PinnedThread? {
    state.withLock { state in
      guard case .open(let handle) = state else {
        if case .closing(let thread) = state { return thread }
        return nil
      }
      unsafe zmq_ctx_shutdown(handle.pointer)
      let thread: PinnedThread?
      do {
        thread = try PinnedThread(name: "zmq-close") { handle.terminate() }
      } catch {
        // Without a thread to wait in, this one waits.
        handle.terminate()
        thread = nil
      }
      state = .closing(thread)
      return thread
    }
  }

  /// - Parameter type: of `ZMQ_ROUTER`, `ZMQ_DEALER` and `ZMQ_PAIR`.
  /// - Returns: what `zmq_socket` made, to be closed by the caller.
  /// - Throws: ``TransportError`` where the context is closed or there are too many sockets.
  func makeSocket(_ type: Int32) throws(TransportError) -> UnsafeMutableRawPointer {
    let result = state.withLock { state -> Result<Handle, TransportError> in
      guard case .open(let context) = state else { return .failure(.contextClosed) }
      guard let socket = unsafe zmq_socket(context.pointer, type) else {
        return .failure(.callFailed(call: "zmq_socket", code: zmq_errno()))
      }
      return unsafe .success(Handle(pointer: socket))
    }
    return unsafe try result.get().pointer
  }
}

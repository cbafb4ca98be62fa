import CLinux
import Glibc

/// A descriptor that a polling thread waits on and any thread can make readable.
final class WakeUp: Sendable {
  let descriptor: Int32

  init() throws(TransportError) {
    descriptor = csystem_eventfd_create()
    guard descriptor >= 0 else { throw .callFailed(call: "eventfd", code: -descriptor) }
  }

  deinit { close(descriptor) }

  func signal() {
    let code = csystem_eventfd_signal(descriptor)
    precondition(code == 0, "signal of descriptor \(descriptor) failed with errno \(-code)")
  }

  func drain() {
    let code = csystem_eventfd_drain(descriptor)
    precondition(code == 0, "drain of descriptor \(descriptor) failed with errno \(-code)")
  }
}

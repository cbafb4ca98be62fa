import Foundation
import Synchronization

/// A worker as a child process: ends with this object.
final class WorkerProcess: Sendable {
  private let process = Process()
  /// Its end tells the child that this process is gone.
  private let lifeline = Pipe()
  private let failure = Mutex<String?>(nil)
  private let isStopping = Atomic<Bool>(false)

  /// Runs the program at `executable`; `onEnd` is called when it ends by itself.
  init(executable: URL, arguments: [String], onEnd: @escaping @Sendable () -> Void) {
    process.executableURL = executable
    process.arguments = arguments
    process.standardInput = lifeline
    process.standardOutput = FileHandle.nullDevice
    process.terminationHandler = { [weak self] _ in
      if self?.isStopping.load(ordering: .relaxed) == false { onEnd() }
    }
  }

  /// Starts it where the calling thread lives. - Throws: ``RemoteFailure``.
  func start(on hosts: DistantHosts?, host: Int) async throws {
    if let hosts {
      try await hosts.run(on: host) { [self] in launch() }
    } else {
      launch()
    }
    if let failure = failure.withLock({ $0 }) {
      throw RemoteFailure("a worker does not start: \(failure)")
    }
  }

  private func launch() {
    do { try process.run() } catch {
      failure.withLock { $0 = error.localizedDescription }
    }
  }

  /// Asks it to end and waits; one that takes longer than five seconds is killed.
  func stop() async {
    isStopping.store(true, ordering: .relaxed)
    guard process.isRunning else { return }
    process.terminate()
    for _ in 0..<500 where process.isRunning {
      // A cancelled sleep only makes the wait shorter.
      try? await Task.sleep(for: .milliseconds(10))
    }
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
  }

  deinit {
    // Not a moment to wait: the child may be stopped itself.
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
  }
}

import Foundation
import Synchronization
import TestSupport

/// A started process of the executable under test; ends with this object.
final class Daemon: Sendable {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private let process = Process()
  private let lifeline = Pipe()
  private let output = Pipe()
  private let errors = Pipe()
  private let state = Mutex<(lines: [String], rest: [UInt8], log: [UInt8])>(([], [], []))
  let name: String

  init(_ name: String, _ arguments: [String], environment: [String: String] = [:]) throws {
    self.name = name
    process.executableURL = try Daemon.executable()
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = lifeline
    process.standardOutput = output
    process.standardError = errors
    output.fileHandleForReading.readabilityHandler = { [weak self] handle in
      let data = handle.availableData
      if data.isEmpty { handle.readabilityHandler = nil }
      self?.take(data)
    }
    errors.fileHandleForReading.readabilityHandler = { [weak self] handle in
      let data = handle.availableData
      if data.isEmpty { handle.readabilityHandler = nil }
      self?.state.withLock { $0.log.append(contentsOf: data) }
    }
    try process.run()
  }

  deinit {
    if process.isRunning {
      // A stopped process would not see anything milder.
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
  }

  /// The program next to the test bundle.
  static func executable() throws -> URL {
    let folder = URL(filePath: ProcessInfo.processInfo.arguments[0]).deletingLastPathComponent()
    let candidates = [folder, TestFiles.repository.appending(path: ".build/release")]
    for candidate in candidates {
      let url = candidate.appending(path: "slipstream")
      if FileManager.default.isExecutableFile(atPath: url.path()) { return url }
    }
    throw Failure(description: "no slipstream program in \(candidates.map { $0.path() })")
  }

  private func take(_ data: Data) {
    state.withLock { state in
      state.rest.append(contentsOf: data)
      var parts = state.rest.split(separator: 10, omittingEmptySubsequences: false)
      state.rest = Array(parts.removeLast())
      state.lines += parts.map { String(decoding: $0, as: UTF8.self) }
    }
  }

  /// What it wrote to standard error so far.
  var log: String { state.withLock { String(decoding: $0.log, as: UTF8.self) } }

  /// Takes the next line of its standard output.
  func line(timeout: Duration = .seconds(60)) async throws -> String {
    let deadline = ContinuousClock().now + timeout
    while ContinuousClock().now < deadline {
      if let line = state.withLock({ $0.lines.isEmpty ? nil : $0.lines.removeFirst() }) {
        return line
      }
      guard process.isRunning else { break }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw Failure(description: "\(name) said nothing; its log:\n\(log)")
  }

  var isRunning: Bool { process.isRunning }
  var identifier: Int32 { process.processIdentifier }

  func signal(_ number: Int32) { kill(process.processIdentifier, number) }

  /// Asks it to end, waits, and returns its exit status.
  func stop(timeout: Duration = .seconds(45)) async throws -> Int32 {
    if process.isRunning { process.terminate() }
    let deadline = ContinuousClock().now + timeout
    while process.isRunning {
      guard ContinuousClock().now < deadline else {
        throw Failure(description: "\(name) does not end; its log:\n\(log)")
      }
      try await Task.sleep(for: .milliseconds(5))
    }
    return process.terminationStatus
  }

  /// Runs the program to its end and returns what it printed.
  static func output(
    _ arguments: [String], environment: [String: String] = [:], input: Data? = nil
  ) async throws -> (status: Int32, output: Data, errors: String) {
    let process = Process()
    process.executableURL = try executable()
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let output = Pipe()
    let errors = Pipe()
    let feed = Pipe()
    process.standardOutput = output
    process.standardError = errors
    process.standardInput = feed
    try process.run()
    if let input { try feed.fileHandleForWriting.write(contentsOf: input) }
    try feed.fileHandleForWriting.close()
    return await withCheckedContinuation { continuation in
      Thread {
        let collected = Mutex<Data>(Data())
        let reader = Thread {
          let data = errors.fileHandleForReading.readDataToEndOfFile()
          collected.withLock { $0 = data }
        }
        reader.start()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        while !reader.isFinished { usleep(1000) }
        let text = collected.withLock { String(decoding: $0, as: UTF8.self) }
        continuation.resume(returning: (process.terminationStatus, data, text))
      }.start()
    }
  }
}

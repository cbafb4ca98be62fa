import Foundation

/// A peer that times the same tests in a process of its own: one request a line, one answer a line.
package final class PeerProcess {
  /// A peer that cannot be used.
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  private let process = Process()
  private let requests = Pipe()
  private let answers = Pipe()
  private var pending: [UInt8] = []
  /// What the peer says of itself.
  package private(set) var name = ""

  /// Starts `script`, which speaks the protocol of `deploy/peer_llamacpp.py`, in the environment
  /// of the interpreter `python`, with room for `contextLength` tokens.
  ///
  /// - Throws: ``Failure`` where it does not start.
  package init(
    python: String, script: String, model: String, threadCount: Int, contextLength: Int
  ) throws {
    process.executableURL = URL(filePath: python)
    process.arguments = [script, model, "\(threadCount)", "\(contextLength)"]
    process.standardInput = requests
    process.standardOutput = answers
    do { try process.run() } catch {
      throw Failure(
        description: "\(python) does not start (\(error.localizedDescription)); "
          + "deploy/peer-llamacpp.sh installs the peer")
    }
    name = try line()
  }

  deinit {
    try? requests.fileHandleForWriting.close()  // The peer may be gone already.
    process.waitUntilExit()
  }

  /// Seconds that the peer takes for a test.
  func time(_ test: EngineBenchmark.Test) throws -> Double { try numbers(test.name, 1)[0] }

  /// Seconds that the peer takes for the tokens that ``ContextBenchmark`` decodes at this depth.
  func time(depth: Int) throws -> Double { try numbers("d\(depth)", 1)[0] }

  /// The most bytes that the peer had resident: now, and before it loaded the model.
  package func peakMemory() throws -> (bytes: Int, beforeLoading: Int) {
    let found = try numbers("rss", 2)
    return (Int(found[0]), Int(found[1]))
  }

  /// Lets the peer decode as many tokens as ``PeakMemory`` does.
  package func decode(_ count: Int) throws { _ = try time(.decode(count)) }

  /// The answer to a request: `count` positive numbers.
  private func numbers(_ request: String, _ count: Int) throws -> [Double] {
    try requests.fileHandleForWriting.write(contentsOf: Data("\(request)\n".utf8))
    let answer = try line()
    let found = answer.split(separator: " ").compactMap { Double($0) }
    guard found.count == count, found.allSatisfy({ $0 > 0 && $0 < 1e15 }) else {
      throw Failure(description: "the peer answered \"\(answer)\" to \(request)")
    }
    return found
  }

  private func line() throws -> String {
    while true {
      if let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
        let text = String(decoding: pending[..<end], as: UTF8.self)
        pending.removeSubrange(...end)
        return text
      }
      let data = answers.fileHandleForReading.availableData
      guard !data.isEmpty else {
        throw Failure(description: "the peer ended without an answer; see its messages above")
      }
      pending.append(contentsOf: data)
    }
  }
}

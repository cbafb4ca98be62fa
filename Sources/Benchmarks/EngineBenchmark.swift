package import Engine
import Foundation
import InferenceTypes

/// Speed of forward passes by their size, beside a peer where there is one.
package struct EngineBenchmark {
  /// What is timed.
  package enum Test: Sendable, Hashable {
    /// A prompt of so many tokens, logits of the last one only.
    case prompt(Int)
    /// So many tokens decoded one after the other.
    case decode(Int)
    /// One verification: so many tokens, logits of all.
    case verify(Int)

    package var name: String {
      switch self {
      case .prompt(let count): "pp\(count)"
      case .decode(let count): "tg\(count)"
      case .verify(let count): "v\(count)"
      }
    }

    package var tokenCount: Int {
      switch self {
      case .prompt(let count), .decode(let count), .verify(let count): count
      }
    }
  }

  /// Seconds of every repetition of one test.
  package struct Measurement: Sendable {
    package let test: Test
    package var seconds: [Double] = []
    package var peerSeconds: [Double] = []

    package var tokensPerSecond: Double { Double(test.tokenCount) / median(seconds) }
    package var peerTokensPerSecond: Double? {
      peerSeconds.isEmpty ? nil : Double(test.tokenCount) / median(peerSeconds)
    }
    /// (Largest - smallest) / median.
    package var spread: Double {
      ((seconds.max() ?? 0) - (seconds.min() ?? 0)) / median(seconds)
    }
  }

  /// Sizes of the curve v(n) = t(n) / t(1).
  package static let curve = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]
  /// Tokens before every verification that is timed.
  private static let verifyContext = 32
  private let engine: InferenceEngine
  private let peer: PeerProcess?

  package init(engine: InferenceEngine, peer: PeerProcess?) {
    self.engine = engine
    self.peer = peer
  }

  /// Runs all tests `roundCount` times, taking turns, so that a noisy moment hits all of them;
  /// ours and the peer's alternate. One more round warms up.
  package func run(_ tests: [Test], roundCount: Int) throws -> [Measurement] {
    var measurements = tests.map { Measurement(test: $0) }
    for round in 0...roundCount {
      for index in measurements.indices {
        let test = measurements[index].test
        settle()
        let own = try time(test)
        settle()
        let other = try peer?.time(test)
        guard round > 0 else { continue }
        measurements[index].seconds.append(own)
        if let other { measurements[index].peerSeconds.append(other) }
      }
    }
    return measurements
  }

  /// The threads of the other side wait in loops for a moment before they sleep; they must not be
  /// measured with this side's work.
  private func settle() {
    if peer != nil { Thread.sleep(forTimeInterval: 0.02) }
  }

  private func time(_ test: Test) throws -> Double {
    let cache = try engine.makeCache()
    switch test {
    case .prompt(let count):
      return try seconds { try feed(count, from: 0, cache: cache) }
    case .decode(let count):
      try feed(1, from: 0, cache: cache)
      return try seconds {
        for index in 1...count {
          try engine.forward(ForwardBatch(chain: [token(index)], logits: .last), cache: cache)
          cache.commit([0])
        }
      }
    case .verify(let count):
      try feed(Self.verifyContext, from: 0, cache: cache)
      let batch = ForwardBatch(
        chain: (0..<count).map { token(Self.verifyContext + $0) }, logits: .all)
      return try seconds { try engine.forward(batch, cache: cache) }
    }
  }

  /// Processes a prompt in batches.
  private func feed(_ count: Int, from start: Int, cache: KVCache) throws {
    var first = 0
    while first < count {
      let last = min(count, first + InferenceEngine.batchLimit)
      let batch = ForwardBatch(
        chain: (first..<last).map { token(start + $0) }, logits: last == count ? .last : .none)
      try engine.forward(batch, cache: cache)
      cache.commit(Array(0..<last - first))
      first = last
    }
  }

  private func token(_ index: Int) -> TokenID {
    TokenID(UInt32((index * 7919 + 300) % engine.model.shape.vocabularyCount))
  }

  private func seconds(_ body: () throws -> Void) rethrows -> Double {
    let clock = ContinuousClock()
    let duration = try clock.measure(body)
    return Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }
}

/// The middle value; the mean of the two middle ones where their number is even.
package func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  guard !sorted.isEmpty else { return .nan }
  let middle = sorted.count / 2
  return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
}

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
  /// of the interpreter `python`.
  ///
  /// - Throws: ``Failure`` where it does not start.
  package init(python: String, script: String, model: String, threadCount: Int) throws {
    process.executableURL = URL(filePath: python)
    process.arguments = [script, model, "\(threadCount)"]
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
  func time(_ test: EngineBenchmark.Test) throws -> Double {
    try requests.fileHandleForWriting.write(contentsOf: Data("\(test.name)\n".utf8))
    let answer = try line()
    guard let seconds = Double(answer), seconds > 0 else {
      throw Failure(description: "the peer answered \"\(answer)\" to \(test.name)")
    }
    return seconds
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

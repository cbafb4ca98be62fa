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
    /// Bytes per second that the threads read just before and after each of `seconds`, their mean;
    /// of decoding only.
    package fileprivate(set) var readBandwidths: [Double] = []

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
  private let bandwidth: ReadBandwidth?

  /// `bandwidth`: of the engine's threads, to be measured beside decoding.
  package init(engine: InferenceEngine, peer: PeerProcess?, bandwidth: ReadBandwidth? = nil) {
    self.engine = engine
    self.peer = peer
    self.bandwidth = bandwidth
  }

  /// Runs all tests `roundCount` times, taking turns, so that a noisy moment hits all of them;
  /// ours and the peer's alternate. One more round warms up.
  package func run(_ tests: [Test], roundCount: Int) throws -> [Measurement] {
    var measurements = tests.map { Measurement(test: $0) }
    for round in 0...roundCount {
      for index in measurements.indices {
        let test = measurements[index].test
        Self.settle(peer)
        let before = readBandwidth(beside: test)
        let own = try time(test)
        let after = readBandwidth(beside: test)
        Self.settle(peer)
        let other = try peer?.time(test)
        guard round > 0 else { continue }
        measurements[index].seconds.append(own)
        if let other { measurements[index].peerSeconds.append(other) }
        if let before, let after { measurements[index].readBandwidths.append((before + after) / 2) }
      }
    }
    return measurements
  }

  private func readBandwidth(beside test: Test) -> Double? {
    guard case .decode = test else { return nil }
    return bandwidth?.measure(roundCount: 3)
  }

  /// The threads of the other side wait in loops for a moment before they sleep; they must not be
  /// measured with this side's work.
  static func settle(_ peer: PeerProcess?) {
    if peer != nil { Thread.sleep(forTimeInterval: 0.02) }
  }

  /// Seconds of one test on our side.
  func time(_ test: Test) throws -> Double {
    let cache = try engine.makeCache()
    switch test {
    case .prompt(let count):
      return try seconds { try Self.feed(0..<count, engine: engine, cache: cache) }
    case .decode(let count):
      try Self.feed(0..<1, engine: engine, cache: cache)
      return try seconds {
        for index in 1...count {
          try engine.forward(
            ForwardBatch(chain: [Self.token(index, engine)], logits: .last), cache: cache)
          cache.commit([0])
        }
      }
    case .verify(let count):
      try Self.feed(0..<Self.verifyContext, engine: engine, cache: cache)
      let batch = ForwardBatch(
        chain: (0..<count).map { Self.token(Self.verifyContext + $0, engine) }, logits: .all)
      return try seconds { try engine.forward(batch, cache: cache) }
    }
  }

  /// Processes positions of a prompt in batches; logits of the last one only.
  static func feed(_ range: Range<Int>, engine: InferenceEngine, cache: KVCache) throws {
    var first = range.lowerBound
    while first < range.upperBound {
      let last = min(range.upperBound, first + InferenceEngine.batchLimit)
      let batch = ForwardBatch(
        chain: (first..<last).map { token($0, engine) },
        logits: last == range.upperBound ? .last : .none)
      try engine.forward(batch, cache: cache)
      cache.commit(Array(0..<last - first))
      first = last
    }
  }

  /// The token of a position: the same as the peer's.
  static func token(_ index: Int, _ engine: InferenceEngine) -> TokenID {
    TokenID(UInt32((index * 7919 + 300) % engine.model.shape.vocabularyCount))
  }
}

/// The middle value; the mean of the two middle ones where their number is even.
package func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  guard !sorted.isEmpty else { return .nan }
  let middle = sorted.count / 2
  return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
}

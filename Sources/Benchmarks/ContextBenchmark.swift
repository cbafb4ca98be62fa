package import Engine
import InferenceTypes

/// Time of a token by the number of positions before it, beside a peer where there is one.
package struct ContextBenchmark {
  /// Seconds per token at one depth, of every repetition.
  package struct Measurement: Sendable {
    package let length: Int
    package fileprivate(set) var seconds: [Double] = []
    package fileprivate(set) var peerSeconds: [Double] = []
    /// Seconds of one pass of each of ``nodeCounts`` nodes, logits of all, of every repetition.
    package fileprivate(set) var passSeconds = nodeCounts.map { _ in [Double]() }
  }

  /// Tokens decoded at each depth; the median of the repetitions counts.
  package static let tokenCount = 8
  /// Nodes of the passes that are timed at each depth.
  package static let nodeCounts = [1, 2, 4, 8, 16]
  /// Positions that are needed after each depth.
  package static let roomAfter = max(tokenCount, nodeCounts.max() ?? 0)
  private let engine: InferenceEngine
  private let peer: PeerProcess?

  package init(engine: InferenceEngine, peer: PeerProcess?) {
    self.engine = engine
    self.peer = peer
  }

  /// Measures at every length, the shortest first, and after no more than a token as length 0; ours
  /// and the peer's alternate.
  ///
  /// Each of `lengths`, with ``roomAfter`` more, is no longer than the context.
  /// - Returns: one measurement for each length, ascending.
  /// - Throws: ``EngineError``, ``PeerProcess/Failure``.
  package func run(lengths: [Int], roundCount: Int) throws -> [Measurement] {
    let cache = try engine.makeCache()
    var measurements = Set(lengths + [0]).sorted().map { Measurement(length: $0) }
    for index in measurements.indices {
      let length = max(1, measurements[index].length)
      try EngineBenchmark.feed(cache.committedCount..<length, engine: engine, cache: cache)
      // The first round warms up; the peer makes its own way to this depth in it.
      for round in 0...roundCount {
        EngineBenchmark.settle(peer)
        let own = try decode(from: length, cache: cache)
        EngineBenchmark.settle(peer)
        let other = try peer?.time(depth: length)
        let passes = try Self.nodeCounts.map { try verify($0, from: length, cache: cache) }
        guard round > 0 else { continue }
        measurements[index].seconds.append(own / Double(Self.tokenCount))
        if let other { measurements[index].peerSeconds.append(other / Double(Self.tokenCount)) }
        for (count, seconds) in passes.enumerated() {
          measurements[index].passSeconds[count].append(seconds)
        }
      }
    }
    return measurements
  }

  private func decode(from length: Int, cache: KVCache) throws -> Double {
    defer { cache.truncate(to: length) }
    return try seconds {
      for index in length..<length + Self.tokenCount {
        try engine.forward(
          ForwardBatch(chain: [EngineBenchmark.token(index, engine)], logits: .last), cache: cache)
        cache.commit([0])
      }
    }
  }

  /// A chain of drafts, as a verifier checks it.
  private func verify(_ count: Int, from length: Int, cache: KVCache) throws -> Double {
    let batch = ForwardBatch(
      chain: (length..<length + count).map { EngineBenchmark.token($0, engine) }, logits: .all)
    defer { cache.dropScratch() }
    return try seconds { try engine.forward(batch, cache: cache) }
  }

  /// The length at which a token takes twice the time of the first length, so that attention is
  /// half of it; between two lengths on the straight line. `nil` where no length takes so long.
  /// `times` ascend by length.
  package static func halfLength(_ times: [(length: Int, seconds: Double)]) -> Double? {
    guard let first = times.first else { return nil }
    let wanted = 2 * first.seconds
    for (before, after) in zip(times, times.dropFirst()) where after.seconds >= wanted {
      let share = (wanted - before.seconds) / (after.seconds - before.seconds)
      return Double(before.length) + share * Double(after.length - before.length)
    }
    return nil
  }
}

import CMeasure
package import Engine
import InferenceTypes

/// What decoding one token after the other asks of the machine.
package struct DecodeFigures: Sendable {
  /// Bytes of weights and of keys and values that one token reads.
  package let bytesPerToken: Double
  /// Allocations of a pass of one token at steady state; `nil` where they cannot be counted.
  package let allocationsPerPass: Double?

  /// Measures what does not depend on speed; `depth` is the mean number of positions that a token
  /// attends to.
  ///
  /// - Throws: ``EngineError``.
  package init(engine: InferenceEngine, depth: Double) throws {
    bytesPerToken =
      Double(engine.model.sizeBytes)
      + depth * Double(engine.pool.layout.blockBytes) / Double(BlockLayout.length)
    allocationsPerPass = try Self.allocations(engine)
  }

  /// Shares of the read bandwidth that decoding uses: of each turn's own, because memory is faster in
  /// one moment than in the next. Empty where it was not measured.
  package func shares(of decode: EngineBenchmark.Measurement) -> [Double] {
    shares(of: decode, seconds: decode.seconds)
  }

  /// The same of the peer.
  package func peerShares(of decode: EngineBenchmark.Measurement) -> [Double] {
    shares(of: decode, seconds: decode.peerSeconds)
  }

  private func shares(of decode: EngineBenchmark.Measurement, seconds: [Double]) -> [Double] {
    let bytes = Double(decode.test.tokenCount) * bytesPerToken
    return zip(seconds, decode.readBandwidths).map { bytes / $0 / $1 }
  }

  private static func allocations(_ engine: InferenceEngine) throws -> Double? {
    let passCount = min(32, engine.contextLength - 2)
    guard passCount > 0 else { return nil }
    let cache = try engine.makeCache()
    var batch = ForwardBatch(chain: [TokenID(0)], logits: .last)
    var top: [TokenLogit] = []
    let path = [0]
    func pass() throws {
      try engine.forward(batch, cache: cache)
      engine.topLogits(1, into: &top)
      cache.commit(path)
      batch.tokens[0] = top[0].token
    }
    try pass()
    guard cmeasure_allocations_start() > 0 else { return nil }
    defer { cmeasure_allocations_stop() }
    for _ in 0..<passCount { try pass() }
    return Double(cmeasure_allocations()) / Double(passCount)
  }
}

package import Decoding
package import Engine
package import InferenceTypes

/// Writes texts with the cautious choice: several continuations of uncertain places, one after the
/// other, each in a copy of the cache that shares what they have in common.
package final class LocalCautious {
  private static let passLimit = 64

  private let engine: InferenceEngine

  package init(engine: InferenceEngine) { self.engine = engine }

  /// What a generation produced.
  package struct Result: Sendable {
    package var tokens: [TokenID] = []
    package var finishReason = FinishReason.length
    /// Until the first token was there.
    package var promptDuration = Duration.zero
    package var decodeDuration = Duration.zero
    /// Places with more than one continuation.
    package var uncertainCount = 0
    /// Tokens that were computed and thrown away.
    package var discardedCount = 0

    package init() {}
  }

  /// Writes to the end.
  ///
  /// - Parameters:
  ///   - configuration: its sampling parameters are cautious.
  ///   - breakTokens: punctuation, after which a continuation ends.
  ///   - onTokens: hears the tokens as they are decided.
  /// - Returns: the tokens.
  /// - Throws: ``DecodingError`` for an unfit request, ``EngineError`` without memory.
  package func generate(
    _ configuration: VerifierSession.Configuration, breakTokens: [TokenID],
    onTokens: ([TokenID]) -> Void = { _ in }
  ) throws -> Result {
    var session = try CautiousSession(configuration, breakTokens: breakTokens)
    var cache = try engine.makeCache()
    var trials: [Int: KVCache] = [:]
    var result = Result()
    let clock = ContinuousClock()
    let start = clock.now
    while let pass = session.nextPass {
      switch pass {
      case .read(let range): try read(session.truth[range], cache)
      case .extend(let trial, let token, let isFirst):
        let own = isFirst ? cache.fork() : trials[trial]
        guard let own else { preconditionFailure("no cache of trial \(trial)") }
        trials[trial] = own
        try read([token], own)
      }
      let conclusion = engine.withLogits { session.conclude(logits: $0) }
      guard !conclusion.tokens.isEmpty else { continue }
      if let kept = conclusion.keptTrial {
        guard let own = trials[kept] else { preconditionFailure("no cache of trial \(kept)") }
        cache = own
      }
      trials.removeAll()
      if result.promptDuration == .zero { result.promptDuration = clock.now - start }
      onTokens(conclusion.tokens)
    }
    result.decodeDuration = clock.now - start - result.promptDuration
    result.tokens = Array(session.truth[session.promptCount...])
    result.finishReason = session.finish ?? .length
    result.uncertainCount = session.uncertainCount
    result.discardedCount = session.discardedCount
    return result
  }

  /// Reads tokens behind those the cache holds, for the logits of the last.
  private func read(_ tokens: ArraySlice<TokenID>, _ cache: KVCache) throws(EngineError) {
    var rest = tokens
    while !rest.isEmpty {
      let chunk = Array(rest.prefix(Self.passLimit))
      rest = rest.dropFirst(chunk.count)
      try engine.forward(
        ForwardBatch(chain: chunk, logits: rest.isEmpty ? .last : .none), cache: cache)
      cache.commit(Array(chunk.indices))
    }
  }
}

package import Decoding
package import Engine
package import InferenceTypes

/// Asks a target what it thinks likely after each token of its vocabulary alone, so that Token
/// Recycling has a guess after words that no text has shown yet. Nothing is trained; the rows are
/// the target's own.
package enum RowSurvey {
  /// Tokens asked about in one pass.
  private static let passCount = 64

  /// Fills the rows that are not known.
  ///
  /// - Parameters:
  ///   - recycling: where the rows go.
  ///   - engine: of the target.
  ///   - opening: tokens before each one, at least one: without any the target sees a beginning that
  ///     texts do not have. A line break did best, see docs/BENCHMARKS.md.
  ///   - tokenLimit: only tokens with ids below this one are asked about. In BPE vocabularies those
  ///     are the most frequent ones.
  ///   - progress: hears the share of them that is done, 0...1.
  /// - Returns: how many rows are new.
  /// - Throws: ``EngineError``; the rows filled so far stay.
  package static func fill(
    _ recycling: inout TokenRecycling, engine: InferenceEngine, opening: [TokenID],
    tokenLimit: Int = .max, progress: (Double) -> Void = { _ in }
  ) throws(EngineError) -> Int {
    precondition(!opening.isEmpty, "an empty opening")
    let vocabulary = min(engine.model.shape.vocabularyCount, recycling.vocabularyCount)
    let missing = (0..<min(vocabulary, tokenLimit)).map { TokenID(UInt32($0)) }
      .filter { !recycling.knowsRow(after: $0) }
    let cache = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: opening, logits: .none), cache: cache)
    cache.commit(Array(opening.indices))
    var top: [TokenLogit] = []
    var filledCount = 0
    for first in stride(from: 0, to: missing.count, by: passCount) {
      let some = missing[first..<min(first + passCount, missing.count)]
      var batch = ForwardBatch()
      batch.tokens = Array(some)
      batch.parents = [Int](repeating: -1, count: some.count)
      batch.logitNodes = Array(0..<some.count)
      try engine.forward(batch, cache: cache)
      engine.topLogits(TokenRecycling.rowLength, into: &top)
      let width = top.count / some.count
      for (row, token) in some.enumerated() {
        let entries = top.span.extracting(row * width..<(row + 1) * width)
        if recycling.suppose(after: token, top: entries) { filledCount += 1 }
      }
      progress(Double(first + some.count) / Double(missing.count))
    }
    return filledCount
  }
}

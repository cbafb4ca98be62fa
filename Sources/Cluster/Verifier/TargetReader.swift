import Decoding
import Engine
import InferenceTypes

/// The target model's end of a collaboration: its cache of one text, and its latest logits.
final class TargetReader {
  /// Tokens of one forward pass: few enough that other sessions do not wait long.
  private static let passLimit = 64

  private let engine: InferenceEngine
  private var cache: KVCache
  /// Positions of the prompt that were known from other sessions.
  let cachedCount: Int
  /// Of the last position that was read for it.
  private(set) var row: [Float] = []

  init(engine: InferenceEngine, prompt: [TokenID]) {
    self.engine = engine
    (cache, cachedCount) = engine.prefixes.adopt(prompt: prompt)
  }

  /// Reads the next stretch of `truth`.
  ///
  /// - Parameters:
  ///   - truth: the text.
  ///   - end: where reading ends, in one or several calls.
  ///   - wantsRow: whether the logits behind `end` are needed; not all of them are read yet then.
  /// - Returns: whether everything before `end` is read.
  /// - Throws: ``EngineError``; the same call may succeed later.
  func read(
    _ truth: [TokenID], to end: Int, wantsRow: Bool
  ) throws(EngineError) -> Bool {
    let first = cache.committedCount
    guard first < end else { return true }
    let last = min(end, first + Self.passLimit)
    let isLast = last == end
    let batch = ForwardBatch(
      chain: Array(truth[first..<last]), logits: wantsRow && isLast ? .last : .none)
    try engine.forward(batch, cache: cache)
    cache.commit(Array(0..<last - first))
    if wantsRow, isLast {
      engine.withLogits { logits in
        row.removeAll(keepingCapacity: true)
        for index in logits.indices { row.append(logits[index]) }
      }
    }
    return isLast
  }

  /// Gives the memory of the keys and values back; they are computed again when reading goes on.
  func releaseCache() { cache = engine.prefixes.adopt(prompt: []).cache }

  /// Lets other sessions find what was read.
  func remember(_ truth: [TokenID]) {
    engine.prefixes.insert(cache, tokens: Array(truth.prefix(cache.committedCount)))
  }
}

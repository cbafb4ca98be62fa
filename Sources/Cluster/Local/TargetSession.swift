package import Decoding
package import Engine
package import InferenceTypes

/// One generation on its target model: the session machine, its KV cache, and the passes between
/// them. Lives on the thread of its model.
package final class TargetSession {
  /// Prompt tokens of one forward pass: enough to share the weights, few enough that other
  /// sessions and cancellations do not wait long.
  private static let prefillChunk = 64
  /// Positions at the end of the prompt whose logits teach Token Recycling what followed them.
  fileprivate static let prefillObserved = 256
  /// Largest logits of each row that the sources learn from.
  fileprivate static let observedCount = 16

  package fileprivate(set) var machine: VerifierSession
  fileprivate var cache: KVCache
  /// Whether the keys and values of prompts are found again in other sessions.
  private let sharesPrefixes: Bool
  /// Positions of the prompt that were found.
  package private(set) var cachedCount = 0
  fileprivate let topCount: Int
  package fileprivate(set) var promptDuration = Duration.zero
  package fileprivate(set) var decodeDuration = Duration.zero

  /// With `sharesPrefixes` what was computed before is not computed again, nor shown to the sources
  /// again.
  ///
  /// - Throws: ``DecodingError`` for an unfit configuration, ``EngineError`` without memory.
  package init(
    _ configuration: VerifierSession.Configuration, engine: InferenceEngine,
    sharesPrefixes: Bool = false
  ) throws {
    machine = try VerifierSession(configuration)
    self.sharesPrefixes = sharesPrefixes
    if sharesPrefixes {
      (cache, cachedCount) = engine.prefixes.adopt(prompt: machine.truth)
      cachedCount = min(cachedCount, machine.promptCount)
    } else {
      cache = try engine.makeCache()
    }
    let topK = configuration.sampling.temperature > 0 ? configuration.sampling.topK : 0
    topCount = topK <= 64 ? max(Self.observedCount, topK) : Self.observedCount
  }

  package var isFinished: Bool { machine.finish != nil }
  /// Whether the keys and values of the prompt are still incomplete.
  package var isPrefilling: Bool { cache.committedCount < machine.truth.count - 1 }

  package func receive(
    _ nodes: [DraftNode], anchor: Int, link: Int, origin: DraftOrigin = .remote
  ) {
    machine.receive(nodes, anchor: anchor, link: link, origin: origin)
  }

  package func removeLink(_ link: Int) { machine.removeLink(link) }

  /// Prompt tokens whose keys and values are missing.
  package var missingCount: Int { max(0, machine.truth.count - 1 - cache.committedCount) }
  /// Positions with keys and values.
  package var contextCount: Int { cache.committedCount }

  /// Processes the next stretch of the prompt, all but its last token.
  package func prefill(engine: InferenceEngine, sources: inout LocalSources) throws(EngineError) {
    let clock = ContinuousClock()
    let start = clock.now
    let part = prefillPart(limit: Self.prefillChunk, teaches: sources.recycling != nil)
    try engine.forward(part.batch, cache: cache)
    concludePrefill(
      part, engine: engine, rows: 0..<part.batch.logitNodes.count, sources: &sources)
    promptDuration += clock.now - start
  }

  /// Plans, evaluates and concludes one verification.
  ///
  /// `limit` is the most nodes of the batch; 1 decodes without drafts.
  package func step(
    engine: InferenceEngine, sources: inout LocalSources, costs: VerifyCosts, limit: Int
  ) throws(EngineError) -> VerifyOutcome {
    let clock = ContinuousClock()
    let start = clock.now
    let batch = machine.nextBatch(
      sources: &sources, costs: costs.at(context: cache.committedCount),
      limit: min(limit, InferenceEngine.batchLimit))
    try engine.forward(part(batch).batch, cache: cache)
    let outcome = conclude(batch, engine: engine, rows: 0..<batch.count, sources: &sources)
    decodeDuration += clock.now - start
    return outcome
  }

  /// Gives the memory of the keys and values back; they are computed again when the session goes
  /// on.
  package func releaseCache(engine: InferenceEngine) {
    cache = engine.prefixes.adopt(prompt: []).cache
  }

  fileprivate func remember(_ engine: InferenceEngine) {
    if sharesPrefixes { engine.prefixes.insert(cache, tokens: machine.truth) }
  }
}

// MARK: steps shared with other sessions

extension TargetSession {
  /// The next `limit` tokens of the prompt at most, all but its last one; with their logits where
  /// they are to be learned from.
  func prefillPart(limit: Int, teaches: Bool) -> ForwardPart {
    let truth = machine.truth
    let first = cache.committedCount
    let last = min(truth.count - 1, first + limit)
    let observes = teaches && last > truth.count - Self.prefillObserved
    return ForwardPart(
      batch: ForwardBatch(chain: Array(truth[first..<last]), logits: observes ? .all : .none),
      cache: cache)
  }

  /// Keeps the keys and values of a stretch of the prompt and learns from its logits, which are
  /// these rows of the latest pass.
  func concludePrefill(
    _ part: ForwardPart, engine: InferenceEngine, rows: Range<Int>, sources: inout LocalSources
  ) {
    let truth = machine.truth
    let first = cache.committedCount
    let count = part.batch.tokens.count
    cache.commit(Array(0..<count))
    if !rows.isEmpty {
      var top: [TokenLogit] = []
      engine.topLogits(Self.observedCount, rows: rows, into: &top)
      let width = top.count / count
      var context = TokenContext(endOf: Array(truth[max(0, first - 3)..<first]))
      for row in 0..<count {
        context.append(truth[first + row])
        sources.observe(
          context: context, top: top.span.extracting(row * width..<(row + 1) * width))
      }
    }
    // After the logits: what the prompt says next counts more than what the target thought.
    if !isPrefilling {
      sources.observe(prompt: truth)
      remember(engine)
    }
  }

  /// What a forward pass evaluates of a batch: everything, with all logits.
  func part(_ batch: VerifyBatch) -> ForwardPart {
    var forward = ForwardBatch()
    forward.tokens = batch.tokens
    forward.parents = batch.parents
    forward.logitNodes = Array(batch.tokens.indices)
    return ForwardPart(batch: forward, cache: cache)
  }

  /// Decides the tokens of a batch whose logits are these rows of the latest pass.
  func conclude(
    _ batch: VerifyBatch, engine: InferenceEngine, rows: Range<Int>, sources: inout LocalSources
  ) -> VerifyOutcome {
    var top: [TokenLogit] = []
    engine.topLogits(topCount, rows: rows, into: &top)
    let vocabulary = engine.model.shape.vocabularyCount
    let outcome = engine.withLogits { logits in
      machine.conclude(
        batch,
        logits: logits.extracting(rows.lowerBound * vocabulary..<rows.upperBound * vocabulary),
        top: top.span, topCount: top.count / batch.count, sources: &sources)
    }
    cache.commit(outcome.acceptedPath)
    if isFinished { remember(engine) }
    return outcome
  }

  func beginGrowth(
    sources: inout LocalSources, limit: Int, affordable: Int
  ) -> BatchGrowth {
    machine.beginGrowth(sources: &sources, limit: limit, affordable: affordable)
  }

  func grow(_ growth: inout BatchGrowth, sources: inout LocalSources) -> Bool {
    machine.grow(&growth, sources: &sources)
  }

  func endGrowth(
    _ growth: BatchGrowth, count: Int, price: Float, tokenValue: Float
  ) -> VerifyBatch {
    machine.endGrowth(growth, count: count, price: price, tokenValue: tokenValue)
  }

  func spendPromptTime(_ duration: Duration) { promptDuration += duration }

  func spendDecodeTime(_ duration: Duration) { decodeDuration += duration }
}

/// Time of a verification by its size, measured on this machine.
package struct MeasuredCosts: Sendable {
  package let costs: VerifyCosts
  /// Median time of a pass over one token.
  package let single: Duration

  private static let sizes = [1, 2, 4, 6, 8, 12, 16, 24, 32, 64, 128]
  /// Sizes from here on, which only many sessions reach, are timed in fewer rounds.
  private static let largeSize = 64
  private static let largeRounds = 2
  /// Size and context of the passes that tell what attention costs.
  private static let attentionSize = 8
  private static let attentionContext = 256

  /// Times passes of growing size without a prompt, then what a longer context adds to them; sizes
  /// take turns, medians count.
  package init(engine: InferenceEngine, roundCount: Int = 5) throws(EngineError) {
    let cache = try engine.makeCache()
    // The longer context is there all the time.
    let blockMax = engine.pool.blockCount - BlockLayout.blocks(for: Self.attentionContext) - 1
    let sizes = Self.sizes.filter {
      $0 < engine.contextLength && ($0 < Self.largeSize || BlockLayout.blocks(for: $0) <= blockMax)
    }
    guard !sizes.isEmpty else {
      costs = .assumed
      single = .zero
      return
    }
    let vocabulary = UInt32(engine.model.shape.vocabularyCount)
    func token(_ index: Int) -> TokenID { TokenID(UInt32(index * 7 + 3) % vocabulary) }
    let clock = ContinuousClock()
    func timed(_ size: Int, _ cache: KVCache) throws(EngineError) -> Duration {
      let start = clock.now
      try engine.forward(ForwardBatch(chain: (0..<size).map(token), logits: .all), cache: cache)
      cache.dropScratch()
      return clock.now - start
    }
    // Short contexts of small models have no room for the second measurement.
    let long = engine.contextLength > Self.attentionContext * 2 ? try engine.makeCache() : nil
    if let long {
      for _ in 0..<Self.attentionContext / 64 {
        try engine.forward(ForwardBatch(chain: (0..<64).map(token), logits: .none), cache: long)
        long.commit(Array(0..<64))
      }
    }
    var times = sizes.map { _ in [Duration]() }
    var longer: [Duration] = []
    // The first round warms up.
    for round in 0...roundCount {
      for (index, size) in sizes.enumerated() {
        guard size < Self.largeSize || round <= Self.largeRounds else { continue }
        let time = try timed(size, cache)
        if round > 0 { times[index].append(time) }
        guard size == Self.attentionSize, let long else { continue }
        let difference = try timed(size, long) - time
        if round > 0 { longer.append(difference) }
      }
    }
    let medians = times.map { Self.seconds(Self.median($0)) }
    single = .seconds(medians[0])
    var attention = 0.0
    if !longer.isEmpty {
      let positions = Double(Self.attentionSize * Self.attentionContext)
      attention = Self.seconds(Self.median(longer)) / positions / medians[0]
    }
    costs = VerifyCosts(
      relative: Self.interpolated(sizes, medians), attention: Float(attention))
  }

  private static func median(_ times: [Duration]) -> Duration { times.sorted()[times.count / 2] }

  private static func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }

  /// The time of every size up to the largest, straight lines between the measured ones.
  private static func interpolated(_ sizes: [Int], _ times: [Double]) -> [Float] {
    var all: [Float] = []
    for (index, size) in sizes.enumerated() {
      guard index > 0 else {
        all.append(Float(times[0]))
        continue
      }
      let previous = sizes[index - 1]
      for count in previous + 1...size {
        let share = Double(count - previous) / Double(size - previous)
        all.append(Float(times[index - 1] + share * (times[index] - times[index - 1])))
      }
    }
    return all
  }
}

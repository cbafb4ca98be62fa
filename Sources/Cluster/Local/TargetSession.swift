package import Decoding
package import Engine
package import InferenceTypes

/// One generation on its target model: the session machine, its KV cache, and the passes between
/// them. Lives on the thread of its model.
package final class TargetSession {
  /// Prompt tokens of one forward pass: enough to share the weights, few enough that other
  /// sessions and cancellations do not wait long.
  private static let prefillChunk = 64
  /// Largest logits of each row that the sources learn from.
  fileprivate static let observedCount = 16

  package internal(set) var machine: VerifierSession
  fileprivate(set) var cache: KVCache
  /// Whether the keys and values of prompts are found again in other sessions.
  private let sharesPrefixes: Bool
  /// Positions of the prompt that were found.
  package private(set) var cachedCount = 0
  let topCount: Int
  package fileprivate(set) var promptDuration = Duration.zero
  package internal(set) var decodeDuration = Duration.zero

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
    let part = prefillPart(limit: Self.prefillChunk)
    try engine.forward(part.batch, cache: cache)
    concludePrefill(part, engine: engine, sources: &sources)
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

  func remember(_ engine: InferenceEngine) {
    if sharesPrefixes { engine.prefixes.insert(cache, tokens: machine.truth) }
  }
}

// MARK: steps shared with other sessions

extension TargetSession {
  /// The next `limit` tokens of the prompt at most, all but its last one.
  ///
  /// Without logits: those of a prompt would teach Token Recycling something, but they take a fifth
  /// of the time of a short prompt on a small model, and save fewer steps than that.
  func prefillPart(limit: Int) -> ForwardPart {
    let truth = machine.truth
    let first = cache.committedCount
    let last = min(truth.count - 1, first + limit)
    return ForwardPart(
      batch: ForwardBatch(chain: Array(truth[first..<last]), logits: .none), cache: cache)
  }

  /// Keeps the keys and values of a stretch of the prompt and learns from its tokens when it is
  /// complete.
  func concludePrefill(
    _ part: ForwardPart, engine: InferenceEngine, sources: inout LocalSources
  ) {
    cache.commit(Array(part.batch.tokens.indices))
    guard !isPrefilling else { return }
    sources.observe(prompt: machine.truth)
    remember(engine)
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

  /// Costs that are not measured but known, so that plans come out the same every time.
  package init(known costs: VerifyCosts, single: Duration) {
    self.costs = costs
    self.single = single
  }

  /// Times passes of growing size without a prompt, then what a longer context adds to them; medians
  /// count. A slow engine gets fewer rounds and fewer sizes: about `budget` is spent, and one pass
  /// over one token and one over two at least. `sizeMax`: the largest size, 32, or 128 for many
  /// sessions.
  package init(
    engine: InferenceEngine, sizeMax: Int = 32, roundCount: Int = 5, budget: Duration = .seconds(4)
  ) throws(EngineError) {
    // The longer context is there all the time.
    let blockMax = engine.pool.blockCount - BlockLayout.blocks(for: Self.attentionContext) - 1
    let sizes = Self.sizes.filter {
      $0 <= sizeMax && $0 < engine.contextLength
        && ($0 < Self.largeSize || BlockLayout.blocks(for: $0) <= blockMax)
    }
    guard !sizes.isEmpty else {
      costs = .assumed
      single = .zero
      return
    }
    let clock = ContinuousClock()
    let deadline = clock.now + budget
    let cache = try engine.makeCache()
    // The first round warms up; it counts where there is no time for another one.
    var rounds: [[Duration]] = []
    for round in 0...roundCount {
      var times: [Duration] = []
      let some = round <= Self.largeRounds ? sizes : sizes.filter { $0 < Self.largeSize }
      for size in some where times.count < 2 || clock.now < deadline {
        times.append(try Self.time(size, cache, engine: engine))
      }
      if round > 0, times.count < min(some.count, rounds[0].count) { break }
      rounds.append(times)
    }
    if rounds.count > 1 { rounds.removeFirst() }
    let medians = rounds[0].indices.map { size in
      Self.seconds(Self.median(rounds.filter { size < $0.count }.map { $0[size] }))
    }
    single = .seconds(medians[0])
    costs = VerifyCosts(
      relative: Self.interpolated(sizes, medians),
      attention: Float(
        try Self.attention(engine, short: cache, largest: medians, until: deadline) / medians[0]))
  }

  /// Seconds that a node's attention takes for each position; 0 where there is no time or no room
  /// to measure it.
  private static func attention(
    _ engine: InferenceEngine, short: KVCache, largest medians: [Double],
    until deadline: ContinuousClock.Instant
  ) throws(EngineError) -> Double {
    let stretch = 64
    let stretchCount = attentionContext / stretch
    // The largest of all sizes tells what a stretch of the context will take.
    let expected = (medians.last ?? 0) * Double(stretch * stretchCount / sizes[medians.count - 1])
    let clock = ContinuousClock()
    guard engine.contextLength > attentionContext * 2,
      clock.now + .seconds(expected) < deadline
    else { return 0 }
    let long = try engine.makeCache()
    for _ in 0..<stretchCount {
      try engine.forward(
        ForwardBatch(chain: tokens(stretch, engine: engine), logits: .none), cache: long)
      long.commit(Array(0..<stretch))
    }
    var differences: [Duration] = []
    repeat {
      let without = try time(attentionSize, short, engine: engine)
      differences.append(try time(attentionSize, long, engine: engine) - without)
    } while differences.count < 5 && clock.now < deadline
    return max(0, seconds(median(differences)) / Double(attentionSize * attentionContext))
  }

  private static func tokens(_ count: Int, engine: InferenceEngine) -> [TokenID] {
    let vocabulary = UInt32(engine.model.shape.vocabularyCount)
    return (0..<count).map { TokenID(UInt32($0 * 7 + 3) % vocabulary) }
  }

  /// Time of one verification.
  private static func time(
    _ size: Int, _ cache: KVCache, engine: InferenceEngine
  ) throws(EngineError) -> Duration {
    let batch = ForwardBatch(chain: tokens(size, engine: engine), logits: .all)
    let clock = ContinuousClock()
    let start = clock.now
    try engine.forward(batch, cache: cache)
    cache.dropScratch()
    return clock.now - start
  }

  /// What drafting with this engine costs beside a target that was measured too; a fifth of the
  /// target's time where it was not.
  func draft(for target: MeasuredCosts?, verify: VerifyCosts) -> DraftCosts {
    var unit: Float = 0.2
    if let target, target.single > .zero { unit = Float(single / target.single) }
    return DraftCosts(unit: unit, draft: costs, verify: verify)
  }

  /// The smaller one of two in the middle: other work on the machine only adds to times.
  private static func median(_ times: [Duration]) -> Duration {
    times.sorted()[(times.count - 1) / 2]
  }

  private static func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }

  /// The time of every size up to the largest measured one, straight lines between them.
  private static func interpolated(_ sizes: [Int], _ times: [Double]) -> [Float] {
    var all: [Float] = []
    for (index, size) in sizes.prefix(times.count).enumerated() {
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

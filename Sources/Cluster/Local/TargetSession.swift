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
  private static let prefillObserved = 256
  /// Largest logits of each row that the sources learn from.
  private static let observedCount = 16

  package private(set) var machine: VerifierSession
  private(set) var cache: KVCache
  /// Whether the keys and values of prompts are found again in other sessions.
  private let sharesPrefixes: Bool
  /// Positions of the prompt that were found.
  package private(set) var cachedCount = 0
  private let topCount: Int
  package private(set) var promptDuration = Duration.zero
  package private(set) var decodeDuration = Duration.zero

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

  /// Processes the next stretch of the prompt, all but its last token.
  package func prefill(engine: InferenceEngine, sources: inout LocalSources) throws(EngineError) {
    let clock = ContinuousClock()
    let start = clock.now
    let truth = machine.truth
    let first = cache.committedCount
    let last = min(truth.count - 1, first + Self.prefillChunk)
    let observes = sources.recycling != nil && last > truth.count - Self.prefillObserved
    let batch = ForwardBatch(chain: Array(truth[first..<last]), logits: observes ? .all : .none)
    try engine.forward(batch, cache: cache)
    cache.commit(Array(0..<last - first))
    if observes {
      let top = engine.topLogits(Self.observedCount)
      let width = top.count / (last - first)
      var context = TokenContext(endOf: Array(truth[max(0, first - 3)..<first]))
      for (row, position) in (first..<last).enumerated() {
        context.append(truth[position])
        sources.observe(
          context: context, top: top.span.extracting(row * width..<(row + 1) * width))
      }
    }
    // After the logits: what the prompt says next counts more than what the target thought.
    if !isPrefilling {
      sources.observe(prompt: truth)
      remember(engine)
    }
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
    var forward = ForwardBatch()
    forward.tokens = batch.tokens
    forward.parents = batch.parents
    forward.logitNodes = Array(batch.tokens.indices)
    try engine.forward(forward, cache: cache)
    let top = engine.topLogits(topCount)
    let outcome = engine.withLogits { logits in
      machine.conclude(
        batch, logits: logits, top: top.span, topCount: top.count / batch.count,
        sources: &sources)
    }
    cache.commit(outcome.acceptedPath)
    decodeDuration += clock.now - start
    if isFinished { remember(engine) }
    return outcome
  }

  /// Gives the memory of the keys and values back; they are computed again when the session goes
  /// on.
  package func releaseCache(engine: InferenceEngine) {
    cache = engine.prefixes.adopt(prompt: []).cache
  }

  private func remember(_ engine: InferenceEngine) {
    if sharesPrefixes { engine.prefixes.insert(cache, tokens: machine.truth) }
  }
}

/// Time of a verification by its size, measured on this machine.
package struct MeasuredCosts: Sendable {
  package let costs: VerifyCosts
  /// Median time of a pass over one token.
  package let single: Duration

  /// Costs that are known already.
  package init(costs: VerifyCosts, single: Duration) {
    self.costs = costs
    self.single = single
  }

  private static let sizes = [1, 2, 4, 6, 8, 12, 16, 24, 32]
  /// Size and context of the passes that tell what attention costs.
  private static let attentionSize = 8
  private static let attentionContext = 256

  /// Times passes of growing size without a prompt, then what a longer context adds to them; sizes
  /// take turns, medians count.
  package init(engine: InferenceEngine, roundCount: Int = 5) throws(EngineError) {
    let cache = try engine.makeCache()
    let sizes = Self.sizes.filter { $0 < engine.contextLength }
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

  /// What drafting with this engine costs beside a target that was measured too; a fifth of the
  /// target's time where it was not.
  func draft(for target: MeasuredCosts?, verify: VerifyCosts) -> DraftCosts {
    var unit: Float = 0.2
    if let target, target.single > .zero { unit = Float(single / target.single) }
    return DraftCosts(unit: unit, draft: costs, verify: verify)
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

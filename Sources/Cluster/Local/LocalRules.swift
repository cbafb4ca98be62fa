import Decoding
import Engine
import InferenceTypes

extension LocalGenerator {
  /// Generates under any rule but ``VerifyRule/gumbelMatch``.
  ///
  /// Where drafts decide about the text, nothing that was measured decides about the drafts: the
  /// same seed gives the same text again. So a draft model writes chains here.
  ///
  /// - Throws: ``DraftMethodError`` for methods that these rules have no use for.
  func generateByRule(
    _ configuration: VerifierSession.Configuration, onTokens: ([TokenID]) -> Void
  ) throws -> Result {
    if draftEngine != nil, vocabularies != nil {
      throw DraftMethodError.otherTokens(rule: configuration.rule.rule)
    }
    guard skipMemory == nil else {
      throw DraftMethodError.skipping(rule: configuration.rule.rule)
    }
    let target = try TargetSession(configuration, engine: engine)
    let costs = configuration.rule.isExact ? costs : .assumed
    var drafter = try draftEngine.map { engine in
      try RuleDrafter(configuration, truth: target.machine.truth, engine: engine)
    }
    let clock = ContinuousClock()
    while target.isPrefilling { try target.prefill(engine: engine, sources: &sources) }
    let start = clock.now
    while !target.isFinished {
      let drawn = try drafter?.draft(for: target, limit: nodeLimit)
      let outcome = try target.step(
        drawn: drawn, engine: engine, sources: &sources, costs: costs, limit: nodeLimit)
      drafter?.follow(outcome)
      onTokens(outcome.tokens)
    }
    return Result(target, decodeDuration: clock.now - start)
  }
}

extension TargetSession {
  /// Plans, evaluates and concludes one verification by the session's rule, which is not
  /// ``VerifyRule/gumbelMatch``.
  ///
  /// - Throws: ``EngineError`` where the pass fails, ``VerificationError`` where the rule cannot
  ///   judge `drawn`.
  func step(
    drawn: DraftTree?, origin: DraftOrigin = .model, engine: InferenceEngine,
    sources: inout LocalSources, costs: VerifyCosts, limit: Int
  ) throws -> VerifyOutcome {
    let clock = ContinuousClock()
    let start = clock.now
    let ruled = try machine.nextRuledBatch(
      drawn: drawn, origin: origin, sources: &sources,
      costs: costs.at(context: cache.committedCount), limit: min(limit, InferenceEngine.batchLimit))
    var forward = ForwardBatch()
    forward.tokens = ruled.batch.tokens
    forward.parents = ruled.batch.parents
    forward.logitNodes = Array(ruled.batch.tokens.indices)
    try engine.forward(forward, cache: cache)
    let top = engine.topLogits(topCount)
    let outcome = try engine.withLogits { logits in
      Swift::Result { () throws(VerificationError) in
        try machine.conclude(
          ruled, logits: logits, top: top.span, topCount: top.count / ruled.batch.count,
          sources: &sources)
      }
    }.get()
    cache.commit(outcome.acceptedPath)
    decodeDuration += clock.now - start
    if isFinished { remember(engine) }
    return outcome
  }
}

/// The draft model, in the form that a rule needs.
private enum RuleDrafter {
  /// The rule compares tokens.
  case tokens(LocalDrafter)
  /// The rule needs the law of every draw.
  case draws(LawDrafter)

  init(
    _ configuration: VerifierSession.Configuration, truth: [TokenID], engine: InferenceEngine
  ) throws {
    let rule = configuration.rule
    guard !rule.rule.demand.needsLaw else {
      self = .draws(
        LawDrafter(
          demand: rule.rule.demand, sampling: configuration.sampling,
          stopTokens: configuration.stopTokens, engine: engine, cache: try engine.makeCache()))
      return
    }
    self = .tokens(
      try LocalDrafter(
        DrafterSession.Configuration(
          truth: truth, sampling: rule.guessed(configuration.sampling),
          contextLength: engine.contextLength, vocabularyCount: configuration.vocabularyCount),
        stopTokens: configuration.stopTokens, plan: DraftPlan(shape: .chain), engine: engine))
  }

  /// Drafts below the target's truth; what the rule only compares goes straight into the session.
  mutating func draft(for target: TargetSession, limit: Int) throws -> DraftTree? {
    switch self {
    case .tokens(var drafter):
      // Chains are drafted token by token.
      var sources = LocalSources.none
      let update = try drafter.draft(sources: &sources)
      self = .tokens(drafter)
      if let update {
        target.receive(update.nodes, anchor: update.anchor, link: 0, origin: .model)
      }
      return nil
    case .draws(var drafter):
      let length = min(DraftPlan.chainLength, target.machine.draftDepthMax)
      let tree = try drafter.draft(below: target.machine.truth, length: length, limit: limit - 1)
      self = .draws(drafter)
      return tree
    }
  }

  mutating func follow(_ outcome: VerifyOutcome) {
    guard case .tokens(var drafter) = self else { return }
    drafter.follow(outcome.update(forLink: 0))
    self = .tokens(drafter)
  }
}

/// A draft model whose drafts come with the laws that they were drawn from.
struct LawDrafter {
  let demand: DraftDemand
  let sampling: SamplingParameters
  let stopTokens: [TokenID]
  let engine: InferenceEngine
  let cache: KVCache
  /// Tokens whose keys and values the cache holds.
  private var cached: [TokenID] = []
  /// Tokens of one pass over truth that the model has not seen yet.
  private static let prefillChunk = 64

  init(
    demand: DraftDemand, sampling: SamplingParameters, stopTokens: [TokenID],
    engine: InferenceEngine, cache: KVCache
  ) {
    self.demand = demand
    self.sampling = sampling
    self.stopTokens = stopTokens
    self.engine = engine
    self.cache = cache
  }

  /// Drafts a chain, with what the rule needs beside it.
  ///
  /// - Parameters:
  ///   - truth: what to draft below.
  ///   - length: most levels.
  ///   - limit: most drafts.
  ///   - shouldStop: asked before each pass: whether the drafts are of no use any more.
  /// - Returns: the drafts, none where the draft model's context is full; `nil` where it was stopped.
  /// - Throws: ``EngineError`` where a pass fails, ``DecodingError`` for unfit parameters.
  mutating func draft(
    below truth: [TokenID], length: Int, limit: Int, shouldStop: () -> Bool = { false }
  ) throws -> DraftTree? {
    let vocabulary = engine.model.shape.vocabularyCount
    var draws = try DraftDraws(
      demand, sampling: sampling, rootPosition: truth.count - 1, vocabularyCount: vocabulary)
    var tree = DraftTree(root: truth[truth.count - 1], draws: draws.siblingDraws)
    let levels = min(
      length, limit / draws.siblingCount, engine.contextLength + 1 - truth.count)
    guard levels > 0, !stopTokens.contains(truth[truth.count - 1]) else { return tree }
    var text = truth
    var node = 0
    for level in 1...levels {
      guard !shouldStop() else { return nil }
      try read(text)
      let recent = Array(text.suffix(draws.historyLength))
      node = try engine.withLogits { logits in
        Swift::Result { () throws(VerificationError) in
          try draws.draft(logits: logits, recent: recent.span, below: node, of: &tree)
        }
      }.get()
      // The chain depends on its own tokens only, never on what was drawn beside them.
      guard level < levels, !stopTokens.contains(tree.tokens[node]) else { break }
      text.append(tree.tokens[node])
    }
    return tree
  }

  /// Leaves the logits of the last token in the engine.
  private mutating func read(_ text: [TokenID]) throws(EngineError) {
    var common = 0
    while common < min(cached.count, text.count - 1), cached[common] == text[common] { common += 1 }
    cache.truncate(to: common)
    cached.removeLast(cached.count - common)
    while cached.count < text.count {
      let chunk = Array(text[cached.count..<min(text.count, cached.count + Self.prefillChunk)])
      let isLast = cached.count + chunk.count == text.count
      try engine.forward(
        ForwardBatch(chain: chunk, logits: isLast ? .last : .none), cache: cache)
      cache.commit(Array(chunk.indices))
      cached += chunk
    }
  }
}

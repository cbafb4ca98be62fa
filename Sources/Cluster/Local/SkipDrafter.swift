import Decoding
import Engine
import InferenceTypes

/// Which sublayers a target leaves out when it drafts for itself; learnt from its texts and kept for
/// the next one.
///
/// Looking costs two passes over the latest tokens for each candidate. They are saved up for, a few
/// percent of a pass with each step, so a text gets hardly slower where nothing is found.
struct SkipMemory: Sendable {
  /// Latest tokens that a candidate is measured on.
  private static let window = 32
  /// Saved with each step, and before the first one, in forward passes over one token.
  private static let allowance: Float = 0.04
  private static let credit: Float = 2

  private(set) var search: SkipSearch
  private let costs: VerifyCosts
  private var savings = credit

  init(shape: ModelShape, costs: VerifyCosts) {
    search = SkipSearch(layerCount: shape.layerCount)
    self.costs = costs
  }

  /// What a pass leaves out now.
  var skipped: SublayerSet { SublayerSet(search.best) }

  /// What drafting costs: a pass reads the weights of what it does not leave out.
  func draftCosts(_ shape: ModelShape) -> DraftCosts {
    let attention = shape.embeddingLength * 2 * (shape.queryLength + shape.keyValueLength)
    let feedForward = 3 * shape.embeddingLength * shape.feedForwardLength
    let output = shape.embeddingLength * shape.vocabularyCount
    let all = shape.layerCount * (attention + feedForward) + output
    let left = search.best.reduce(0) { $0 + ($1.isMultiple(of: 2) ? attention : feedForward) }
    return DraftCosts(unit: Float(all - left) / Float(all), draft: costs, verify: costs)
  }

  /// Compares the next candidate with the best set once there are savings for it.
  mutating func improve(
    _ target: TargetSession, engine: InferenceEngine, sampling: SamplingParameters
  ) throws(EngineError) {
    savings += Self.allowance
    let shape = engine.model.shape
    let cost = 2 * draftCosts(shape).draft(Self.window)
    guard !search.isFinished, savings >= cost else { return }
    let sets = [search.candidate(), search.best].map { SublayerSet($0) }
    guard
      let scores = try target.agreement(
        of: sets, window: Self.window, engine: engine, sampling: sampling)
    else { return }
    savings -= cost
    search.learn(score: scores[0], bestScore: scores[1])
  }
}

/// A target that drafts for itself without some of its sublayers. Its drafts stand beside the
/// committed positions of its own cache, and are gone before the verification.
///
/// - SeeAlso: Xia et al. 2024, arXiv:2410.06916 (SWIFT); departs from it in drafting trees whose size
///   the costs decide.
struct SkipDrafter {
  private static let depth = 16
  private static let width = 3
  private var tree: TreeDrafter

  /// - Throws: ``DecodingError`` for an unfit configuration; `nil` where the choice of tokens
  ///   remembers more than a tree can.
  init?(_ configuration: DrafterSession.Configuration, costs: DraftCosts) throws(DecodingError) {
    guard !configuration.sampling.usesMirostat else { return nil }
    var session = configuration
    session.window = Self.depth
    session.width = Self.width
    var own = TreeDrafter.Configuration(session)
    own.costs = costs
    own.runsAhead = false
    tree = try TreeDrafter(own)
    tree.restart(cachedCount: configuration.truth.count - 1)
  }

  /// What the costs allow, as one update.
  mutating func draft(
    _ target: TargetSession, engine: InferenceEngine, skipping skipped: SublayerSet
  ) throws(EngineError) -> DraftUpdate {
    var all = DraftUpdate(anchor: tree.truth.count, nodes: [])
    var sources = LocalSources.none
    while let forward = tree.nextForward(limit: InferenceEngine.batchLimit, sources: &sources) {
      all.nodes += try target.evaluateDraft(
        forward, &tree, engine: engine, skipping: skipped
      ).nodes
    }
    return all
  }

  mutating func follow(_ update: TruthUpdate) {
    guard case .gap = tree.receive(update) else {
      return tree.restart(cachedCount: tree.truth.count - 1)
    }
    preconditionFailure("truth from \(update.fromPosition) after \(tree.truth.count) tokens")
  }
}

extension TargetSession {
  /// Evaluates drafts of the target itself; nothing of them is committed.
  func evaluateDraft(
    _ forward: TreeDrafter.Forward, _ tree: inout TreeDrafter, engine: InferenceEngine,
    skipping skipped: SublayerSet
  ) throws(EngineError) -> DraftUpdate {
    precondition(forward.committed.isEmpty, "drafts of \(forward.committed.count) truth tokens")
    cache.commit([], keeping: forward.kept)
    var sources = LocalSources.none
    return try LocalDrafter.conclude(
      forward, &tree, engine: engine, cache: cache, skipping: skipped, sources: &sources
    ).update
  }

  /// For each set, the share of the latest `window` tokens that the target without it chooses.
  ///
  /// - Returns: `nil` where the text or the free memory is too small for that.
  func agreement(
    of sets: [SublayerSet], window: Int, engine: InferenceEngine, sampling: SamplingParameters
  ) throws(EngineError) -> [Double]? {
    let truth = machine.truth
    let end = cache.committedCount
    guard !isFinished, machine.generatedCount > window, end > window, end < truth.count,
      engine.pool.freeCount > BlockLayout.blocks(for: window) + 1
    else { return nil }
    let start = end - window
    let vocabulary = engine.model.shape.vocabularyCount
    // A copy of the sequence: what these passes write is theirs alone.
    let copy = cache.fork()
    copy.truncate(to: start)
    var scores: [Double] = []
    for set in sets {
      guard
        var chooser = try? TokenChooser(parameters: sampling, vocabularyCount: vocabulary)
      else { return nil }  // A session with these parameters could not have begun.
      var batch = ForwardBatch(chain: Array(truth[start..<end]), logits: .all)
      batch.skipped = set
      try engine.forward(batch, cache: copy)
      let hits = engine.withLogits { logits in
        (0..<window).count { row in
          let next = start + row + 1
          let recent = Array(truth[max(0, next - chooser.historyLength)..<next])
          return truth[next]
            == chooser.choose(
              logits: logits.extracting(row * vocabulary..<(row + 1) * vocabulary), top: Span(),
              recent: recent.span, position: next)
        }
      }
      scores.append(Double(hits) / Double(window))
    }
    return scores
  }
}

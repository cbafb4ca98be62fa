import Decoding
import Engine
import InferenceTypes

/// How a draft model is to draft.
struct DraftPlan: Sendable {
  /// Draft tokens of a chain before each verification in one process.
  static let chainLength = 4
  /// Largest depth of a tree.
  static let treeDepth = 16
  /// Most children of a node, and the least probable path that is sent: in one process and in
  /// rounds, of which all is verified, and in a stream, which the verifier chooses from. Text that
  /// leaves the tree costs a stream the time until the next drafts come, so that unlikely ones are
  /// worth sending.
  private static let roundWidth = (children: 4, floor: Float(0.004))
  private static let streamWidth = (children: 8, floor: Float(0.002))

  var shape: DraftShape
  var costs: DraftCosts
  /// Whether the verifier chooses from what it is sent.
  var isStream = false
  /// Whether the target verifies meanwhile.
  var runsAhead = true
  /// Tokens beyond the known truth; unless told, as many as pay.
  var window: Int?

  init(shape: DraftShape, costs: DraftCosts = .assumed) {
    self.shape = shape
    self.costs = costs
  }

  /// The machine that drafts: Mirostat's choices belong to a chain.
  func machine(_ configuration: DrafterSession.Configuration) throws(DecodingError)
    -> LocalDrafter.Machine
  {
    var session = configuration
    guard shape == .tree, !configuration.sampling.usesMirostat else {
      session.window = window ?? Self.chainLength
      session.width = 2
      return .chain(try DrafterSession(session))
    }
    session.window = window ?? Self.treeDepth
    let width = isStream ? Self.streamWidth : Self.roundWidth
    session.width = width.children
    var tree = TreeDrafter.Configuration(session)
    tree.sendFloor = width.floor
    tree.costs = costs
    tree.runsAhead = runsAhead
    return .tree(try TreeDrafter(tree))
  }
}

/// A draft model that drafts for one session.
struct LocalDrafter {
  enum Machine: Sendable {
    case chain(DrafterSession)
    case tree(TreeDrafter)
  }

  private var machine: Machine
  private let engine: InferenceEngine
  private let cache: KVCache
  /// Tokens of one pass over truth that the model has not seen yet.
  private static let prefillChunk = 64
  /// Largest logits of each row that guesses are taken from.
  private static let topCount = 64

  /// - Throws: ``DecodingError`` for an unfit configuration, ``EngineError`` without memory.
  init(
    _ configuration: DrafterSession.Configuration, stopTokens: [TokenID], plan: DraftPlan,
    engine: InferenceEngine
  ) throws {
    var configuration = configuration
    configuration.stopTokens = stopTokens
    machine = try plan.machine(configuration)
    cache = try engine.makeCache()
    self.engine = engine
  }

  // MARK: what a pacer reads and sets

  var isTree: Bool {
    if case .tree = machine { true } else { false }
  }

  /// Tokens of known truth.
  var truthCount: Int {
    switch machine {
    case .chain(let chain): chain.truth.count
    case .tree(let tree): tree.truth.count
    }
  }

  /// How good the guesses were.
  var acceptance: DraftAcceptance {
    switch machine {
    case .chain(let chain): chain.acceptance
    case .tree(let tree): tree.acceptance
    }
  }

  /// Tokens beyond the known truth; 0 rests.
  mutating func setWindow(_ window: Int) {
    switch machine {
    case .chain(var chain):
      chain.window = window
      machine = .chain(chain)
    case .tree(var tree):
      tree.window = window
      machine = .tree(tree)
    }
  }

  /// Guesses for each place of a chain; a tree decides by the probability of paths.
  mutating func setChainWidth(_ width: Int) {
    guard case .chain(var chain) = machine else { return }
    chain.width = width
    machine = .chain(chain)
  }

  /// What a tree's levels are sized by.
  mutating func setCosts(_ costs: DraftCosts) {
    guard case .tree(var tree) = machine else { return }
    tree.costs = costs
    machine = .tree(tree)
  }

  // MARK: drafting

  /// Takes truth, from wherever it comes.
  mutating func receive(_ update: TruthUpdate) -> DrafterSession.Reception {
    switch machine {
    case .chain(var chain):
      defer { machine = .chain(chain) }
      return chain.receive(update)
    case .tree(var tree):
      defer { machine = .tree(tree) }
      return tree.receive(update)
    }
  }

  /// Truth from the same process comes whole and in order.
  mutating func follow(_ update: TruthUpdate) {
    switch receive(update) {
    case .followed, .diverged: return
    case .gap(let truthCount):
      preconditionFailure("truth from \(update.fromPosition) after \(truthCount) tokens")
    case .malformed: preconditionFailure("truth from \(update.fromPosition) contradicts itself")
    }
  }

  /// Drafts until it has to wait for truth; the sources are those of ``advance(sources:stop:)``.
  ///
  /// - Returns: `nil` where it has to wait at once.
  mutating func draft(sources: inout LocalSources) throws(EngineError) -> DraftUpdate? {
    var all: DraftUpdate?
    while let update = try advance(sources: &sources, stop: { _ in nil })?.update {
      if all == nil { all = update } else { all?.nodes.append(contentsOf: update.nodes) }
    }
    return all
  }

  /// A pass that is about to run, with the state that it started from.
  enum Pass: Sendable {
    case chain(DrafterSession, DrafterSession.Forward)
    case tree(TreeDrafter, TreeDrafter.Forward)

    /// Whether truth on its way leaves the pass without use.
    func isVoid(after update: TruthUpdate) -> Bool {
      switch self {
      case .chain(let chain, let forward): chain.isVoid(forward, after: update)
      case .tree(let tree, let forward): tree.isVoid(forward, after: update)
      }
    }

    /// Tokens that it reads.
    var tokenCount: Int {
      switch self {
      case .chain(_, let forward): forward.tokens.count
      case .tree(_, let forward): forward.tokens.count
      }
    }
  }

  /// What became of a pass.
  struct Progress {
    /// What to send; without nodes where there is nothing.
    var update: DraftUpdate
    /// Tokens that the model read.
    var tokenCount: Int
    /// Steps by which the drafts grew: 0 or 1.
    var growth = 0
    /// Given up between two layers.
    var isAborted = false
  }

  /// One pass of the draft model, which stops between two layers as soon as it is of no use.
  ///
  /// - Parameters:
  ///   - sources: what the draft model said before; they learn from the pass.
  ///   - stop: makes the question that is asked before each layer; `nil` where nobody asks.
  /// - Returns: `nil` where the session waits for truth.
  /// - Throws: ``EngineError`` of the pass, after which it may be tried again.
  mutating func advance(
    sources: inout LocalSources, stop: (Pass) -> (@Sendable () -> Bool)?
  ) throws(EngineError) -> Progress? {
    guard let pass = begin(sources: &sources) else { return nil }
    return try run(pass, sources: &sources, shouldStop: stop(pass))
  }

  /// Begins a pass, which is then to be run or abandoned.
  ///
  /// - Returns: `nil` where the session waits for truth.
  mutating func begin(sources: inout LocalSources) -> Pass? {
    switch machine {
    case .chain(var chain):
      guard let forward = chain.nextForward(limit: Self.prefillChunk) else { return nil }
      machine = .chain(chain)
      cache.truncate(to: forward.firstPosition)
      return .chain(chain, forward)
    case .tree(var tree):
      guard let forward = tree.nextForward(limit: Self.prefillChunk, sources: &sources)
      else { return nil }
      machine = .tree(tree)
      cache.commit(forward.committed, keeping: forward.kept)
      return .tree(tree, forward)
    }
  }

  /// Gives up the pass that has begun.
  mutating func abandon() {
    switch machine {
    case .chain(var chain):
      chain.abandonForward()
      machine = .chain(chain)
    case .tree(var tree):
      tree.abandonForward()
      machine = .tree(tree)
    }
  }

  /// Runs the pass that has begun; see ``advance(sources:stop:)``.
  mutating func run(
    _ pass: Pass, sources: inout LocalSources, shouldStop: (@Sendable () -> Bool)? = nil
  ) throws(EngineError) -> Progress {
    switch (machine, pass) {
    case (.chain(var chain), .chain(_, let forward)):
      defer { machine = .chain(chain) }
      return try conclude(forward, &chain, shouldStop: shouldStop)
    case (.tree(var tree), .tree(_, let forward)):
      defer { machine = .tree(tree) }
      return try Self.conclude(
        forward, &tree, engine: engine, cache: cache, skipping: SublayerSet(),
        sources: &sources, shouldStop: shouldStop)
    case (.chain, .tree), (.tree, .chain): preconditionFailure("a pass of another drafter")
    }
  }

  private func conclude(
    _ forward: DrafterSession.Forward, _ chain: inout DrafterSession,
    shouldStop: (@Sendable () -> Bool)?
  ) throws(EngineError) -> Progress {
    let batch = ForwardBatch(
      chain: forward.tokens, logits: forward.needsLogits ? .last : .none)
    var progress = Progress(
      update: DraftUpdate(anchor: chain.truth.count, nodes: []), tokenCount: forward.tokens.count)
    do {
      progress.isAborted = try Self.run(
        batch, engine: engine, cache: cache, shouldStop: shouldStop)
    } catch {
      chain.abandonForward()
      throw error
    }
    guard !progress.isAborted else {
      chain.abandonForward()
      return progress
    }
    cache.commit(Array(forward.tokens.indices))
    let top = forward.needsLogits ? engine.topLogits(Self.topCount) : []
    let before = chain.chainCount
    progress.update = engine.withLogits { chain.conclude(forward, logits: $0, top: top.span) }
    progress.growth = chain.chainCount - before
    return progress
  }

  /// Evaluates nodes of a tree beside those that the cache keeps.
  static func conclude(
    _ forward: TreeDrafter.Forward, _ tree: inout TreeDrafter, engine: InferenceEngine,
    cache: KVCache, skipping skipped: SublayerSet, sources: inout LocalSources,
    shouldStop: (@Sendable () -> Bool)? = nil
  ) throws(EngineError) -> Progress {
    var batch = ForwardBatch()
    batch.tokens = forward.tokens
    batch.parents = forward.parents
    batch.logitNodes = forward.logitNodes
    batch.joinsScratch = true
    batch.skipped = skipped
    var progress = Progress(
      update: DraftUpdate(anchor: tree.truth.count, nodes: []), tokenCount: forward.tokens.count)
    do {
      progress.isAborted = try run(batch, engine: engine, cache: cache, shouldStop: shouldStop)
    } catch {
      tree.abandonForward()
      throw error
    }
    guard !progress.isAborted else {
      tree.abandonForward()
      return progress
    }
    let rows = forward.logitNodes.count
    let top = rows > 0 ? engine.topLogits(topCount) : []
    progress.update = engine.withLogits {
      tree.conclude(
        forward, logits: $0, top: top.span, topCount: rows > 0 ? top.count / rows : 0,
        sources: &sources)
    }
    progress.growth = progress.update.nodes.isEmpty ? 0 : 1
    return progress
  }

  /// - Returns: whether the pass was given up.
  private static func run(
    _ batch: ForwardBatch, engine: InferenceEngine, cache: KVCache,
    shouldStop: (@Sendable () -> Bool)?
  ) throws(EngineError) -> Bool {
    if let shouldStop {
      return try !engine.forward(batch, cache: cache, shouldStop: shouldStop)
    }
    try engine.forward(batch, cache: cache)
    return false
  }
}

import Decoding
import Engine
import InferenceTypes

/// How a draft model is to draft.
struct DraftPlan: Sendable {
  /// Draft tokens of a chain before each verification in one process.
  static let chainLength = 4
  /// Largest depth of a tree, and most children of a node.
  private static let treeDepth = 16
  private static let treeWidth = 4

  var shape: DraftShape
  var costs: DraftCosts
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
    session.width = Self.treeWidth
    var tree = TreeDrafter.Configuration(session)
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

  /// Tokens beyond the known truth.
  var window: Int {
    get {
      switch machine {
      case .chain(let chain): chain.window
      case .tree(let tree): tree.window
      }
    }
    set {
      switch machine {
      case .chain(var chain):
        chain.window = newValue
        machine = .chain(chain)
      case .tree(var tree):
        tree.window = newValue
        machine = .tree(tree)
      }
    }
  }

  /// Truth from the same process comes whole and in order.
  mutating func follow(_ update: TruthUpdate) {
    let reception: DrafterSession.Reception
    switch machine {
    case .chain(var chain):
      reception = chain.receive(update)
      machine = .chain(chain)
    case .tree(var tree):
      reception = tree.receive(update)
      machine = .tree(tree)
    }
    switch reception {
    case .followed, .diverged: return
    case .gap(let truthCount):
      preconditionFailure("truth from \(update.fromPosition) after \(truthCount) tokens")
    case .malformed: preconditionFailure("truth from \(update.fromPosition) contradicts itself")
    }
  }

  /// Drafts until it has to wait for truth.
  mutating func draft() throws(EngineError) -> DraftUpdate? {
    var all: DraftUpdate?
    while let update = try advance() {
      if all == nil { all = update } else { all?.nodes.append(contentsOf: update.nodes) }
    }
    return all
  }

  /// One pass of the draft model; `nil` where it waits for truth.
  mutating func advance() throws(EngineError) -> DraftUpdate? {
    switch machine {
    case .chain(var chain):
      defer { machine = .chain(chain) }
      return try advance(&chain)
    case .tree(var tree):
      defer { machine = .tree(tree) }
      guard let forward = tree.nextForward(limit: Self.prefillChunk) else { return nil }
      cache.commit(forward.committed, keeping: forward.kept)
      return try Self.conclude(
        forward, &tree, engine: engine, cache: cache, skipping: SublayerSet())
    }
  }

  private func advance(_ chain: inout DrafterSession) throws(EngineError) -> DraftUpdate? {
    guard let forward = chain.nextForward(limit: Self.prefillChunk) else { return nil }
    cache.truncate(to: forward.firstPosition)
    let batch = ForwardBatch(
      chain: forward.tokens, logits: forward.needsLogits ? .last : .none)
    do {
      try engine.forward(batch, cache: cache)
    } catch {
      chain.abandonForward()
      throw error
    }
    cache.commit(Array(forward.tokens.indices))
    let top = forward.needsLogits ? engine.topLogits(Self.topCount) : []
    return engine.withLogits { chain.conclude(forward, logits: $0, top: top.span) }
  }

  /// Evaluates nodes of a tree beside those that the cache keeps.
  static func conclude(
    _ forward: TreeDrafter.Forward, _ tree: inout TreeDrafter, engine: InferenceEngine,
    cache: KVCache, skipping skipped: SublayerSet
  ) throws(EngineError) -> DraftUpdate {
    var batch = ForwardBatch()
    batch.tokens = forward.tokens
    batch.parents = forward.parents
    batch.logitNodes = forward.logitNodes
    batch.joinsScratch = true
    batch.skipped = skipped
    do {
      try engine.forward(batch, cache: cache)
    } catch {
      tree.abandonForward()
      throw error
    }
    let rows = forward.logitNodes.count
    let top = rows > 0 ? engine.topLogits(topCount) : []
    return engine.withLogits {
      tree.conclude(forward, logits: $0, top: top.span, topCount: rows > 0 ? top.count / rows : 0)
    }
  }
}

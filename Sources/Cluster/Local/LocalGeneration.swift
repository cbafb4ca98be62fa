package import Decoding
package import Engine
package import InferenceTypes

/// Which drafts a process makes.
package struct DraftMethods: Sendable, Equatable {
  package var usesModel = false
  /// Training-free sources.
  package var sources: DraftSourceSet = []

  package init() {}

  private static let sourceNames: [(name: String, source: DraftSourceSet)] = [
    ("trigram", .trigram), ("recycle", .recycling), ("recycle-published", .recyclePublished),
    ("aded", .aded), ("copy", .copy), ("lookup", .lookup), ("ngram", .ngram), ("suffix", .suffix),
    ("prediction", .prediction),
  ]

  /// Names as in `--spec-type`.
  package static let names = ["none", "auto", "draft"] + sourceNames.map(\.name)

  /// - Parameters:
  ///   - list: names separated by commas.
  ///   - hasDraftModel: whether there is a draft model to use.
  /// - Throws: ``DraftMethodError``.
  package init(parsing list: String, hasDraftModel: Bool) throws(DraftMethodError) {
    let parts = list.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    for name in parts {
      switch name {
      case "none":
        guard parts.count == 1 else { throw .noneWithOthers(list) }
      case "auto":
        // Recycling sees all that trigrams, copies and suffixes of the text see; together they gain
        // nothing on real texts. A prediction costs nothing where there is none.
        sources.formUnion([.recycling, .prediction])
        usesModel = usesModel || hasDraftModel
      case "draft":
        guard hasDraftModel else { throw .noDraftModel }
        usesModel = true
      default:
        guard let known = Self.sourceNames.first(where: { $0.name == name }) else {
          throw .unknown(name, supported: Self.names)
        }
        sources.formUnion(known.source)
      }
    }
  }

  /// The training-free stores these methods need.
  package func makeSources(vocabularyCount: Int) -> LocalSources {
    LocalSources(sources, vocabularyCount: vocabularyCount)
  }

  /// Whether there are stores at all.
  package var usesSources: Bool { !sources.isEmpty }

  /// The names of what is in use; "none" where nothing is.
  package var list: [String] {
    let used =
      (usesModel ? ["draft"] : [])
      + Self.sourceNames.filter { sources.contains($0.source) }.map(\.name)
    return used.isEmpty ? ["none"] : used
  }
}

/// A list of draft methods that cannot be used.
package enum DraftMethodError: Error, Equatable, Sendable {
  case unknown(String, supported: [String])
  case noneWithOthers(String)
  case noDraftModel
}

extension DraftMethodError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unknown(let name, let supported):
      "unknown draft method \"\(name)\"; supported: \(supported.joined(separator: ", ")), "
        + "and lists of them separated by commas"
    case .noneWithOthers(let list):
      "\"none\" excludes every other draft method, found \"\(list)\""
    case .noDraftModel:
      "the draft method \"draft\" needs a draft model: name one with -md FILE"
    }
  }
}

/// Generates text on one machine, in one process: the target, training-free sources, and a draft
/// model if there is one. The token ids are those of decoding without drafts, unless the session asks
/// for a rule that says otherwise.
package final class LocalGenerator {
  let engine: InferenceEngine
  let draftEngine: InferenceEngine?
  /// What the texts so far have taught.
  package internal(set) var sources: LocalSources
  let costs: VerifyCosts
  /// Draft tokens of a draft model before each verification.
  static let draftLength = 4
  /// Largest batch the planner may choose.
  let nodeLimit: Int

  /// Measures the costs of `engine`, the target's, where they are not known and drafts make them
  /// matter. The vocabulary of `draftEngine` is the target's; `nodeLimit` is the most nodes of a
  /// verification; `sources` are those of `methods` where something has taught them already.
  package init(
    engine: InferenceEngine, draftEngine: InferenceEngine?, methods: DraftMethods,
    nodeLimit: Int = 32, costs: MeasuredCosts? = nil, sources: LocalSources? = nil
  ) throws(EngineError) {
    self.engine = engine
    self.draftEngine = methods.usesModel ? draftEngine : nil
    self.nodeLimit = methods.list == ["none"] ? 1 : nodeLimit
    if let costs {
      self.costs = costs.costs
    } else if self.nodeLimit > 1 {
      self.costs = try MeasuredCosts(engine: engine).costs
    } else {
      self.costs = .assumed
    }
    self.sources =
      sources ?? methods.makeSources(vocabularyCount: engine.model.shape.vocabularyCount)
  }

  /// What a generation produced.
  package struct Result: Sendable {
    package var tokens: [TokenID] = []
    package var finishReason = FinishReason.length
    package var promptDuration = Duration.zero
    package var decodeDuration = Duration.zero
    package var statistics = DraftStatistics()
    /// Drafts that owe their acceptance to a lossy rule.
    package var relaxedCount = 0

    package init() {}
  }

  /// Generates to the end; `onTokens` is called with the tokens of each step as they are decided.
  package func generate(
    _ configuration: VerifierSession.Configuration, onTokens: ([TokenID]) -> Void = { _ in }
  ) throws -> Result {
    guard configuration.rule == .standard else {
      return try generateByRule(configuration, onTokens: onTokens)
    }
    let target = try TargetSession(configuration, engine: engine)
    var drafter = try draftEngine.map { engine in
      try LocalDrafter(
        DrafterSession.Configuration(
          truth: target.machine.truth, sampling: configuration.sampling,
          contextLength: engine.contextLength, vocabularyCount: configuration.vocabularyCount),
        stopTokens: configuration.stopTokens, window: Self.draftLength, engine: engine)
    }
    let clock = ContinuousClock()
    while target.isPrefilling { try target.prefill(engine: engine, sources: &sources) }
    let start = clock.now
    while !target.isFinished {
      if let update = try drafter?.draft() {
        target.receive(update.nodes, anchor: update.anchor, link: 0, origin: .model)
      }
      let outcome = try target.step(
        engine: engine, sources: &sources, costs: costs, limit: nodeLimit)
      drafter?.follow(outcome.update(forLink: 0))
      onTokens(outcome.tokens)
    }
    return Result(target, decodeDuration: clock.now - start)
  }
}

extension LocalGenerator.Result {
  /// Of a session that is finished.
  init(_ target: TargetSession, decodeDuration: Duration) {
    tokens = Array(target.machine.truth.dropFirst(target.machine.promptCount))
    finishReason = target.machine.finish ?? .length
    promptDuration = target.promptDuration
    self.decodeDuration = decodeDuration
    statistics = target.machine.statistics
    relaxedCount = target.machine.relaxedCount
  }
}

/// A draft model that drafts for one session.
struct LocalDrafter {
  private var machine: DrafterSession
  private let engine: InferenceEngine
  private let cache: KVCache
  /// Tokens of one pass over truth that the model has not seen yet.
  private static let prefillChunk = 64

  init(
    _ configuration: DrafterSession.Configuration, stopTokens: [TokenID], window: Int,
    engine: InferenceEngine
  ) throws {
    var configuration = configuration
    configuration.stopTokens = stopTokens
    configuration.window = window
    configuration.width = 2
    machine = try DrafterSession(configuration)
    cache = try engine.makeCache()
    self.engine = engine
  }

  /// Where the known truth ends.
  var truth: [TokenID] { machine.truth }

  var window: Int {
    get { machine.window }
    set { machine.window = newValue }
  }

  /// Guesses for each place.
  var width: Int {
    get { machine.width }
    set { machine.width = newValue }
  }

  var acceptance: DraftAcceptance { machine.acceptance }
  /// Draft tokens beyond the known truth.
  var chainCount: Int { machine.chainCount }

  /// Truth from the same process comes whole and in order.
  mutating func follow(_ update: TruthUpdate) {
    switch machine.receive(update) {
    case .followed, .diverged: return
    case .gap(let truthCount):
      preconditionFailure("truth from \(update.fromPosition) after \(truthCount) tokens")
    case .malformed: preconditionFailure("truth from \(update.fromPosition) contradicts itself")
    }
  }

  /// Fills the window, one pass for each token.
  mutating func draft() throws(EngineError) -> DraftUpdate {
    var all = DraftUpdate(anchor: machine.truth.count, nodes: [])
    while let update = try advance() { all.nodes.append(contentsOf: update.nodes) }
    return all
  }

  /// One pass of the draft model; `nil` where it waits for truth.
  mutating func advance() throws(EngineError) -> DraftUpdate? {
    try advance { _, _ in nil }?.update
  }

  /// What became of a pass.
  struct Progress {
    /// What to send; without nodes where there is nothing.
    var update: DraftUpdate
    /// Given up between two layers.
    var isAborted = false
  }

  /// One pass of the draft model, which stops between two layers as soon as it is of no use.
  ///
  /// - Parameter stop: makes the question that is asked before each layer, from the state of the
  ///   session and the pass; `nil` where nobody asks.
  /// - Returns: `nil` where the session waits for truth.
  /// - Throws: ``EngineError`` of the pass, after which it may be tried again.
  mutating func advance(
    stop: (DrafterSession, DrafterSession.Forward) -> (@Sendable () -> Bool)?
  ) throws(EngineError) -> Progress? {
    guard let forward = machine.nextForward(limit: Self.prefillChunk) else { return nil }
    cache.truncate(to: forward.firstPosition)
    let batch = ForwardBatch(
      chain: forward.tokens, logits: forward.needsLogits ? .last : .none)
    do {
      if let shouldStop = stop(machine, forward) {
        guard try engine.forward(batch, cache: cache, shouldStop: shouldStop) else {
          machine.abandonForward()
          return Progress(
            update: DraftUpdate(anchor: machine.truth.count, nodes: []), isAborted: true)
        }
      } else {
        try engine.forward(batch, cache: cache)
      }
    } catch {
      machine.abandonForward()
      throw error
    }
    cache.commit(Array(forward.tokens.indices))
    let top = forward.needsLogits ? engine.topLogits(64) : []
    return Progress(
      update: engine.withLogits { machine.conclude(forward, logits: $0, top: top.span) })
  }
}

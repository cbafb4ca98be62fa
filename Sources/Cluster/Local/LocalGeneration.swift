package import Decoding
package import Engine
package import InferenceTypes

/// Which drafts a process makes.
package struct DraftMethods: Sendable, Equatable {
  package var usesModel = false
  /// What a draft model writes.
  package var shape = DraftShape.tree
  /// Whether the target drafts for itself without some of its sublayers.
  package var usesSkipping = false
  /// Training-free sources.
  package var sources: DraftSourceSet = []

  package init() {}

  private static let sourceNames: [(name: String, source: DraftSourceSet)] = [
    ("trigram", .trigram), ("recycle", .recycling), ("recycle-published", .recyclePublished),
    ("aded", .aded), ("copy", .copy), ("lookup", .lookup), ("ngram", .ngram), ("suffix", .suffix),
    ("prediction", .prediction),
  ]

  /// The names of drafts of a draft model.
  package static let modelNames = ["draft", "draft-chain"]

  /// Names as in `--spec-type`.
  package static let names =
    ["none", "auto"] + modelNames + ["skip"] + sourceNames.map(\.name)

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
      case "draft", "draft-chain":
        guard hasDraftModel else { throw .noDraftModel(name) }
        let shape = name == "draft" ? DraftShape.tree : .chain
        guard !parts.contains("draft") || !parts.contains("draft-chain") else {
          throw .twoShapes(list)
        }
        usesModel = true
        self.shape = shape
      case "skip": usesSkipping = true
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

  /// The sources that foresee what a draft model guesses; none where it drafts no trees.
  package var foresight: DraftSourceSet { usesModel && shape == .tree ? .recycling : [] }

  /// Whether there are stores at all.
  package var usesSources: Bool { !sources.isEmpty }

  /// The names of what is in use; "none" where nothing is.
  package var list: [String] {
    let draft = shape == .tree ? "draft" : "draft-chain"
    let used =
      (usesModel ? [draft] : []) + (usesSkipping ? ["skip"] : [])
      + Self.sourceNames.filter { sources.contains($0.source) }.map(\.name)
    return used.isEmpty ? ["none"] : used
  }
}

/// What a draft model writes.
package enum DraftShape: Sendable, Equatable {
  /// The most probable paths, level by level.
  case tree
  /// The most probable path, with a leaf beside each of its tokens.
  case chain
}

/// A list of draft methods that cannot be used.
package enum DraftMethodError: Error, Equatable, Sendable {
  case unknown(String, supported: [String])
  case noneWithOthers(String)
  case noDraftModel(String)
  case twoShapes(String)
  /// A draft model with another tokenizer, under a rule that compares the draws of both models.
  case otherTokens(rule: VerifyRule)
  case skipping(rule: VerifyRule)
}

extension DraftMethodError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unknown(let name, let supported):
      "unknown draft method \"\(name)\"; supported: \(supported.joined(separator: ", ")), "
        + "and lists of them separated by commas"
    case .noneWithOthers(let list):
      "\"none\" excludes every other draft method, found \"\(list)\""
    case .noDraftModel(let name):
      "the draft method \"\(name)\" needs a draft model: name one with -md FILE"
    case .twoShapes(let list):
      "a draft model writes either trees (\"draft\") or chains (\"draft-chain\"), found \"\(list)\""
    case .otherTokens(let rule):
      "the verify rule \(rule.rawValue) needs a draft model with the tokenizer of the target; "
        + "gumbel-match takes others"
    case .skipping(let rule):
      "the draft method \"skip\" goes together with the verify rule gumbel-match, found "
        + rule.rawValue
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
  private let plan: DraftPlan
  /// Between the target and a draft model of another family; `nil` where they share their tokens.
  let vocabularies: Retokenizer?
  /// What the target leaves out when it drafts for itself; `nil` where it does not.
  private(set) var skipMemory: SkipMemory?
  /// What the draft model said so far, where it drafts trees.
  private var draftSources = LocalSources.none
  /// Largest batch the planner may choose.
  let nodeLimit: Int

  /// Measures the costs of `engine`, the target's, where they are not known and drafts make them
  /// matter; `draftCosts` are those of `draftEngine`. Its vocabulary is the target's unless
  /// `vocabularies` leads from one to the other. `nodeLimit` is the most nodes of a verification;
  /// `sources` are those of `methods` where something has taught them already.
  package init(
    engine: InferenceEngine, draftEngine: InferenceEngine?, methods: DraftMethods,
    nodeLimit: Int = 32, costs: MeasuredCosts? = nil, draftCosts: MeasuredCosts? = nil,
    vocabularies: Retokenizer? = nil, sources: LocalSources? = nil
  ) throws(EngineError) {
    self.engine = engine
    self.draftEngine = methods.usesModel ? draftEngine : nil
    self.nodeLimit = methods.list == ["none"] ? 1 : nodeLimit
    var measured = costs
    if measured == nil, self.nodeLimit > 1 { measured = try MeasuredCosts(engine: engine) }
    self.costs = measured?.costs ?? .assumed
    var plan = DraftPlan(shape: methods.shape, costs: DraftCosts(unit: 0.2, verify: self.costs))
    if let draftEngine = self.draftEngine, methods.shape == .tree || vocabularies != nil {
      var own = draftCosts
      if own == nil { own = try MeasuredCosts(engine: draftEngine, roundCount: 2) }
      plan.costs = own?.draft(for: measured, verify: self.costs) ?? plan.costs
    }
    self.vocabularies = vocabularies
    plan.runsAhead = false
    self.plan = plan
    if let draftEngine = self.draftEngine, vocabularies == nil {
      draftSources = LocalSources(
        methods.foresight, vocabularyCount: draftEngine.model.shape.vocabularyCount)
    }
    if methods.usesSkipping {
      skipMemory = SkipMemory(shape: engine.model.shape, costs: self.costs)
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
    var drafter: LocalDrafter?
    var foreign: ForeignDrafter?
    if let engine = draftEngine, let vocabularies {
      foreign = try ForeignDrafter(
        truth: target.machine.truth, vocabularies: vocabularies, costs: plan.costs, engine: engine)
    } else if let engine = draftEngine {
      drafter = try LocalDrafter(
        DrafterSession.Configuration(
          truth: target.machine.truth, sampling: configuration.sampling,
          contextLength: engine.contextLength, vocabularyCount: configuration.vocabularyCount),
        stopTokens: configuration.stopTokens, plan: plan, engine: engine)
      draftSources.observe(prompt: target.machine.truth)
    }
    var skipper = try skipDrafter(configuration, truth: target.machine.truth)
    let clock = ContinuousClock()
    while target.isPrefilling { try target.prefill(engine: engine, sources: &sources) }
    let start = clock.now
    while !target.isFinished {
      let drafted = try drafter?.draft(sources: &draftSources)
      let written = try foreign?.draft()
      if let update = drafted ?? written {
        target.receive(update.nodes, anchor: update.anchor, link: 0, origin: .model)
      }
      if let skipped = skipMemory?.skipped,
        let update = try skipper?.draft(target, engine: engine, skipping: skipped)
      {
        target.receive(update.nodes, anchor: update.anchor, link: 1, origin: .model)
      }
      let outcome = try target.step(
        engine: engine, sources: &sources, costs: costs, limit: nodeLimit)
      drafter?.follow(outcome.update(forLink: 0))
      foreign?.follow(outcome.update(forLink: 0))
      if skipper != nil {
        skipper?.follow(outcome.update(forLink: 1))
        try skipMemory?.improve(target, engine: engine, sampling: configuration.sampling)
      }
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

extension LocalGenerator {
  private func skipDrafter(
    _ configuration: VerifierSession.Configuration, truth: [TokenID]
  ) throws -> SkipDrafter? {
    guard let skipMemory, !skipMemory.search.best.isEmpty else { return nil }
    var own = DrafterSession.Configuration(
      truth: truth, sampling: configuration.sampling, contextLength: configuration.contextLength,
      vocabularyCount: configuration.vocabularyCount)
    own.stopTokens = configuration.stopTokens
    return try SkipDrafter(own, costs: skipMemory.draftCosts(engine.model.shape))
  }
}

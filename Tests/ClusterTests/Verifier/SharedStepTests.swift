import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import TestSupport
import Testing
import Tokenizer

/// The default model with several sessions at once.
@Suite struct SharedStepTests {
  /// A model, and what its texts are alone.
  private struct Stage {
    let engine: InferenceEngine
    let tokenizer: BytePairTokenizer
    let costs: MeasuredCosts

    init(blockCount: Int? = nil) throws {
      let file = try GGUFFile(path: TestFiles.modelPath())
      tokenizer = try BytePairTokenizer(file: file)
      let model = try Model(file: file)
      let layout = BlockLayout(
        layerCount: model.shape.layerCount, headCount: model.shape.keyValueHeadCount,
        headLength: model.shape.headLength, types: model.backend.defaultCacheTypes)
      engine = try InferenceEngine(
        model: model, threadCount: 1, contextLength: 256,
        keyValueMemoryBytes: blockCount.map { $0 * layout.blockBytes })
      costs = try MeasuredCosts(engine: engine, roundCount: 1)
    }

    /// Prompts of different lengths, greedy and sampled, with different limits.
    func configurations(_ count: Int, tokenLimit: Int) -> [VerifierSession.Configuration] {
      let sentence = "The keeper of the lighthouse wrote down the wind, the tide and the ships. "
      return (0..<count).map { index in
        let text = String(repeating: sentence, count: 1 + index * 3 % 7) + "On day \(index) it"
        var configuration = VerifierSession.Configuration(
          prompt: tokenizer.encode(text, parseSpecial: false), sampling: SamplingParameters(),
          contextLength: engine.contextLength,
          vocabularyCount: engine.model.shape.vocabularyCount)
        configuration.sampling.temperature = index % 2 == 0 ? 0 : 0.8
        configuration.sampling.seed = UInt64(index)
        configuration.tokenLimit = tokenLimit + 3 * index
        configuration.stopTokens = tokenizer.endOfGeneration
        return configuration
      }
    }

    /// Decoding without drafts, one session after the other.
    func plain(_ configurations: [VerifierSession.Configuration]) throws -> [[TokenID]] {
      let none = try DraftMethods(parsing: "none", hasDraftModel: false)
      let generator = try LocalGenerator(engine: engine, draftEngine: nil, methods: none)
      return try configurations.map { try generator.generate($0).tokens }
    }
  }

  /// Runs sessions to their ends; each `stagger` steps one more joins.
  private func run(
    _ configurations: [VerifierSession.Configuration], stage: Stage, methods: String,
    stagger: Int, onStep: (SharedStep.Result, Int) -> Void = { _, _ in }
  ) throws -> (targets: [TargetSession], statistics: StepStatistics) {
    let methods = try DraftMethods(parsing: methods, hasDraftModel: false)
    var sources = OneForAll(
      methods.makeSources(vocabularyCount: stage.engine.model.shape.vocabularyCount))
    var shared = SharedStep(costs: stage.costs, nodeLimit: methods.list == ["none"] ? 1 : 32)
    var targets: [TargetSession] = []
    var step = 0
    while targets.count < configurations.count || targets.contains(where: { !$0.isFinished }) {
      while targets.count < min(configurations.count, 1 + step / max(1, stagger))
        || (stagger == 0 && targets.count < configurations.count)
      {
        targets.append(
          try TargetSession(
            configurations[targets.count], engine: stage.engine, sharesPrefixes: true))
      }
      step += 1
      let running = targets.filter { !$0.isFinished }
      guard !running.isEmpty else { continue }
      onStep(
        try shared.run(
          running.map { SharedStep.Member($0) }, engine: stage.engine, sources: &sources),
        running.count)
    }
    return (targets, shared.statistics)
  }

  private func text(_ target: TargetSession) -> [TokenID] {
    Array(target.machine.truth.dropFirst(target.machine.promptCount))
  }

  @Test(arguments: ["none", "auto"])
  func eightSessionsAtOnceWriteWhatEachWritesAlone(methods: String) throws {
    let stage = try Stage()
    let configurations = stage.configurations(8, tokenLimit: 20)
    let expected = try stage.plain(configurations)
    for stagger in [0, 3] {
      var mixedCount = 0
      var sharedCount = 0
      let (targets, statistics) = try run(
        configurations, stage: stage, methods: methods, stagger: stagger
      ) { result, _ in
        if result.report.prefillCount > 0, result.report.sessionCount > 0 { mixedCount += 1 }
        if result.report.sessionCount > 4 { sharedCount += 1 }
        // Everybody who decodes decides a token in every pass.
        #expect(result.outcomes.count == result.report.sessionCount)
        #expect(result.outcomes.allSatisfy { !$0.outcome.tokens.isEmpty })
        #expect(result.report.duration > .zero && result.report.expectedDuration > .zero)
        #expect(result.report.expectedTokenCount >= Float(result.report.sessionCount))
      }
      for (index, target) in targets.enumerated() {
        #expect(text(target) == expected[index], "session \(index), stagger \(stagger)")
        #expect(target.decodeDuration > .zero && target.promptDuration > .zero)
      }
      #expect(mixedCount > 0 && sharedCount > 0)
      let tokenCount = expected.reduce(0) { $0 + $1.count }
      #expect(statistics.tokenCount == tokenCount)
      #expect((statistics.draftCount > 0) == (methods != "none"))
      #expect(statistics.stepCount < tokenCount / 2, "passes are shared")
      let verified = targets.reduce(0) { $0 + $1.machine.statistics.verifiedCount }
      #expect(statistics.draftCount == verified)
    }
  }

  /// With drafts a prompt takes what it takes without: its logits are not computed.
  @Test func promptsAreReadWithoutLogits() throws {
    let stage = try Stage()
    let configuration = try #require(stage.configurations(3, tokenLimit: 4).last)
    var sources = LocalSources(vocabularyCount: stage.engine.model.shape.vocabularyCount)
    let target = try TargetSession(configuration, engine: stage.engine)
    var passCount = 0
    while target.isPrefilling {
      try target.prefill(engine: stage.engine, sources: &sources)
      #expect(stage.engine.topLogits(1).isEmpty)
      passCount += 1
    }
    #expect(passCount > 0)
  }

  /// A session that cannot have memory is named, and all go on unharmed when there is some again.
  @Test func aPassWithoutMemoryChangesNoText() throws {
    let stage = try Stage(blockCount: 24)
    let configurations = stage.configurations(6, tokenLimit: 30)
    let expected = try stage.plain(configurations)
    stage.engine.prefixes.removeAll()
    var sources = OneForAll(.none)
    var shared = SharedStep(costs: stage.costs, nodeLimit: 8)
    let targets = try configurations.map { try TargetSession($0, engine: stage.engine) }
    var waiting: Set<Int> = []
    var failureCount = 0
    while targets.contains(where: { !$0.isFinished }) {
      var running = targets.indices.filter { !targets[$0].isFinished && !waiting.contains($0) }
      if running.isEmpty {
        waiting.removeAll()
        running = targets.indices.filter { !targets[$0].isFinished }
      }
      do {
        let result = try shared.run(
          running.map { SharedStep.Member(targets[$0]) }, engine: stage.engine, sources: &sources)
        if result.outcomes.contains(where: { $0.outcome.finish != nil }) {
          for target in targets where target.isFinished {
            target.releaseCache(engine: stage.engine)
          }
          waiting.removeAll()
        }
      } catch let failure {
        guard case .keyValueMemoryFull = failure.error else { throw failure }
        #expect(running.indices.contains(failure.part))
        let youngest = try #require(running.count > 1 ? running.last : nil)
        targets[youngest].releaseCache(engine: stage.engine)
        waiting.insert(youngest)
        failureCount += 1
      }
    }
    #expect(failureCount > 0)
    for (index, target) in targets.enumerated() {
      #expect(text(target) == expected[index], "session \(index)")
    }
  }

  /// More sessions than a pass has room for take turns.
  @Test func moreSessionsThanRowsTakeTurns() throws {
    let stage = try Stage()
    var configuration = stage.configurations(1, tokenLimit: 6)[0]
    configuration.prompt = Array(configuration.prompt.prefix(3))
    let expected = try stage.plain([configuration])[0]
    let count = InferenceEngine.batchLimit + 9
    let all = [VerifierSession.Configuration](repeating: configuration, count: count)
    let (targets, _) = try run(all, stage: stage, methods: "none", stagger: 0) { result, _ in
      #expect(result.report.sessionCount <= InferenceEngine.batchLimit)
    }
    #expect(targets.count == count)
    #expect(targets.allSatisfy { text($0) == expected })
  }
}

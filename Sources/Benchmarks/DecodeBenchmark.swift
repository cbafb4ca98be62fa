package import Cluster
package import Decoding
package import Engine
package import InferenceTypes

/// Decoding with drafts against decoding without, prompt by prompt, in turns.
package struct DecodeBenchmark {
  /// One prompt of a benchmark.
  package struct Prompt: Sendable {
    package let id: Int
    package let category: String
    package let tokens: [TokenID]

    package init(id: Int, category: String, tokens: [TokenID]) {
      self.id = id
      self.category = category
      self.tokens = tokens
    }
  }

  /// A method, the rule that judges its drafts, and the name of both.
  package struct Method: Sendable {
    package let name: String
    package let drafts: DraftMethods
    package let rule: RuleChoice
    /// What every generation starts with; `nil` for empty stores.
    package let sources: LocalSources?

    package init(
      name: String, drafts: DraftMethods, rule: RuleChoice = .standard, sources: LocalSources? = nil
    ) {
      self.name = name
      self.drafts = drafts
      self.rule = rule
      self.sources = sources
    }

    /// The rule whose text without drafts this method must write at this temperature; `nil` where
    /// drafts may lead to another text.
    fileprivate func plainRule(temperature: Float) -> RuleChoice? {
      if rule.isExact { return rule }
      return temperature == 0 && rule.rule.isLossless ? .standard : nil
    }
  }

  /// One method on one prompt beside plain decoding of the same prompt.
  package struct Row: Sendable {
    package let prompt: Int
    package let category: String
    package let method: String
    package let rule: VerifyRule
    package let tokenCount: Int
    package let tokensPerSecond: Double
    package let plainTokensPerSecond: Double
    package let tokensPerStep: Double
    package let draftTokenCount: Int
    package let acceptedTokenCount: Int
    /// Those that only a lossy rule lets pass.
    package let relaxedTokenCount: Int
    /// Of the latest turn, as the two counts above.
    package let acceptance: AcceptanceCounts
    /// The planner's expectation of tokens over those that came, less 1.
    package let plannerError: Double
    /// See ``speedupSpread(_:plain:)``.
    package let spread: Double
    package var speedup: Double { tokensPerSecond / plainTokensPerSecond }
  }

  /// A method wrote other tokens than plain decoding.
  package struct Mismatch: Error, CustomStringConvertible {
    package let prompt: Int
    package let method: String
    package var description: String {
      "prompt \(prompt): \"\(method)\" and plain decoding wrote different tokens"
    }
  }

  let engine: InferenceEngine
  private let draftEngine: InferenceEngine?
  let costs: MeasuredCosts
  private let draftCosts: MeasuredCosts?

  package init(engine: InferenceEngine, draftEngine: InferenceEngine?) throws(EngineError) {
    self.engine = engine
    self.draftEngine = draftEngine
    costs = try MeasuredCosts(engine: engine, sizeMax: 128, roundCount: 7)
    var draftCosts: MeasuredCosts?
    if let draftEngine { draftCosts = try MeasuredCosts(engine: draftEngine, roundCount: 7) }
    self.draftCosts = draftCosts
  }

  /// Each prompt is decoded plainly and with every method, `roundCount` times in turns; times are
  /// medians. Every generation starts with the same stores, see ``Method/sources``.
  ///
  /// - Throws: ``Mismatch`` where the token ids differ and the rule says that they must not.
  package func run(
    _ prompts: [Prompt], methods: [Method], sampling: SamplingParameters, tokenLimit: Int?,
    stopTokens: [TokenID], roundCount: Int, progress: (Row) -> Void = { _ in }
  ) throws -> [Row] {
    var rows: [Row] = []
    let none = try DraftMethods(parsing: "none", hasDraftModel: false)
    for prompt in prompts {
      var configuration = prompt.configuration(
        engine, sampling: sampling, tokenLimit: tokenLimit, stopTokens: stopTokens)
      var plainTimes: [Double] = []
      var times = [[Double]](repeating: [], count: methods.count)
      var results = [LocalGenerator.Result](repeating: .init(), count: methods.count)
      for _ in 0..<roundCount {
        let plain = try generate(configuration, drafts: none)
        plainTimes.append(seconds(plain.decodeDuration) / Double(max(1, plain.tokens.count)))
        var matched: [TokenID]?
        for (index, method) in methods.enumerated() {
          configuration.rule = method.rule
          results[index] = try generate(
            configuration, drafts: method.drafts, sources: method.sources)
          times[index].append(seconds(results[index].decodeDuration))
          guard let rule = method.plainRule(temperature: sampling.temperature) else { continue }
          if rule != .standard, matched == nil {
            matched = try generate(configuration, drafts: none).tokens
          }
          guard results[index].tokens == (rule == .standard ? plain.tokens : matched) else {
            throw Mismatch(prompt: prompt.id, method: method.name)
          }
        }
        configuration.rule = .standard
      }
      for (index, method) in methods.enumerated() {
        let statistics = results[index].statistics
        let count = results[index].tokens.count
        let row = Row(
          prompt: prompt.id, category: prompt.category, method: method.name,
          rule: method.rule.rule, tokenCount: count,
          tokensPerSecond: Double(count) / median(times[index]),
          plainTokensPerSecond: 1 / median(plainTimes),
          tokensPerStep: Double(statistics.emittedCount) / Double(max(1, statistics.stepCount)),
          draftTokenCount: statistics.verifiedCount, acceptedTokenCount: statistics.acceptedCount,
          relaxedTokenCount: results[index].relaxedCount,
          acceptance: AcceptanceCounts(statistics),
          plannerError: statistics.expectedCount / Double(max(1, statistics.emittedCount)) - 1,
          spread: speedupSpread(
            times[index].map { Double(count) / $0 }, plain: plainTimes.map { 1 / $0 }))
        rows.append(row)
        progress(row)
      }
    }
    return rows
  }

  private func generate(
    _ configuration: VerifierSession.Configuration, drafts: DraftMethods,
    sources: LocalSources? = nil
  ) throws -> LocalGenerator.Result {
    try LocalGenerator(
      engine: engine, draftEngine: draftEngine, methods: drafts, costs: costs,
      draftCosts: draftCosts, sources: sources
    ).generate(configuration)
  }

  private func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }
}

extension DecodeBenchmark.Prompt {
  /// Its generation on this engine; `contextLength` is the engine's unless told.
  func configuration(
    _ engine: InferenceEngine, contextLength: Int? = nil, sampling: SamplingParameters,
    tokenLimit: Int?, stopTokens: [TokenID]
  ) -> VerifierSession.Configuration {
    var configuration = VerifierSession.Configuration(
      prompt: tokens, sampling: sampling, contextLength: contextLength ?? engine.contextLength,
      vocabularyCount: engine.model.shape.vocabularyCount)
    configuration.tokenLimit = tokenLimit
    configuration.stopTokens = stopTokens
    return configuration
  }
}

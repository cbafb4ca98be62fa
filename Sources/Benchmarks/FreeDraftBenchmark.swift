package import Cluster
package import Decoding
package import Engine
package import InferenceTypes

/// What drafts would gain if they cost nothing: drawn in no time, always up to date, and the target
/// alone on its machine. No pipeline, network or drafter can carry the same drafts further, so it
/// tells whether a goal is a matter of guesses or of their delivery.
package struct FreeDraftBenchmark {
  /// One prompt with steps of one size.
  package struct Row: Sendable {
    package let category: String
    /// Nodes of each step, as far as there were drafts; `nil` where the planner chose among all sizes
    /// by what they cost.
    package let nodeCount: Int?
    package let tokenCount: Int
    package let stepCount: Int
    /// The steps in passes over one token, by ``FreeDraftBenchmark/costs``.
    package let cost: Double
    package var tokensPerStep: Double { Double(tokenCount) / Double(max(1, stepCount)) }
    package var speedup: Double { Double(tokenCount) / max(1, cost) }
  }

  private let engine: InferenceEngine
  private let draftEngine: InferenceEngine?
  /// Of the target, measured when the benchmark was made.
  package let costs: MeasuredCosts

  package init(
    engine: InferenceEngine, draftEngine: InferenceEngine?, sizeMax: Int
  ) throws(EngineError) {
    self.engine = engine
    self.draftEngine = draftEngine
    costs = try MeasuredCosts(engine: engine, sizeMax: max(32, sizeMax), roundCount: 7)
  }

  /// Each prompt is decoded plainly, with steps of every size, and with sizes that the planner
  /// chooses from one to the largest; every generation starts with `sources` (`nil`: empty stores).
  ///
  /// - Throws: ``DecodeBenchmark/Mismatch`` where the token ids are not those of plain decoding.
  package func run(
    _ prompts: [DecodeBenchmark.Prompt], methods: DraftMethods, sources: LocalSources? = nil,
    nodeCounts: [Int], sampling: SamplingParameters, tokenLimit: Int?, stopTokens: [TokenID],
    progress: (Row) -> Void = { _ in }
  ) throws -> [Row] {
    let none = try DraftMethods(parsing: "none", hasDraftModel: false)
    var rows: [Row] = []
    for prompt in prompts {
      let configuration = prompt.configuration(
        engine, sampling: sampling, tokenLimit: tokenLimit, stopTokens: stopTokens)
      let plain = try LocalGenerator(
        engine: engine, draftEngine: nil, methods: none, costs: costs
      ).generate(configuration)
      for nodeCount in nodeCounts.map({ Optional($0) }) + [nil] {
        let result = try LocalGenerator(
          engine: engine, draftEngine: draftEngine, methods: methods,
          nodeLimit: nodeCount ?? nodeCounts.max() ?? 1, costs: planned(nodeCount),
          draftCosts: MeasuredCosts(known: VerifyCosts(relative: []), single: .zero),
          sources: sources
        ).generate(configuration)
        guard result.tokens == plain.tokens else {
          throw DecodeBenchmark.Mismatch(
            prompt: prompt.id, method: methods.list.joined(separator: "+"))
        }
        let row = Row(
          category: prompt.category, nodeCount: nodeCount, tokenCount: result.tokens.count,
          stepCount: result.statistics.stepCount, cost: cost(result.statistics))
        rows.append(row)
        progress(row)
      }
    }
    return rows
  }

  /// Costs by which a step takes as many nodes as it may: all sizes up to this one cost the same.
  private func planned(_ nodeCount: Int?) -> MeasuredCosts {
    guard let nodeCount else { return costs }
    let unaffordable: Float = 1000
    return MeasuredCosts(
      known: VerifyCosts(
        relative: [Float](repeating: 1, count: nodeCount) + [unaffordable]), single: costs.single)
  }

  private func cost(_ statistics: DraftStatistics) -> Double {
    statistics.stepCounts.enumerated().reduce(0) { sum, entry in
      sum + Double(entry.element) * Double(costs.costs.cost(entry.offset + 1))
    }
  }
}

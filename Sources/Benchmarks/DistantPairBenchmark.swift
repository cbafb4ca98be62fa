package import Cluster
import Decoding
package import Engine
package import InferenceTypes

/// What a target and a draft model would do on hosts of their own, so far apart: see
/// ``DistantPair``.
package struct DistantPairBenchmark {
  /// One prompt in one pipeline over one distance.
  package struct Row: Sendable {
    package let category: String
    package let pipeline: Pipeline
    package let roundTrip: Duration
    package let result: DistantPair.Result
    package var speedup: Double { result.plainDuration / result.duration }
  }

  private let engine: InferenceEngine
  private let draftEngine: InferenceEngine
  package let targetCosts: MeasuredCosts
  package let draftCosts: MeasuredCosts

  /// Measures what passes of both models take, one after the other, unless it is known; `draftTime` is
  /// taken for that of the draft model over one token.
  package init(
    engine: InferenceEngine, draftEngine: InferenceEngine, targetCosts: MeasuredCosts? = nil,
    draftCosts: MeasuredCosts? = nil, draftTime: Duration? = nil
  ) throws(EngineError) {
    self.engine = engine
    self.draftEngine = draftEngine
    if let targetCosts {
      self.targetCosts = targetCosts
    } else {
      self.targetCosts = try MeasuredCosts(engine: engine, sizeMax: 128, roundCount: 7)
    }
    let own: MeasuredCosts
    if let draftCosts {
      own = draftCosts
    } else {
      own = try MeasuredCosts(engine: draftEngine, roundCount: 7)
    }
    self.draftCosts = draftTime.map { MeasuredCosts(known: own.costs, single: $0) } ?? own
  }

  /// Each prompt is decoded plainly, and in every pipeline over every distance; `methods` are the
  /// drafts that the target's host makes beside, with empty stores.
  ///
  /// - Throws: ``DecodeBenchmark/Mismatch`` where the token ids are not those of plain decoding.
  package func run(
    _ prompts: [DecodeBenchmark.Prompt], methods: DraftMethods, shape: DraftShape,
    pipelines: [Pipeline], roundTrips: [Duration], sampling: SamplingParameters, tokenLimit: Int?,
    stopTokens: [TokenID], progress: (Row) -> Void = { _ in }
  ) throws -> [Row] {
    let none = try DraftMethods(parsing: "none", hasDraftModel: false)
    var setUp = DistantPair.Configuration(targetCosts: targetCosts, draftCosts: draftCosts)
    setUp.shape = shape
    var rows: [Row] = []
    for prompt in prompts {
      let text = prompt.configuration(
        engine, sampling: sampling, tokenLimit: tokenLimit, stopTokens: stopTokens)
      let plain = try LocalGenerator(
        engine: engine, draftEngine: nil, methods: none, costs: targetCosts
      ).generate(text)
      for roundTrip in roundTrips {
        for pipeline in pipelines {
          setUp.roundTrip = roundTrip
          setUp.pipeline = pipeline
          var pair = try DistantPair(
            text, setUp, engine: engine, draftEngine: draftEngine,
            sources: methods.makeSources(vocabularyCount: engine.model.shape.vocabularyCount))
          let result = try pair.run()
          guard result.tokens == plain.tokens else {
            throw DecodeBenchmark.Mismatch(prompt: prompt.id, method: pipeline.rawValue)
          }
          let row = Row(
            category: prompt.category, pipeline: pipeline, roundTrip: roundTrip, result: result)
          rows.append(row)
          progress(row)
        }
      }
    }
    return rows
  }
}

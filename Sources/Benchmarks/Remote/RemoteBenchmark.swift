package import InferenceTypes

/// The pipelines of a ``RemotePair`` against decoding by its target alone, in turns on every prompt.
package struct RemoteBenchmark {
  /// One pipeline on one prompt.
  package struct Row: Sendable {
    package let prompt: Int
    package let category: String
    package let pipeline: Pipeline
    package let tokenCount: Int
    package let tokensPerSecond: Double
    package let plainTokensPerSecond: Double
    /// Of the latest turn.
    package let run: RemotePair.Run
    /// What two processes did at once beside one, when this was measured: 1 to 2.
    package let scaling: Double
    /// See ``speedupSpread(_:plain:)``.
    package let spread: Double
    package var speedup: Double { tokensPerSecond / plainTokensPerSecond }
    package var tokensPerStep: Double { Double(tokenCount) / Double(max(1, run.stepCount)) }
    package var bytesPerToken: Double { Double(run.linkBytes) / Double(max(1, tokenCount)) }
    /// Expected tokens over those that came, less 1.
    package var plannerError: Double {
      run.expectedTokenCount / Double(max(1, tokenCount)) - 1
    }
  }

  private let pair: RemotePair
  private let probe: ScalingProbe

  package init(pair: RemotePair, probe: ScalingProbe) {
    self.pair = pair
    self.probe = probe
  }

  /// Each prompt is decoded plainly and in every pipeline, `roundCount` times in turns; times are
  /// medians. Generations of a single step are too short to time and give no row.
  ///
  /// - Throws: ``DecodeBenchmark/Mismatch`` where the token ids differ.
  package func run(
    _ prompts: [DecodeBenchmark.Prompt], pipelines: [Pipeline], sampling: SamplingParameters,
    tokenLimit: Int?, stopTokens: [TokenID], roundCount: Int, progress: (Row) -> Void = { _ in }
  ) async throws -> [Row] {
    var rows: [Row] = []
    for prompt in prompts {
      let scaling = try await probe.measure()
      var plainRates: [Double] = []
      var rates = [[Double]](repeating: [], count: pipelines.count)
      var runs = [RemotePair.Run](repeating: .init(), count: pipelines.count)
      for _ in 0..<roundCount {
        let plain = try await pair.generate(
          prompt.tokens, sampling: sampling, tokenLimit: tokenLimit, stopTokens: stopTokens,
          pipeline: nil)
        plainRates.append(plain.tokensPerSecond)
        for (index, pipeline) in pipelines.enumerated() {
          runs[index] = try await pair.generate(
            prompt.tokens, sampling: sampling, tokenLimit: tokenLimit, stopTokens: stopTokens,
            pipeline: pipeline)
          rates[index].append(runs[index].tokensPerSecond)
          guard runs[index].tokens == plain.tokens else {
            throw DecodeBenchmark.Mismatch(prompt: prompt.id, method: pipeline.rawValue)
          }
        }
      }
      for (index, pipeline) in pipelines.enumerated() where runs[index].stepCount > 1 {
        let row = Row(
          prompt: prompt.id, category: prompt.category, pipeline: pipeline,
          tokenCount: runs[index].tokens.count, tokensPerSecond: median(rates[index]),
          plainTokensPerSecond: median(plainRates), run: runs[index], scaling: scaling,
          spread: speedupSpread(rates[index], plain: plainRates))
        rows.append(row)
        progress(row)
      }
    }
    return rows
  }
}

package import Cluster
import Decoding
package import Engine
package import InferenceTypes

/// What a collaboration costs and what its texts are worth, by its settings.
///
/// The judge is the target model: it reads every text once, in batches, and says what it would have
/// written at each place and how likely it thinks what is there.
package struct CollaborationBenchmark {
  /// Settings and their name.
  package struct Setting: Sendable {
    package let name: String
    package let parameters: CollaborationParameters

    package init(name: String, parameters: CollaborationParameters) {
      self.name = name
      self.parameters = parameters
    }
  }

  /// One text.
  package struct Row: Sendable {
    package let prompt: Int
    package let setting: String
    package let tokenCount: Int
    /// Tokens of the target, and of both models together.
    package let targetCount: Int
    package let combinedCount: Int
    package let switchCount: Int
    /// Tokens that are the largest logit of the target at their place.
    package let agreedCount: Int
    /// Nats: the target's log-probability of the text at temperature 1.
    package let logProbability: Double
    /// Estimated; see ``CollaborationStatistics/computeSaved``.
    package let computeSaved: Double
    /// Measured, of the tokens behind the first.
    package let seconds: Double
  }

  private let collaboration: LocalCollaboration
  private let target: InferenceEngine

  package init(collaboration: LocalCollaboration, target: InferenceEngine) {
    self.collaboration = collaboration
    self.target = target
  }

  /// Writes a text for every prompt and setting, and judges it.
  package func run(
    _ prompts: [DecodeBenchmark.Prompt], settings: [Setting], sampling: SamplingParameters,
    tokenLimit: Int?, stopTokens: [TokenID], detokenizer: ([TokenID]) -> (TokenID) -> String,
    progress: (Row) -> Void = { _ in }
  ) throws -> [Row] {
    var rows: [Row] = []
    for prompt in prompts {
      let configuration = prompt.configuration(
        target, contextLength: collaboration.contextLength, sampling: sampling,
        tokenLimit: tokenLimit, stopTokens: stopTokens)
      for setting in settings {
        let result = try collaboration.generate(
          configuration, parameters: setting.parameters, onToken: detokenizer(prompt.tokens))
        let judgement = try judge(prompt: prompt.tokens, tokens: result.tokens)
        let row = Row(
          prompt: prompt.id, setting: setting.name, tokenCount: result.tokens.count,
          targetCount: result.statistics.targetCount,
          combinedCount: result.statistics.combinedCount,
          switchCount: result.statistics.switchCount, agreedCount: judgement.agreedCount,
          logProbability: judgement.logProbability,
          computeSaved: result.statistics.computeSaved ?? 0,
          seconds: Double(result.decodeDuration.components.seconds)
            + Double(result.decodeDuration.components.attoseconds) * 1e-18)
        rows.append(row)
        progress(row)
      }
    }
    return rows
  }

  /// The target's opinion of `tokens` behind `prompt`.
  package func judge(
    prompt: [TokenID], tokens: [TokenID]
  ) throws(EngineError) -> (agreedCount: Int, logProbability: Double) {
    let cache = try target.makeCache()
    let text = prompt + tokens
    var agreed = 0
    var sum = 0.0
    var start = 0
    while start < text.count - 1 {
      let end = min(text.count - 1, start + 64)
      try target.forward(
        ForwardBatch(chain: Array(text[start..<end]), logits: .all), cache: cache)
      let top = target.topLogits(1)
      let vocabulary = target.model.shape.vocabularyCount
      target.withLogits { logits in
        for row in 0..<end - start where start + row + 1 >= prompt.count {
          let token = text[start + row + 1]
          if top[row].token == token { agreed += 1 }
          sum += logProbability(
            of: token, in: logits.extracting(row * vocabulary..<(row + 1) * vocabulary),
            largest: top[row].logit)
        }
      }
      cache.commit(Array(0..<end - start))
      start = end
    }
    return (agreed, sum)
  }

  private func logProbability(
    of token: TokenID, in logits: Span<Float>, largest: Float
  ) -> Double {
    var total = 0.0
    for index in logits.indices { total += ExactMath.exp(Double(logits[index] - largest)) }
    return Double(logits[Int(token.rawValue)] - largest) - ExactMath.log(total)
  }
}

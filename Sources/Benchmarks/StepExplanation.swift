import Cluster
package import Decoding
import Engine
package import InferenceTypes

extension DecodeBenchmark {
  /// A method that cannot be explained.
  package struct Inexplicable: Error, CustomStringConvertible {
    package let method: String
    package var description: String {
      "\"\(method)\" drafts with a model: only steps with the verifier's own drafts are explained"
    }
  }

  /// What the steps of one method were expected to bring, and what they brought.
  package struct Explanation: Sendable {
    package let method: String
    package var steps: [StepReport] = []
    package var statistics = StepStatistics()
  }

  /// Decodes the prompts with one method, `sessionCount` at a time in shared passes, as a verifier
  /// does; whenever one has ended, the next one joins. `onStep` hears every step as it is done.
  ///
  /// - Throws: ``Inexplicable``; ``Mismatch`` where the token ids are not those of plain decoding.
  package func explain(
    _ prompts: [Prompt], method: Method, sessionCount: Int, sampling: SamplingParameters,
    tokenLimit: Int?, stopTokens: [TokenID], onStep: (StepReport) -> Void = { _ in }
  ) throws -> Explanation {
    precondition(sessionCount >= 1, "\(sessionCount) sessions")
    guard !method.drafts.usesModel else { throw Inexplicable(method: method.name) }
    let none = try DraftMethods(parsing: "none", hasDraftModel: false)
    let plain = try LocalGenerator(
      engine: engine, draftEngine: nil, methods: none, costs: costs)
    var sources = OneForAll(
      method.sources
        ?? method.drafts.makeSources(vocabularyCount: engine.model.shape.vocabularyCount))
    var shared = SharedStep(costs: costs, nodeLimit: method.drafts.list == ["none"] ? 1 : 32)
    var explanation = Explanation(method: method.name)
    var waiting = prompts[...]
    var running: [(prompt: Prompt, target: TargetSession)] = []
    var ended: [(prompt: Prompt, tokens: [TokenID])] = []
    func configuration(_ prompt: Prompt) -> VerifierSession.Configuration {
      prompt.configuration(
        engine, sampling: sampling, tokenLimit: tokenLimit, stopTokens: stopTokens)
    }
    while true {
      while running.count < sessionCount, let prompt = waiting.popFirst() {
        running.append((prompt, try TargetSession(configuration(prompt), engine: engine)))
      }
      for (prompt, target) in running where target.isFinished {
        ended.append((prompt, Array(target.machine.truth.dropFirst(target.machine.promptCount))))
      }
      running.removeAll { $0.target.isFinished }
      guard !running.isEmpty else {
        if waiting.isEmpty { break }
        continue
      }
      let result = try shared.run(
        running.map { SharedStep.Member($0.target) }, engine: engine, sources: &sources)
      explanation.steps.append(result.report)
      onStep(result.report)
    }
    explanation.statistics = shared.statistics
    for (prompt, tokens) in ended {
      let expected = try plain.generate(configuration(prompt)).tokens
      guard tokens == expected else { throw Mismatch(prompt: prompt.id, method: method.name) }
    }
    return explanation
  }
}

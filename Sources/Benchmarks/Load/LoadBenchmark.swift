package import Cluster
package import InferenceTypes

#if canImport(Glibc)
  import Glibc
#endif

/// A router and its verifier under load: a number of clients, each of which asks its next question
/// when the last one is answered, with drafts and without in turns.
package struct LoadBenchmark {
  /// A method with the name it is reported by.
  package struct Method: Sendable {
    package let name: String
    package let drafts: DraftMethods

    package init(name: String, drafts: DraftMethods) {
      self.name = name
      self.drafts = drafts
    }
  }

  /// All prompts once, by so many clients.
  package struct Run: Sendable {
    package let sessionCount: Int
    package let round: Int
    package let method: String
    package let tokenCount: Int
    /// From the first question to the last answer.
    package let seconds: Double
    /// What this process computed meanwhile, on all threads.
    package let processorSeconds: Double
    /// Means over the answers.
    package let promptSeconds: Double
    package let tokensPerStep: Double
    package let draftTokenCount: Int
    package let acceptedTokenCount: Int

    package var tokensPerSecond: Double { Double(tokenCount) / seconds }
  }

  /// The name under which decoding without drafts is reported.
  package static let plainName = "none"
  private let host: ClusterHost

  package init(host: ClusterHost) { self.host = host }

  /// Every method answers all prompts after plain decoding did, `roundCount` times in turns, each
  /// time on a verifier that knows nothing yet.
  ///
  /// - Throws: ``DecodeBenchmark/Mismatch`` where the token ids differ; what the cluster throws.
  package func run(
    _ prompts: [DecodeBenchmark.Prompt], methods: [Method], sessionCounts: [Int],
    sampling: SamplingParameters, tokenLimit: Int?, roundCount: Int,
    progress: (Run) -> Void = { _ in }
  ) async throws -> [Run] {
    let plain = Method(
      name: Self.plainName, drafts: try DraftMethods(parsing: "none", hasDraftModel: false))
    var runs: [Run] = []
    for sessionCount in sessionCounts {
      for round in 0..<roundCount {
        var expected: [[TokenID]] = []
        for method in [plain] + methods {
          let (run, answers) = try await answer(
            prompts, method: method, sessionCount: sessionCount, round: round,
            sampling: sampling, tokenLimit: tokenLimit)
          if expected.isEmpty { expected = answers }
          for index in prompts.indices where answers[index] != expected[index] {
            throw DecodeBenchmark.Mismatch(prompt: prompts[index].id, method: method.name)
          }
          runs.append(run)
          progress(run)
        }
      }
    }
    return runs
  }

  private struct Answer: Sendable {
    var prompt: Int
    var tokens: [TokenID] = []
    var summary = GenerationSummary()
  }

  private func answer(
    _ prompts: [DecodeBenchmark.Prompt], method: Method, sessionCount: Int, round: Int,
    sampling: SamplingParameters, tokenLimit: Int?
  ) async throws -> (Run, [[TokenID]]) {
    try await host.withCluster(methods: method.drafts, slotCount: sessionCount) { service in
      let clock = ContinuousClock()
      let (start, processorStart) = (clock.now, Self.processorSeconds)
      let answers = try await Self.answers(
        prompts, sessionCount: sessionCount, sampling: sampling, tokenLimit: tokenLimit,
        service: service)
      let seconds = (clock.now - start) / .seconds(1)
      let summaries = answers.map(\.summary)
      let tokenCount = answers.reduce(0) { $0 + $1.tokens.count }
      let run = Run(
        sessionCount: sessionCount, round: round, method: method.name, tokenCount: tokenCount,
        seconds: seconds, processorSeconds: Self.processorSeconds - processorStart,
        promptSeconds: summaries.reduce(0) { $0 + $1.promptDuration / .seconds(1) }
          / Double(max(1, summaries.count)),
        tokensPerStep: Double(tokenCount)
          / Double(max(1, summaries.reduce(0) { $0 + $1.verifyStepCount })),
        draftTokenCount: summaries.reduce(0) { $0 + $1.draftTokenCount },
        acceptedTokenCount: summaries.reduce(0) { $0 + $1.acceptedTokenCount })
      return (run, answers.map(\.tokens))
    }
  }

  /// The answers to all prompts, in their order.
  private static func answers(
    _ prompts: [DecodeBenchmark.Prompt], sessionCount: Int, sampling: SamplingParameters,
    tokenLimit: Int?, service: any GenerationService
  ) async throws -> [Answer] {
    let questions = QuestionQueue(count: prompts.count)
    return try await withThrowingTaskGroup(of: [Answer].self) { group in
      for _ in 0..<sessionCount {
        group.addTask {
          var own: [Answer] = []
          while let index = questions.take() {
            let request = GenerationRequest(
              prompt: prompts[index].tokens, sampling: sampling, tokenLimit: tokenLimit)
            var answer = Answer(prompt: index)
            for try await event in try await service.generate(request) {
              switch event {
              case .tokens(let ids, _): answer.tokens += ids
              case .finished(let summary, _): answer.summary = summary
              }
            }
            own.append(answer)
          }
          return own
        }
      }
      var all: [Answer] = []
      for try await own in group { all += own }
      return all.sorted { $0.prompt < $1.prompt }
    }
  }

  private static var processorSeconds: Double { Double(clock()) / Double(CLOCKS_PER_SEC) }
}

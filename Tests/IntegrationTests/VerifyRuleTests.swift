import Cluster
import Foundation
import HTTPAPI
import InferenceTypes
import Synchronization
import TestSupport
import Testing

extension SecondRowTests {
  /// Requests that name a verify rule or bring a prediction, answered by real daemons.
  @Suite struct VerifyRuleTests {
    private static let lossless = VerifyRule.allCases.filter(\.isLossless)
    private static let drawing: [VerifyRule] = [
      .ratio, .rejection, .kSequential, .block, .traversal,
    ]
    private let allowAll = ["--allow-verify-rules", "all"]

    private func query(_ request: ReferenceRequest, _ rule: VerifyRule?) -> CompletionQuery {
      var query = CompletionQuery(prompt: .text(request.prompt))
      query.sampling = .commandLine
      query.sampling.temperature = request.temperature
      query.seed = request.seed
      query.tokenLimit = request.tokenLimit
      query.returnsTokens = true
      query.rule = rule.map { VerifyRuleParameters($0) }
      return query
    }

    private func ask(
      _ cluster: RunningCluster, _ query: CompletionQuery,
      onText: (String) async throws -> Void = { _ in }
    ) async throws -> CompletionResult {
      try await CompletionClient(url: cluster.url).complete(query, onText: onText)
    }

    private func request(_ index: Int, temperature: Float, tokenLimit: Int = 24) throws
      -> ReferenceRequest
    {
      ReferenceRequest(
        prompt: try Prompts.load()[index], temperature: temperature, seed: 3,
        tokenLimit: tokenLimit)
    }

    /// The first prompt from `index` on whose plain answer is as long as it may be.
    private func longRequest(from index: Int, temperature: Float, tokenLimit: Int = 24) async throws
      -> ReferenceRequest
    {
      for candidate in index..<(try Prompts.load().count) {
        let request = try request(candidate, temperature: temperature, tokenLimit: tokenLimit)
        if try await References.shared.tokens(request).count == tokenLimit { return request }
      }
      throw Daemon.Failure(description: "no prompt from \(index) on has a long answer")
    }

    /// Greedy texts know one law only: every lossless rule writes the plain text.
    @Test(.timeLimit(.minutes(5)))
    func atTemperatureZeroEveryLosslessRuleWritesThePlainText() async throws {
      let draft = try DraftModel()
      let cluster = try await RunningCluster(specType: "auto", options: allowAll)
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      for rule in Self.lossless {
        for index in [0, 16] {
          let request = try await longRequest(from: index, temperature: 0)
          let result = try await ask(cluster, query(request, rule))
          #expect(try await result.tokens == References.shared.tokens(request), "\(rule)")
          #expect(result.rule == rule && result.isLossless == true)
        }
      }
      #expect(drafter.isRunning && cluster.verifier.isRunning)
    }

    /// Draws of a draft model that is nearly always right are accepted, with few steps.
    @Test(.timeLimit(.minutes(5)))
    func drawsHelp() async throws {
      let draft = try DraftModel()
      let cluster = try await RunningCluster(specType: "none", options: allowAll)
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      for rule in Self.drawing {
        let request = try request(8, temperature: 0.8, tokenLimit: 32)
        var query = query(request, rule)
        query.ignoresEndOfSequence = true
        let summary = try await ask(cluster, query).summary
        #expect(summary.completionTokenCount == 32, "\(rule)")
        #expect(
          summary.acceptedTokenCount > 4,
          "\(rule): \(summary.acceptedTokenCount) of \(summary.draftTokenCount)")
        // Each step writes what was accepted, and one token more.
        #expect(summary.verifyStepCount < 28, "\(rule): \(summary.verifyStepCount)")
      }
      #expect(drafter.isRunning)
      #expect(!cluster.verifier.log.contains("cannot be judged"), "\(cluster.verifier.log)")
    }

    /// The text of `match` depends on the seed alone, whoever drafts.
    @Test(.timeLimit(.minutes(5)))
    func matchWritesOneTextOnAnyTopology() async throws {
      let draft = try DraftModel()
      let request = try await longRequest(from: 12, temperature: 0.8)
      let alone = try await RunningCluster(specType: "none")
      let plain = try await ask(alone, query(request, .match))
      #expect(try await plain.tokens != References.shared.tokens(request))
      #expect(plain.summary.draftTokenCount == 0)
      let others = try await RunningCluster(specType: "auto", options: ["--pipeline", "lockstep"])
      let drafter = try await others.startDrafter(specType: "draft", model: draft.path)
      let drafted = try await ask(others, query(request, .match))
      #expect(drafted.tokens == plain.tokens)
      #expect(drafter.isRunning)
    }

    /// A model-free drafter's guesses are certain, and fit every rule; lossy rules are labelled.
    @Test(.timeLimit(.minutes(5)))
    func everyRuleTakesCertainDrafts() async throws {
      let cluster = try await RunningCluster(specType: "auto", options: allowAll)
      let drafter = try await cluster.startDrafter(specType: "trigram,recycle")
      for rule in VerifyRule.allCases {
        var query = query(try request(4, temperature: 0.8), rule)
        query.ignoresEndOfSequence = true
        for streams in [false, true] {
          query.streams = streams
          let result = try await ask(cluster, query)
          #expect(result.tokens.count == 24, "\(rule)")
          #expect(result.rule == rule && result.isLossless == rule.isLossless)
        }
      }
      #expect(drafter.isRunning && cluster.verifier.isRunning)
      #expect(!cluster.verifier.log.contains("cannot be judged"), "\(cluster.verifier.log)")
    }

    /// What an operator did not allow is refused with status 400, before the first byte of a stream.
    @Test func rulesThatAreNotAllowedAreRefused() async throws {
      let cluster = try await RunningCluster(specType: "none")
      for streams in [false, true] {
        var query = query(try request(0, temperature: 0.8), .ratio)
        query.streams = streams
        let error = await #expect(throws: CompletionClientError.self) {
          _ = try await ask(cluster, query)
        }
        #expect(
          error
            == .refused(
              status: 400, code: "invalid_request",
              message: "the verify rule ratio is not allowed here; allowed: gumbel-match, match"))
      }
      let named = try request(0, temperature: 0.8)
      let result = try await ask(cluster, query(named, .gumbelMatch))
      #expect(try await result.tokens == References.shared.tokens(named))
    }

    @Test func aListOfRulesIsChecked() async throws {
      let result = try await Daemon.output([
        "verifier", "-m", try TestFiles.modelPath(), "--allow-verify-rules", "match,eager",
      ])
      #expect(result.status != 0)
      #expect(
        result.errors.contains("\"eager\" is no verify rule") && result.errors.contains("k-seq"),
        "\(result.errors)")
    }

    /// A session whose text depends on its drafts goes on at another verifier from the journal.
    @Test(.timeLimit(.minutes(3)))
    func aDrawnTextGoesOnElsewhere() async throws {
      let draft = try DraftModel()
      let cluster = try await RunningCluster(specType: "none", options: allowAll)
      let other = try Daemon(
        "second verifier",
        [
          "verifier", "-m", cluster.model, "--router", cluster.workers, "--draft-store", "none",
          "--lifeline",
        ] + allowAll)
      _ = try await other.line()
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      var query = query(try request(16, temperature: 0.8, tokenLimit: 96), .traversal)
      query.ignoresEndOfSequence = true
      let pieces = Mutex(0)
      let text = Mutex("")
      let result = try await ask(cluster, query) { piece in
        text.withLock { $0 += piece }
        let count = pieces.withLock { count in
          count += 1
          return count
        }
        if count == 4 { cluster.verifier.signal(SIGKILL) }
      }
      #expect(result.tokens.count == 96 && text.withLock { $0 } == result.text)
      #expect(!cluster.verifier.isRunning && other.isRunning && drafter.isRunning)
    }

    /// A prediction changes the speed, never the text.
    @Test(.timeLimit(.minutes(5)))
    func aPredictionIsDraftedFrom() async throws {
      let cluster = try await RunningCluster(specType: "prediction")
      for temperature in [0, 0.8] as [Float] {
        let request = try await longRequest(from: 0, temperature: temperature, tokenLimit: 48)
        let expected = try await References.shared.tokens(request)
        let plain = try await ask(cluster, query(request, nil))
        #expect(plain.tokens == expected && plain.summary.predictionTokenCount == 0)
        var right = query(request, nil)
        right.prediction = plain.text
        let helped = try await ask(cluster, right)
        #expect(helped.tokens == expected)
        let summary = helped.summary
        #expect(
          summary.acceptedPredictionTokenCount > expected.count / 2,
          "\(summary.acceptedPredictionTokenCount) of \(expected.count)")
        #expect(summary.verifyStepCount < plain.summary.verifyStepCount)
        var wrong = query(request, nil)
        wrong.prediction = String(repeating: "Nothing of the sort was ever written. ", count: 20)
        let misled = try await ask(cluster, wrong)
        #expect(misled.tokens == expected)
        #expect(
          misled.summary.acceptedPredictionTokenCount < summary.acceptedPredictionTokenCount)
      }
    }

    @Test func aPredictionHasABound() async throws {
      let cluster = try await RunningCluster(specType: "none")
      var query = query(try request(0, temperature: 0), nil)
      query.prediction = (0..<9000).map { "word\($0)" }.joined(separator: " ")
      let error = await #expect(throws: CompletionClientError.self) {
        _ = try await ask(cluster, query)
      }
      guard case .refused(400, _, let message) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(message.contains("at most 16384 are taken"), "\(message)")
    }
  }
}

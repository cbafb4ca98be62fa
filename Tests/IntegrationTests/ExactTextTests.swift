import Cluster
import Engine
import Foundation
import GGUF
import HTTPAPI
import InferenceTypes
import TestSupport
import Testing

extension FirstRowTests {
  /// The real daemons with the real model: whatever drafts, the token ids are those of plain
  /// decoding in one process.
  @Suite struct ExactTextTests {
    /// Ten prompts of all kinds, greedy and sampled with three seeds.
    private func requests() throws -> [ReferenceRequest] {
      let prompts = try Prompts.load()
      let chosen = stride(from: 0, to: prompts.count, by: 5).prefix(10).map { prompts[$0] }
      return chosen.flatMap { prompt in
        [ReferenceRequest(prompt: prompt, temperature: 0, seed: 1, tokenLimit: 24)]
          + [1, 2, 3].map {
            ReferenceRequest(prompt: prompt, temperature: 0.8, seed: $0, tokenLimit: 24)
          }
      }
    }

    /// Asks requests, some at a time, and compares. Returns drafted and accepted tokens.
    private func check(
      _ cluster: RunningCluster, _ some: [ReferenceRequest]? = nil, atOnce: Int = 4
    ) async throws -> (drafted: Int, accepted: Int) {
      let all = try some ?? requests()
      try #require(some != nil || all.count == 40)
      var references: [ReferenceRequest: [TokenID]] = [:]
      for request in all { references[request] = try await References.shared.tokens(request) }
      var totals = (drafted: 0, accepted: 0)
      try await withThrowingTaskGroup(of: (ReferenceRequest, CompletionResult).self) { group in
        var waiting = all[...]
        func addNext() {
          guard let request = waiting.popFirst() else { return }
          group.addTask { (request, try await cluster.complete(request)) }
        }
        for _ in 0..<atOnce { addNext() }
        while let (request, result) = try await group.next() {
          #expect(
            result.tokens == references[request],
            "T \(request.temperature), seed \(request.seed): \(request.prompt)")
          totals.drafted += result.summary.draftTokenCount
          totals.accepted += result.summary.acceptedTokenCount
          addNext()
        }
      }
      return totals
    }

    @Test func noDrafter() async throws {
      let cluster = try await RunningCluster(specType: "none")
      let totals = try await check(cluster)
      #expect(totals.drafted == 0)
    }

    @Test(arguments: ["trigram", "recycle"])
    func trainingFreeDrafter(method: String) async throws {
      let cluster = try await RunningCluster(specType: "none")
      let drafter = try await cluster.startDrafter(specType: method)
      let totals = try await check(cluster)
      #expect(totals.accepted > 0, "of \(totals.drafted) drafts")
      #expect(drafter.isRunning)
    }

    @Test(arguments: ["trigram", "recycle", "auto"])
    func draftsOfTheVerifierItself(method: String) async throws {
      let cluster = try await RunningCluster(specType: method)
      let totals = try await check(cluster)
      #expect(totals.accepted > 0, "of \(totals.drafted) drafts")
    }

    @Test func draftModelOfTheSameFamily() async throws {
      let draft = try DraftModel()
      let cluster = try await RunningCluster(specType: "none")
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      _ = try await check(cluster)
      // Four texts at a time leave no time for drafts. Alone, one gains, unless the drafter, which is
      // as slow as its target, sees that it is of no help, and says so.
      let request = ReferenceRequest(
        prompt: try #require(try Prompts.load().last), temperature: 0, seed: 1, tokenLimit: 128)
      let result = try await cluster.complete(request)
      #expect(try await References.shared.tokens(request) == result.tokens)
      #expect(
        result.summary.acceptedTokenCount > 0 || drafter.log.contains("resting"),
        "of \(result.summary.draftTokenCount) drafts")
      #expect(drafter.isRunning)
    }

    /// The references come from the fastest set, the cluster's tokens from each one of this
    /// processor. Plain C takes half a second for a token, so it gets few.
    @Test(arguments: Kernels.available.map(\.name))
    func everyInstructionSet(name: String) async throws {
      let cluster = try await RunningCluster(
        specType: "auto", environment: ["SLIPSTREAM_ISA": name])
      let drafter = try await cluster.startDrafter(specType: "trigram,recycle")
      let some = try requests().prefix(name == "scalar" ? 2 : 16).map {
        ReferenceRequest(
          prompt: $0.prompt, temperature: $0.temperature, seed: $0.seed,
          tokenLimit: name == "scalar" ? 12 : 24)
      }
      try #require(Set(some.map(\.temperature)).count == 2)
      _ = try await check(cluster, some)
      #expect(drafter.isRunning && cluster.verifier.isRunning)
    }

    /// Eight sessions share every pass of the verifier, the prompts of the next ones beside the
    /// trees of those that decode.
    @Test(arguments: ["none", "auto"])
    func eightSessionsAtOnce(method: String) async throws {
      let prompts = try Prompts.load()
      let requests = (0..<12).map { index in
        ReferenceRequest(
          prompt: prompts[index * 3 % prompts.count], temperature: index % 2 == 0 ? 0 : 0.8,
          seed: UInt64(index), tokenLimit: 32 + 4 * index)
      }
      let cluster = try await RunningCluster(
        specType: method, options: ["--log-level", "info"])
      _ = try await check(cluster, requests, atOnce: 8)
      #expect(try await cluster.verifier.stop() == 0)
      // The counters of the steps: fewer passes than tokens, as sessions shared them.
      #expect(cluster.verifier.log.contains("steps so far"))
    }

    @Test func garbageChangesNothing() async throws {
      let cluster = try await RunningCluster(specType: "none")
      let hostile = try await HostileDrafter(model: cluster.model, router: cluster.workers)
      _ = try await check(cluster)
      #expect(hostile.nodeCount > 1000)
      #expect(cluster.verifier.isRunning && cluster.router.isRunning)
      await hostile.stop()
    }
  }
}

/// The default model once more, its Q4_1 matrices requantised to Q4_0: a drafter that is nearly
/// always right. Removed with this object.
final class DraftModel: Sendable {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory
      .appending(path: "slipstream-draft-\(UUID().uuidString).gguf").path()
    let file = try GGUFFile(path: TestFiles.modelPath())
    let plan = try QuantizationPlan(file: file, type: .q4_0)
    _ = try Quantizer(file: file, plan: plan, threadCount: 1).write(to: path, replacing: false)
  }

  // The file may be gone already; nothing depends on it.
  deinit { try? FileManager.default.removeItem(atPath: path) }
}

import Cluster
import Foundation
import HTTPAPI
import InferenceTypes
import Synchronization
import TestSupport
import Testing

extension FirstRowTests {
  /// Drafters that die, freeze or join in the middle of a stream: the text does not notice.
  @Suite struct FaultTests {
    private let tokenLimit = 64

    /// Texts long enough for a fault in their middle, greedy and sampled.
    private func requests() async throws -> [ReferenceRequest] {
      [
        try await longRequest(from: 0, temperature: 0, seed: 1),
        try await longRequest(from: 16, temperature: 0.8, seed: 5),
        try await longRequest(from: 32, temperature: 0.8, seed: 6),
      ]
    }

    private func longRequest(from first: Int, temperature: Float, seed: UInt64) async throws
      -> ReferenceRequest
    {
      for prompt in try Prompts.load()[first...] {
        let request = ReferenceRequest(
          prompt: prompt, temperature: temperature, seed: seed, tokenLimit: tokenLimit)
        if try await References.shared.tokens(request).count == tokenLimit { return request }
      }
      throw Daemon.Failure(description: "no prompt from \(first) on has a long answer")
    }

    /// Runs a request and does `fault` once some text has come.
    private func checkText(
      _ request: ReferenceRequest, cluster: RunningCluster,
      fault: @escaping @Sendable () async throws -> Void
    ) async throws {
      let expected = try await References.shared.tokens(request)
      let pieces = Mutex(0)
      let result = try await cluster.complete(request) { _ in
        let count = pieces.withLock { count in
          count += 1
          return count
        }
        if count == 6 { try await fault() }
      }
      #expect(pieces.withLock { $0 } >= 6, "the fault came too late")
      #expect(result.tokens == expected, "T \(request.temperature), seed \(request.seed)")
    }

    @Test func drafterIsKilled() async throws {
      let draft = try DraftModel()
      for request in try await requests() {
        let cluster = try await RunningCluster(specType: "none")
        let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
        try await checkText(request, cluster: cluster) { drafter.signal(SIGKILL) }
        #expect(cluster.verifier.isRunning && cluster.router.isRunning)
      }
    }

    @Test func drafterIsFrozen() async throws {
      let draft = try DraftModel()
      let cluster = try await RunningCluster(specType: "none")
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      for request in try await requests() {
        try await checkText(request, cluster: cluster) { drafter.signal(SIGSTOP) }
        drafter.signal(SIGCONT)
      }
      // Thawed, it is of use again or at least does no harm.
      let again = try await requests()[0]
      #expect(
        try await cluster.complete(again).tokens == References.shared.tokens(again))
    }

    @Test func anotherDrafterJoins() async throws {
      let cluster = try await RunningCluster(specType: "none")
      let first = try await cluster.startDrafter(specType: "trigram")
      let joined = Mutex<[Daemon]>([])
      for request in try await requests() {
        try await checkText(request, cluster: cluster) {
          let second = try await cluster.startDrafter(specType: "recycle")
          joined.withLock { $0.append(second) }
          first.signal(SIGKILL)
        }
      }
      #expect(joined.withLock { $0.allSatisfy(\.isRunning) })
    }

    @Test func aNewVerifierTakesOverWhenTheOldOneDies() async throws {
      let request = try await requests()[1]
      let expected = try await References.shared.tokens(request)
      let cluster = try await RunningCluster(specType: "auto")
      let other = try Daemon(
        "second verifier",
        [
          "verifier", "-m", cluster.model, "--router", cluster.workers, "--draft-store", "none",
          "--lifeline",
        ])
      _ = try await other.line()
      let pieces = Mutex(0)
      let result = try await cluster.complete(request) { _ in
        let count = pieces.withLock { count in
          count += 1
          return count
        }
        // The router gave the session to the verifier that came first.
        if count == 4 { cluster.verifier.signal(SIGKILL) }
      }
      #expect(result.tokens == expected)
      #expect(!cluster.verifier.isRunning)
    }

    @Test func daemonsEndCleanlyOnSIGTERM() async throws {
      let cluster = try await RunningCluster(specType: "auto")
      let drafter = try await cluster.startDrafter(specType: "trigram")
      let request = try await requests()[0]
      _ = try await cluster.complete(request)
      #expect(try await drafter.stop() == 0, "\(drafter.log)")
      #expect(try await cluster.verifier.stop() == 0, "\(cluster.verifier.log)")
      #expect(try await cluster.router.stop() == 0, "\(cluster.router.log)")
    }

    /// Sessions that do not fit into memory together wait for each other; none fails.
    @Test func sessionsShareTooLittleMemory() async throws {
      let cluster = try await RunningCluster(
        specType: "auto",
        options: ["--kv-memory", "8M", "--log-level", "info"])
      var requests: [ReferenceRequest] = []
      for first in [0, 8, 16, 24, 32] {
        requests.append(try await longRequest(from: first, temperature: 0.8, seed: 3))
      }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for request in requests {
          group.addTask {
            let tokens = try await cluster.complete(request).tokens
            #expect(try await tokens == References.shared.tokens(request), "\(request.prompt)")
          }
        }
        try await group.waitForAll()
      }
      #expect(cluster.verifier.log.contains("waits for memory of the KV cache"))
    }

    /// A prompt that was there before is not computed again, and its text is the same.
    @Test func knownPromptsAreFoundAgain() async throws {
      let cluster = try await RunningCluster(specType: "auto")
      let request = try await longRequest(from: 24, temperature: 0.8, seed: 4)
      let first = try await cluster.complete(request)
      let second = try await cluster.complete(request)
      #expect(first.summary.cachedTokenCount == 0)
      // Whole blocks of 16, and at least the last token is computed.
      let known = (second.summary.promptTokenCount - 1) / 16 * 16
      #expect(second.summary.cachedTokenCount == known && known > 0)
      #expect(try await first.tokens == References.shared.tokens(request))
      #expect(second.tokens == first.tokens)
    }

    /// A client that goes away frees its slot: with one slot the next request is answered.
    @Test func aClientThatLeavesFreesItsSlot() async throws {
      struct Leaving: Error {}
      let cluster = try await RunningCluster(specType: "none", slots: 1)
      let request = try await requests()[0]
      let long = ReferenceRequest(
        prompt: request.prompt, temperature: 0, seed: 1, tokenLimit: 4000)
      await #expect(throws: Leaving.self) {
        _ = try await cluster.complete(long) { _ in throw Leaving() }
      }
      #expect(try await cluster.complete(request).tokens == References.shared.tokens(request))
    }
  }
}

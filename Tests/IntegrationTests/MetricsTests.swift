import Cluster
import Foundation
import FoundationNetworking
import HTTPAPI
import TestSupport
import Testing

extension SecondRowTests {
  /// What `/metrics` says agrees with what clients were told.
  @Suite struct MetricsTests {
    private func read(_ cluster: RunningCluster) async throws -> ParsedMetrics {
      let url = try #require(URL(string: cluster.url + "/metrics"))
      let (data, response) = try await URLSession.shared.data(from: url)
      #expect((response as? HTTPURLResponse)?.statusCode == 200)
      return try ParsedMetrics(String(decoding: data, as: UTF8.self))
    }

    /// Verifiers tell with their heartbeats, so a little later than their clients know.
    private func read(
      _ cluster: RunningCluster, until tokenCount: Int
    ) async throws -> ParsedMetrics {
      let deadline = ContinuousClock().now + .seconds(20)
      while true {
        let metrics = try await read(cluster)
        if metrics.sum("slipstream_verifier_tokens_total") >= Double(tokenCount)
          || ContinuousClock().now > deadline
        {
          return metrics
        }
        try await Task.sleep(for: .milliseconds(20))
      }
    }

    @Test(arguments: ["streamed", "vanilla"])
    func theSumsAreThoseOfTheAnswers(pipeline: String) async throws {
      let cluster = try await RunningCluster(
        specType: "recycle", options: ["--pipeline", pipeline])
      var tokenCount = 0
      var drafted = 0
      var accepted = 0
      var steps = 0
      var read = 0
      var before: ParsedMetrics?
      for seed in 1...3 as ClosedRange<UInt64> {
        let result = try await cluster.complete(
          ReferenceRequest(
            prompt: "The history of the lighthouse begins", temperature: 0, seed: seed,
            tokenLimit: 30))
        tokenCount += result.summary.completionTokenCount
        drafted += result.summary.draftTokenCount
        accepted += result.summary.acceptedTokenCount
        steps += result.summary.verifyStepCount
        // All but the last token, which is the root of the first step.
        read += result.summary.promptTokenCount - 1 - result.summary.cachedTokenCount
        let metrics = try await self.read(cluster, until: tokenCount)
        func sum(_ name: String) -> Int { Int(metrics.sum("slipstream_" + name)) }
        #expect(sum("verifier_tokens_total") == tokenCount)
        #expect(sum("router_completion_tokens_total") == tokenCount)
        #expect(sum("verifier_step_sessions_total") == steps)
        #expect(sum("verifier_prompt_tokens_total") == read)
        #expect(sum("verifier_drafted_tokens_total") == drafted)
        #expect(sum("verifier_planned_draft_tokens_total") == drafted)
        #expect(sum("verifier_accepted_tokens_total") == accepted)
        #expect(sum("verifier_expected_tokens_total") >= steps)
        #expect(sum("verifier_steps_total") >= steps)
        #expect(
          metrics[#"slipstream_router_requests_total{outcome="length"}"#] == Double(seed))
        for name in ["expected_pass", "pass"] {
          let key = "slipstream_verifier_\(name)_seconds_total"
          #expect(metrics.sum(key) > before?.sum(key) ?? 0)
        }
        before = metrics
      }
      let metrics = try #require(before)
      let single = metrics.values.first {
        $0.key.hasPrefix("slipstream_verifier_pass_seconds{") && $0.key.contains(#"tokens="1""#)
      }
      #expect(single?.value ?? 0 > 0)
      #expect(metrics[#"slipstream_router_workers{role="verifier"}"#] == 1)
    }
  }
}

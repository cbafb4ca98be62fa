import Cluster
import Foundation
import HTTPAPI
import InferenceTypes
import TestSupport
import Testing

extension IntegrationTests {
  /// Drafter and verifier as processes of their own, near and far, in every pipeline.
  @Suite struct RemotePipelineTests {
    private struct Report: Decodable {
      struct Row: Decodable {
        let pipeline: String
        let tokens: Int
        let tokensPerStep: Double
        let draftTokens: Int
        let acceptedTokens: Int
        let bytesPerToken: Double
        let measuredRoundTripMs: Double
        let twoProcessScaling: Double
      }
      struct Source: Decodable {
        let source: String
        let acceptanceByPosition: [Double?]
      }
      struct Summary: Decodable {
        let pipeline: String
        let sources: [Source]
      }
      let roundTripMs: Double
      let hasDraftStore: Bool
      let twoThreadReading: Double
      let results: [Row]
      let summaries: [Summary]
    }

    /// What makes namespaces possible.
    private static var mayDelay: Bool {
      geteuid() == 0 && FileManager.default.isWritableFile(atPath: "/dev/net/tun")
    }

    /// Runs the benchmark on one short prompt. It fails by itself where token ids differ.
    private func report(_ options: [String]) async throws -> Report {
      let draft = try DraftModel()
      let prompts = FileManager.default.temporaryDirectory
        .appending(path: "slipstream-prompts-\(UUID().uuidString).jsonl")
      let line = #"{"id": 1, "category": "count", "turns": ["Write a long story about a river."]}"#
      try Data("\(line)\n".utf8).write(to: prompts)
      // Nothing depends on the file afterwards.
      defer { try? FileManager.default.removeItem(at: prompts) }
      let result = try await Daemon.output(
        [
          "bench", "decode", "-m", try TestFiles.modelPath(), "-md", draft.path, "--prompts",
          prompts.path(), "-n", "40", "--temp", "0", "--ctx-size", "512", "-o", "json",
        ] + options)
      guard result.status == 0 else {
        throw Daemon.Failure(description: "bench ended with \(result.status): \(result.errors)")
      }
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      return try decoder.decode(Report.self, from: result.output)
    }

    private func check(_ report: Report, roundTrip: ClosedRange<Double>) throws {
      #expect(report.results.map(\.pipeline) == ["streamed", "lockstep", "vanilla"])
      #expect(report.summaries.map(\.pipeline) == ["streamed", "lockstep", "vanilla"])
      #expect(report.twoThreadReading > 0 && report.twoThreadReading < 4)
      for row in report.results {
        #expect(row.tokens > 8, "\(row.pipeline)")
        #expect(row.draftTokens >= row.acceptedTokens)
        // A few bytes for each token there, and for each draft back.
        #expect(row.bytesPerToken > 4 && row.bytesPerToken < 2000, "\(row.bytesPerToken)")
        // The verifier hears of it with a heartbeat, which may come after a short text.
        #expect(
          row.measuredRoundTripMs == 0 || roundTrip.contains(row.measuredRoundTripMs),
          "\(row.measuredRoundTripMs) ms")
        #expect(row.twoProcessScaling > 0 && row.twoProcessScaling < 4)
      }
      // Taking turns, the drafts are there before the step. How many are right of the few that a
      // drafter as slow as its target tries before it rests, nobody knows.
      let vanilla = try #require(report.results.last)
      #expect(vanilla.acceptedTokens > 0 && vanilla.tokensPerStep > 1)
      let sources = report.summaries[2].sources
      #expect(sources.map(\.source) == ["remote"], "the verifier drafts nothing unless told")
      // Of the guesses beside each other at most one is right.
      #expect(sources.first?.acceptanceByPosition.first.flatMap { $0 } ?? 0 > 0.1)
    }

    @Test(.timeLimit(.minutes(5)))
    func thePipelinesAgreeOnOneHost() async throws {
      let report = try await report(["--pipelines", "streamed,lockstep,vanilla"])
      #expect(report.roundTripMs == 0)
      try check(report, roundTrip: 0.001...1000)
    }

    @Test(
      .enabled(if: mayDelay, "network namespaces need root and /dev/net/tun"),
      .timeLimit(.minutes(5)))
    func thePipelinesAgreeFarApart() async throws {
      let report = try await report(["--rtt", "20"])
      #expect(report.roundTripMs == 20)
      // The machine may add what it likes, the way takes that long.
      try check(report, roundTrip: 20...1000)
    }

    /// No text of the benchmark changes the store. That tenants begin with its rows is
    /// LocalSourcesTests' to say.
    @Test(.timeLimit(.minutes(5)))
    func aStoreIsTakenAndStaysAsItIs() async throws {
      let folder = FileManager.default.temporaryDirectory
        .appending(path: "slipstream-pair-\(UUID().uuidString)")
      let store = folder.appending(path: "a.store")
      defer { try? FileManager.default.removeItem(at: folder) }  // Best effort: it is temporary.
      let warm = try await Daemon.output([
        "warm", "-m", try TestFiles.modelPath(), "--draft-store", store.path(), "--tokens", "3000",
      ])
      try #require(warm.status == 0, "\(warm.errors)")
      let before = try Data(contentsOf: store)
      let report = try await report([
        "--pipelines", "vanilla", "--methods", "recycle", "--draft-store", store.path(),
      ])
      #expect(report.hasDraftStore)
      #expect(report.summaries.first?.sources.contains { $0.source == "recycling" } == true)
      #expect(try Data(contentsOf: store) == before)
    }

    @Test func whatIsMissingIsNamed() async throws {
      let model = try TestFiles.modelPath()
      let cases: [([String], String)] = [
        (["--pipelines", "streamed"], "-md FILE"),
        (["--rtt", "-1", "-md", model], "0 to 5000"),
        (["--pipelines", "eager", "-md", model], "streamed, lockstep, vanilla"),
        (["--rtt", "1", "-md", model, "--threads", "2"], "--threads"),
        (["--rtt", "1", "-md", model, "--draft-store", "x"], "--methods recycle"),
      ]
      for (options, expected) in cases {
        let result = try await Daemon.output(
          ["bench", "decode", "-m", model, "--prompts", "none.jsonl"] + options)
        #expect(result.status != 0 && result.errors.contains(expected), "\(result.errors)")
      }
    }

    /// The daemons as they are set up by hand; the drafter follows.
    @Test(arguments: ["lockstep", "vanilla"])
    func aVerifierAnnouncesItsPipeline(pipeline: String) async throws {
      let draft = try DraftModel()
      let cluster = try await RunningCluster(
        specType: "none", options: ["--pipeline", pipeline])
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      let prompt = try #require(try Prompts.load().first)
      for temperature in [0, 0.8] as [Float] {
        let request = ReferenceRequest(
          prompt: prompt, temperature: temperature, seed: 3, tokenLimit: 32)
        let result = try await cluster.complete(request)
        #expect(try await References.shared.tokens(request) == result.tokens)
      }
      // Sessions end before the drafter tells. A short one may end before it has begun to draft.
      for _ in 0..<200 where !drafter.log.contains("drafted") {
        try await Task.sleep(for: .milliseconds(10))
      }
      #expect(
        !drafter.log.contains("drafted") || drafter.log.contains("pipeline=\(pipeline)"),
        "\(drafter.log)")
    }

    /// Sources that need no model follow as well.
    @Test func aTrainingFreeDrafterKeepsStep() async throws {
      let cluster = try await RunningCluster(
        specType: "none", options: ["--pipeline", "lockstep"])
      let drafter = try await cluster.startDrafter(specType: "recycle")
      let prompt = try #require(try Prompts.load().first)
      let request = ReferenceRequest(prompt: prompt, temperature: 0, seed: 1, tokenLimit: 48)
      let result = try await cluster.complete(request)
      #expect(try await References.shared.tokens(request) == result.tokens)
      #expect(drafter.isRunning)
    }
  }
}

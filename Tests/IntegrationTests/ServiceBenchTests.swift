import Benchmarks
import Foundation
import Synchronization
import TestSupport
import Testing

/// What a load test reports of servers that behave as the test says.
struct ServiceBenchTests {
  private struct Busy: Error, CustomStringConvertible { let description = "busy" }

  private static func answer(_ text: String, tokenCount: Int, arrivals: [Double])
    -> ServiceBenchmark.Answer
  {
    var answer = ServiceBenchmark.Answer()
    answer.text = text
    answer.tokenCount = tokenCount
    answer.arrivals = arrivals
    answer.seconds = arrivals.last ?? 0
    return answer
  }

  @Test func everyServerIsAskedEverythingInTurns() async throws {
    let asked = Mutex<[String: [Int]]>([:])
    let servers = ["first", "second"].map { name in
      ServiceBenchmark.Server(name: name) { index in
        asked.withLock { $0[name, default: []].append(index) }
        if name == "second", index == 2 { throw Busy() }
        let text = name == "second" && index == 0 ? "other" : "text \(index)"
        return Self.answer(text, tokenCount: 3, arrivals: [0.1, 0.3])
      }
    }
    let order = Mutex<[String]>([])
    let runs = try await ServiceBenchmark(questionCount: 5).run(
      servers, clientCounts: [1, 3], roundCount: 2
    ) { run in order.withLock { $0.append("\(run.server) \(run.clientCount) \(run.round)") } }
    let turns = [
      "first 1 0", "second 1 0", "first 1 1", "second 1 1",
      "first 3 0", "second 3 0", "first 3 1", "second 3 1",
    ]
    #expect(order.withLock { $0 } == turns)
    for name in ["first", "second"] {
      let places = try #require(asked.withLock { $0[name] })
      #expect(places.sorted() == (0..<5).flatMap { [Int](repeating: $0, count: 4) })
    }
    for run in runs {
      let isSecond = run.server == "second"
      #expect(run.failures == (isSecond ? ["busy": 1] : [:]))
      #expect(run.answers.map { $0 == nil } == (0..<5).map { isSecond && $0 == 2 })
      #expect(run.tokenCount == (isSecond ? 12 : 15) && run.seconds > 0)
    }
    #expect(ServiceBenchmark.differing(runs) == [0])
    #expect(ServiceBenchmark.differing(runs.filter { $0.server == "first" }).isEmpty)
  }

  @Test func timesOfAnAnswerFollowFromItsPieces() {
    let answer = Self.answer("abc", tokenCount: 5, arrivals: [0.5, 0.75, 1.5])
    #expect(answer.firstText == 0.5 && answer.pauses == [0.25, 0.75])
    #expect(answer.secondsPerToken == 0.25)
    let short = Self.answer("a", tokenCount: 1, arrivals: [0.5])
    #expect(short.secondsPerToken == nil && short.pauses.isEmpty)
    #expect(Self.answer("", tokenCount: 0, arrivals: []).firstText == nil)
  }

  @Test(arguments: [(0.5, 2.0), (0.51, 3), (0.75, 3), (0.99, 4), (1, 4), (0.01, 1)])
  func percentilesAreValuesThatWereMeasured(share: Double, value: Double) {
    #expect(percentile([4, 1, 3, 2], share) == value)
    #expect(percentile([], share).isNaN && percentile([7], share) == 7)
  }
}

extension SecondRowTests {
  /// `slipstream bench serve` against a running cluster.
  @Suite struct ServiceBenchClusterTests {
    /// A file with the first questions of the project's own.
    private static func questions(_ count: Int) throws -> URL {
      let file = FileManager.default.temporaryDirectory
        .appending(path: "questions-\(UUID().uuidString).jsonl")
      let lines = try Prompts.load().prefix(count).map {
        String(decoding: try JSONEncoder().encode(["turns": [$0]]), as: UTF8.self)
      }
      try Data(lines.joined(separator: "\n").utf8).write(to: file)
      return file
    }

    private static func arguments(_ url: String, _ file: URL, clients: String) -> [String] {
      [
        "bench", "serve", "--url", url, "--prompts", file.path(), "-n", "12", "--sessions", clients,
        "--temp", "0.8", "--seed", "5",
      ]
    }

    @Test func aClusterWithADrafterIsTimedAndWritesOneText() async throws {
      let cluster = try await RunningCluster(specType: "recycle")
      let drafter = try await cluster.startDrafter(specType: "trigram")
      let file = try Self.questions(3)
      defer { try? FileManager.default.removeItem(at: file) }  // Best effort: it is temporary.
      let arguments = Self.arguments(cluster.url, file, clients: "1,3")
      let result = try await Daemon.output(arguments + ["-r", "2", "-o", "json"])
      try #require(result.status == 0, "\(result.errors)")
      let report = try #require(
        try JSONSerialization.jsonObject(with: result.output) as? [String: Any])
      let rows = try #require(report["results"] as? [[String: Any]])
      #expect(rows.map { $0["sessions"] as? Int } == [1, 3] && report["questions"] as? Int == 3)
      for row in rows {
        #expect(row["answers"] as? Int == 6 && (row["failures"] as? [String: Int])?.isEmpty == true)
        #expect(row["tokens_per_step"] as? Double ?? 0 >= 1 && row["speedup"] == nil)
        for key in ["time_to_first_text", "time_per_token", "time_to_last_text"] {
          let times = try #require(row[key] as? [String: Double])
          let (half, most) = (try #require(times["p50"]), try #require(times["p99"]))
          #expect(half > 0 && half <= most, "\(key)")
        }
      }
      let table = try await Daemon.output(arguments)
      let text = String(decoding: table.output, as: UTF8.self)
      #expect(table.status == 0 && text.contains("to first text") && text.contains(cluster.url))
      _ = try await drafter.stop()
    }

    @Test func refusalsAreCountedByTheirReason() async throws {
      let cluster = try await RunningCluster(specType: "none", keys: ["secret"])
      let file = try Self.questions(2)
      defer { try? FileManager.default.removeItem(at: file) }  // Best effort: it is temporary.
      let arguments = Self.arguments(cluster.url, file, clients: "2")
      let refused = try await Daemon.output(arguments)
      #expect(refused.status != 0 && refused.errors.contains("2 of 2 questions were not"))
      let text = String(decoding: refused.output, as: UTF8.self)
      #expect(text.contains("2 times: ") && text.contains("401"))
      let taken = try await Daemon.output(arguments + ["--api-key", "secret"])
      #expect(taken.status == 0, "\(taken.errors)")
      // A script sees it, too, where only some were answered.
      let dead = ["--url", "http://127.0.0.1:1", "--api-key", "secret"]
      let partly = try await Daemon.output(arguments + dead)
      #expect(partly.status != 0 && partly.errors.contains("2 of 4 questions were not"))
    }
  }
}

import Foundation
import InferenceTypes
import TestSupport
import Testing

extension SecondRowTests {
  /// The commands that need no cluster, as a user or a script calls them.
  @Suite struct CommandLineTests {
    private func json(_ data: Data) throws -> [String: Any] {
      try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    @Test func tokenizeTakesArgumentsAndStandardInputAsTheyAre() async throws {
      let model = try TestFiles.modelPath()
      let argument = try await Daemon.output(["tokenize", "-m", model, "--json", "Hello, world!"])
      #expect(try json(argument.output)["tokens"] as? [Int] == [19556, 28, 905, 17])
      let input = try await Daemon.output(
        ["tokenize", "-m", model, "--json"], input: Data(" a\n".utf8))
      let trimmed = try await Daemon.output(["tokenize", "-m", model, "--json", "a"])
      let tokens = try #require(try json(input.output)["tokens"] as? [Int])
      #expect(tokens.last == 198, "the line end is a token")
      #expect(tokens != (try json(trimmed.output)["tokens"] as? [Int]))
    }

    @Test func specialTokensAreParsedOnlyWhereAsked() async throws {
      let model = try TestFiles.modelPath()
      let text = "<|im_start|>user"
      let plain = try await Daemon.output(["tokenize", "-m", model, "--json", text])
      let parsed = try await Daemon.output(
        ["tokenize", "-m", model, "--parse-special", "--json", text])
      #expect(try json(parsed.output)["tokens"] as? [Int] == [1, 4093])
      #expect(try #require(json(plain.output)["tokens"] as? [Int]).first != 1)
    }

    @Test func logitsAreAnArrayWithTheLargestOfEachPosition() async throws {
      let model = try TestFiles.modelPath()
      for backend in ["default", "openblas"] {
        let result = try await Daemon.output([
          "logits", "-m", model, "--tokens", "1,2,3", "--top", "4", "--backend", backend, "--json",
        ])
        let positions = try #require(
          try JSONSerialization.jsonObject(with: result.output) as? [[String: Any]])
        try #require(positions.count == 3)
        for position in positions {
          let top = try #require(position["top"] as? [[String: Any]])
          let logits = try top.map { try #require($0["logit"] as? Double) }
          #expect(logits.count == 4 && logits == logits.sorted(by: >))
          #expect(top.allSatisfy { $0["id"] is Int })
          let sum = try #require(position["logsumexp"] as? Double)
          #expect(sum >= logits[0] && sum < logits[0] + 11)
        }
      }
    }

    @Test func runReportsTextTokensTimesAndDrafts() async throws {
      let result = try await Daemon.output([
        "run", "-m", try TestFiles.modelPath(), "-p", "Count: one two three one two three one",
        "--raw", "-n", "20", "--temp", "0", "--spec-type", "trigram,recycle", "--json",
      ])
      let report = try json(result.output)
      #expect((report["tokens"] as? [Int])?.count == 20)
      #expect(report["finish_reason"] as? String == "length")
      #expect((report["text"] as? String)?.isEmpty == false)
      let timings = try #require(report["timings"] as? [String: Any])
      for key in [
        "prompt_n", "prompt_ms", "prompt_per_second", "prompt_per_token_ms", "predicted_n",
        "predicted_ms", "predicted_per_second", "predicted_per_token_ms", "draft_n",
        "draft_n_accepted",
      ] { #expect(timings[key] is NSNumber, "\(key)") }
      #expect(timings["predicted_n"] as? Int == 20)
    }

    /// One seed, one text: with every draft method, a draft model and every instruction set.
    @Test func runWritesTheSameTokensWhateverDrafts() async throws {
      let model = try TestFiles.modelPath()
      let draft = try DraftModel()
      let fixed = [
        "run", "-m", model, "-p", "Why do leaves change colour in autumn?", "-n", "40", "--temp",
        "0.8", "--seed", "11", "--json",
      ]
      let plain = try await Daemon.output(fixed + ["--spec-type", "none"])
      let expected = try #require(try json(plain.output)["tokens"] as? [Int])
      #expect(expected.count > 10)
      for method in ["trigram", "recycle", "auto", "trigram,recycle"] {
        let other = try await Daemon.output(fixed + ["--spec-type", method])
        #expect(try json(other.output)["tokens"] as? [Int] == expected, "\(method)")
      }
      let drafted = try await Daemon.output(
        fixed + ["--spec-type", "draft", "-md", draft.path, "-t", "2"])
      #expect(try json(drafted.output)["tokens"] as? [Int] == expected)
      let timings = try #require(try json(drafted.output)["timings"] as? [String: Any])
      #expect((timings["draft_n_accepted"] as? Int ?? 0) > 0)
      let avx2 = try await Daemon.output(
        fixed + ["--spec-type", "auto"], environment: ["SLIPSTREAM_ISA": "avx2"])
      if avx2.status == 0 {
        #expect(try json(avx2.output)["tokens"] as? [Int] == expected)
      } else {
        #expect(avx2.errors.contains("avx2"), "this machine has no AVX2, and is told so")
      }
    }

    @Test func benchPrintsRatesAndTheCostCurve() async throws {
      let result = try await Daemon.output([
        "bench", "engine", "-m", try TestFiles.modelPath(), "-t", "1", "-p", "16", "-n", "4", "-r",
        "1", "-o", "json", "--context-lengths", "8,32",
      ])
      let report = try json(result.output)
      #expect(report["allocations_per_pass"] as? Double == 0)
      #expect((report["read_bandwidth_gb_per_s"] as? Double ?? 0) > 0)
      #expect((report["decode_bytes_per_token"] as? Double ?? 0) > 9e7)
      let share = try #require(report["decode_bandwidth_share"] as? Double)
      #expect(share > 0 && report["decode_bandwidth_share_least"] as? Double == share)
      #expect(report["decode_bandwidth_share_most"] as? Double == share)
      let contexts = try #require(report["contexts"] as? [[String: Any]])
      #expect(contexts.map { $0["length"] as? Int } == [0, 8, 32])
      #expect(contexts.allSatisfy { $0["ms_per_token"] as? Double ?? 0 > 0 })
      let memory = try #require(report["peak_memory"] as? [String: Int])
      let (peak, file) = (try #require(memory["peak_bytes"]), try #require(memory["file_bytes"]))
      let keyValue = try #require(memory["key_value_bytes"])
      #expect(Double(peak) < 1.15 * Double(file) + Double(keyValue) + 150e6 && peak > file)
      let rows = try #require(report["results"] as? [[String: Any]])
      for test in ["pp16", "tg4"] {
        let row = try #require(rows.first { $0["test"] as? String == test })
        #expect((row["tokens_per_second"] as? Double ?? 0) > 0 && row["spread"] is NSNumber)
      }
      let curve = try #require(report["v"] as? [String: Double])
      #expect(curve["1"] == 1 && curve["64"] != nil && curve["8"] != nil)
      #expect(report["isa"] is String && report["threads"] as? Int == 1)
    }

    @Test func benchHoldsThreadsAgainstOne() async throws {
      let arguments = [
        "bench", "threads", "-m", try TestFiles.modelPath(), "-t", "2", "-p", "16", "-n", "4",
        "--nodes", "4", "-r", "1",
      ]
      let report = try json(try await Daemon.output(arguments + ["-o", "json"]).output)
      #expect(report["threads"] as? Int == 2 && report["reading"] as? Double ?? 0 > 0)
      let rows = try #require(report["results"] as? [[String: Any]])
      #expect(rows.map { $0["test"] as? String } == ["tg4", "v4", "pp16"])
      for row in rows {
        for (middle, least, most) in [
          ("speedup", "least", "most"), ("apart_speedup", "apart_least", "apart_most"),
        ] {
          let value = try #require(row[middle] as? Double)
          #expect(value > 0 && row[least] as? Double == value && row[most] as? Double == value)
        }
        let one = try #require(row["one_thread_tokens_per_second"] as? Double)
        let two = try #require(row["tokens_per_second"] as? Double)
        #expect(abs(two / one / (row["speedup"] as? Double ?? 0) - 1) < 1e-9)
      }
      let table = String(decoding: try await Daemon.output(arguments).output, as: UTF8.self)
      #expect(table.contains("speed-up") && table.contains("2 engines of one thread at once"))
    }

    /// A draft model that is the target guesses first what the target writes: its drafts fill every
    /// step. The tokens are checked by the command.
    @Test func benchSaysWhatFreeDraftsWouldGain() async throws {
      let model = try TestFiles.modelPath()
      let arguments = [
        "bench", "drafts", "-m", model, "-md", model, "--methods", "draft", "--random-prompts", "1",
        "-n", "24", "--temp", "0", "--nodes", "1,4",
      ]
      let result = try await Daemon.output(arguments + ["-o", "json"])
      try #require(result.status == 0, "\(result.errors)")
      let report = try json(result.output)
      #expect(report["methods"] as? String == "draft" && report["threads"] as? Int == 1)
      let rows = try #require(report["results"] as? [[String: Any]])
      #expect(rows.map { $0["nodes"] as? Int } == [1, 4, nil])
      let means = rows.map { ($0["speedup"] as? [String: Any])?["mean"] as? Double ?? 0 }
      let steps = rows.map { $0["tokens_per_step"] as? Double ?? 0 }
      #expect(means[0] == 1 && steps[0] == 1, "one token a step is decoding without drafts")
      #expect(steps[1] > 2 && steps[1] <= 4 && means[1] <= steps[1] + 1e-9)
      let four = try #require(rows[1]["relative_cost"] as? Double)
      #expect(means[1] >= 0.99 * steps[1] / four, "the last steps may be smaller than four")
      #expect(means[2] >= 1 && rows[2]["relative_cost"] == nil)
      let table = String(decoding: try await Daemon.output(arguments).output, as: UTF8.self)
      #expect(table.contains("planned") && table.contains("worst category"))
    }

    /// The virtual clock takes its times from the costs alone; the tokens are checked by the command.
    @Test func benchSaysWhatAPairWouldDoApart() async throws {
      let model = try TestFiles.modelPath()
      let costs = FileManager.default.temporaryDirectory.appending(
        path: "costs-\(UUID().uuidString).json")
      defer { try? FileManager.default.removeItem(at: costs) }
      let passes = #"{"ms": 40, "relative": [1, 1.02, 1.04, 1.06, 1.08, 40], "attention": 0}"#
      let draft = passes.replacing("40,", with: "4,", maxReplacements: 1)
      try Data(#"{"costs": {"target": \#(passes), "draft": \#(draft)}}"#.utf8).write(to: costs)
      func arguments(_ file: String, rtt: String) -> [String] {
        [
          "bench", "apart", "-m", model, "-md", model, "--random-prompts", "1", "-n", "24",
          "--temp", "0", "--rtt", rtt, "--pipelines", "streamed,vanilla", "--costs", file,
        ]
      }
      var reports: [Data] = []
      for _ in 0..<2 {
        let result = try await Daemon.output(arguments(costs.path(), rtt: "0,30") + ["-o", "json"])
        try #require(result.status == 0, "\(result.errors)")
        reports.append(result.output)
      }
      #expect(reports[0] == reports[1], "the same costs give the same run")
      let rows = try #require(try json(reports[0])["results"] as? [[String: Any]])
      #expect(
        rows.map { $0["pipeline"] as? String } == ["streamed", "vanilla", "streamed", "vanilla"])
      #expect(rows.map { $0["rtt_ms"] as? Double } == [0, 0, 30, 30])
      let means = rows.map { ($0["speedup"] as? [String: Any])?["mean"] as? Double ?? 0 }
      // A draft model that is the target is right with its first guess.
      #expect(means[0] > 2.5 && means[0] < 5 && means[2] > 1.2 * means[3] && means[1] > means[3])
      let table = try await Daemon.output(arguments(costs.path(), rtt: "0"))
      #expect(String(decoding: table.output, as: UTF8.self).contains("waiting"))
      for (bad, said) in [
        (arguments(costs.path(), rtt: "-1"), "--rtt"),
        (arguments("/nowhere", rtt: "0"), "/nowhere"),
        (arguments(model, rtt: "0"), "bench apart -o json"),
        (arguments(costs.path(), rtt: "0") + ["--methods", "skip"], "skip"),
      ] {
        let result = try await Daemon.output(bad)
        #expect(result.status != 0 && result.errors.contains(said), "\(result.errors)")
      }
    }

    /// Every step says what was expected and what came; the tokens are checked by the command.
    @Test func benchExplainsItsSteps() async throws {
      let arguments = [
        "bench", "decode", "-m", try TestFiles.modelPath(), "--prompts",
        TestFiles.golden("prompts.jsonl").path(), "--methods", "auto", "-n", "12", "--explain",
        "--sessions", "8",
      ]
      let result = try await Daemon.output(arguments + ["-o", "json"])
      try #require(result.status == 0, "\(result.errors)")
      let reports = try JSONSerialization.jsonObject(with: result.output) as? [[String: Any]]
      let report = try #require(reports?.first)
      let steps = try #require(report["steps"] as? [[String: Any]])
      #expect(steps.map { $0["number"] as? Int } == Array(1...steps.count))
      let sessions = steps.compactMap { $0["sessions"] as? Int }
      #expect(sessions.max() == 8 && sessions.count == steps.count)
      #expect(steps.contains { !($0["drafts"] as? [String: Int] ?? [:]).isEmpty })
      let tokens = steps.reduce(0) { $0 + ($1["tokens"] as? Int ?? 0) }
      #expect(report["tokens"] as? Int == tokens && tokens > 0)
      for key in ["mean_time_error", "mean_token_error", "pass_time", "pass_time_expected"] {
        #expect(report[key] as? Double ?? -1 >= 0, "\(key)")
      }
    }

    @Test func inspectShowsAFileAndRefusesADamagedOne() async throws {
      let model = try TestFiles.modelPath()
      let whole = try await Daemon.output(["inspect", model, "--json"])
      let report = try json(whole.output)
      #expect((report["tensors"] as? [Any])?.count == 272)
      #expect((report["metadata"] as? [String: Any])?["llama.block_count"] as? Int == 30)
      let table = try await Daemon.output(["inspect", model])
      #expect(String(decoding: table.output, as: UTF8.self).contains("blk.29.ffn_up.weight"))

      let damaged = FileManager.default.temporaryDirectory.appending(path: "damaged.gguf")
      try Data(contentsOf: URL(filePath: model)).prefix(100_000).write(to: damaged)
      defer { try? FileManager.default.removeItem(at: damaged) }  // Best effort: it is temporary.
      for arguments in [
        ["inspect", damaged.path()], ["run", "-m", damaged.path(), "-p", "x"],
        ["tokenize", "-m", damaged.path(), "x"],
      ] {
        let result = try await Daemon.output(arguments)
        #expect(result.status == 1)
        #expect(result.errors.contains(damaged.path()), "\(result.errors)")
      }
    }

    @Test func quantizeWritesAModelThatAnswers() async throws {
      let model = try TestFiles.modelPath()
      let path = FileManager.default.temporaryDirectory
        .appending(path: "quantized-\(UUID().uuidString).gguf").path()
      defer { try? FileManager.default.removeItem(atPath: path) }  // Best effort: it is temporary.
      let first = try await Daemon.output(["quantize", model, path, "q8_0", "--json"])
      try #require(first.status == 0, "\(first.errors)")
      let report = try json(first.output)
      #expect(report["type"] as? String == "Q8_0")
      let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
      #expect(report["output_bytes"] as? Int == size)
      let bits = try #require(report["bits_per_weight"] as? Double)
      #expect((8.5..<8.6).contains(bits))
      let groups = try #require(report["groups"] as? [[String: Any]])
      let rounded = try #require(groups.first { $0["type"] as? String == "Q8_0" })
      #expect((0..<0.02).contains(try #require(rounded["relative_error"] as? Double)))
      // Standard error is no terminal: a line for each tensor, and the note about rounding twice.
      #expect(first.errors.contains("[272/272]") && !first.errors.contains("\r"))
      #expect(first.errors.contains("quantised already (Q4_1)"))
      let answer = try await Daemon.output([
        "run", "-m", path, "-p", "The capital of France is", "--raw", "-n", "4", "--temp", "0",
      ])
      #expect(String(decoding: answer.output, as: UTF8.self).contains("Paris"))

      let refused = try await Daemon.output(["quantize", model, path, "q4_0"])
      #expect(refused.status == 1 && refused.errors.contains("--force"), "\(refused.errors)")
      let forced = try await Daemon.output(["quantize", model, path, "q4_0", "--force"])
      #expect(forced.status == 0 && forced.errors.contains("Q4_1 to Q4_0"))
      #expect(String(decoding: forced.output, as: UTF8.self).contains("bits per weight"))
    }

    /// A warm store changes no token, and what a text has taught it outlives warming it again. That
    /// its rows are guessed from is RowSurveyTests' to say: the number of steps of a first answer
    /// depends on what else the machine does.
    @Test func aWarmStoreChangesNoTokenAndKeepsWhatTextsTaught() async throws {
      let model = try TestFiles.modelPath()
      let folder = FileManager.default.temporaryDirectory
        .appending(path: "slipstream-warm-\(UUID().uuidString)")
      let path = folder.appending(path: "a.store").path()
      defer { try? FileManager.default.removeItem(at: folder) }  // Best effort: it is temporary.
      func answer(_ options: [String]) async throws -> (tokens: [Int], steps: Int) {
        let result = try await Daemon.output(
          [
            "run", "-m", model, "-p", "Name three rivers of Europe.", "-n", "40", "--temp", "0",
            "--json",
          ] + options)
        try #require(result.status == 0, "\(result.errors)")
        let report = try json(result.output)
        let speculation = try #require(report["speculation"] as? [String: Any])
        return (
          try #require(report["tokens"] as? [Int]), try #require(speculation["steps"] as? Int)
        )
      }
      let plain = try await answer(["--spec-type", "none"])
      let first = try await Daemon.output(
        ["warm", "-m", model, "--draft-store", path, "--tokens", "3000"])
      try #require(first.status == 0, "\(first.errors)")
      let added = String(decoding: first.output, as: UTF8.self)
      #expect(added.contains(path) && added.contains("rows of 3000 tokens"), "\(added)")
      let warm = try await answer(["--spec-type", "recycle", "--draft-store", path])
      #expect(warm.tokens == plain.tokens)
      let again = try await Daemon.output(
        ["warm", "-m", model, "--draft-store", path, "--tokens", "3000"])
      #expect(String(decoding: again.output, as: UTF8.self).contains("rows of 0 tokens"))
      // How soon drafts are worth their cost depends on that, too.
      var steps = [warm.steps]
      while steps.last ?? 0 > 20, steps.count < 8 {
        let taught = try await answer(["--spec-type", "recycle", "--draft-store", path])
        #expect(taught.tokens == plain.tokens)
        steps.append(taught.steps)
      }
      #expect(steps.count > 1 && steps.last ?? 0 <= 20, "\(steps) steps for 40 tokens")
    }

    /// The command itself compares the tokens of both.
    @Test func benchLoadTakesTurnsWithDraftsAndWithout() async throws {
      let result = try await Daemon.output([
        "bench", "load", "-m", try TestFiles.modelPath(), "--random-prompts", "3", "-n", "6",
        "--temp", "1.5", "-s", "3", "--sessions", "2", "-r", "2", "-o", "json",
      ])
      try #require(result.status == 0, "\(result.errors)")
      let report = try json(result.output)
      let rows = try #require(report["results"] as? [[String: Any]])
      #expect(rows.map { $0["method"] as? String } == ["none", "auto", "none", "auto"])
      #expect(Set(rows.compactMap { $0["tokens"] as? Int }).count == 1)
      #expect(rows.allSatisfy { ($0["processor_seconds"] as? Double ?? 0) > 0 })
      let plain = try #require(rows.first)
      #expect(plain["tokens_per_step"] as? Double == 1 && plain["draft_tokens"] as? Int == 0)
      let summary = try #require((report["summaries"] as? [[String: Any]])?.first)
      let ratios = try ["least", "median", "most"].map { try #require(summary[$0] as? Double) }
      #expect(ratios == ratios.sorted() && ratios[0] > 0 && summary["sessions"] as? Int == 2)
    }

    @Test(arguments: [
      (["run", "-m", "/no/such/file.gguf", "-p", "x"], "/no/such/file.gguf"),
      (["run", "-m", "MODEL", "-p", "x", "--spec-type", "magic"], "magic"),
      (["run", "-m", "MODEL", "-p", "x", "--spec-type", "draft"], "-md"),
      (["run", "-m", "MODEL", "-p", "x", "--top-p", "1.5"], "topP"),
      (["run", "-m", "MODEL", "-p", "x", "--temp", "-1"], "temperature"),
      (["run", "-m", "MODEL", "-p", "x", "--ctx-size", "9000"], "8192"),
      (["run", "-m", "MODEL", "-p", "x", "-t", "0"], "thread"),
      (["run", "-m", "MODEL", "-p", "x", "--logit-bias", "5"], "TOKEN+BIAS"),
      (["logits", "-m", "MODEL", "--tokens", "1,zwei"], "zwei"),
      (["logits", "-m", "MODEL", "--tokens", "1,99999999"], "49152"),
      (["logits", "-m", "MODEL", "--tokens", "1", "--backend", "cuda"], "openblas"),
      (["bench", "engine", "-m", "MODEL", "-p", "0"], "0"),
      (["bench", "threads", "-m", "MODEL", "-t", "1"], "2 or more"),
      (["simulate", "--alpha", "0.7,0.8"], "one number"),
      (["simulate", "--linger", "-1"], "--linger"),
      (["bench", "threads", "-m", "MODEL", "-t", "2", "--nodes", "4,x"], "--nodes"),
      (["bench", "decode", "-m", "MODEL", "--prompts", "x", "--sessions", "2"], "--explain"),
      (["bench", "drafts", "-m", "MODEL", "--random-prompts", "1", "--nodes", "2,0"], "--nodes"),
      (["bench", "drafts", "-m", "MODEL", "--random-prompts", "1", "--nodes", ","], "--nodes"),
      (["bench", "drafts", "-m", "MODEL", "--random-prompts", "1", "-n", "0"], "-n 0"),
      (
        ["bench", "drafts", "-m", "MODEL", "--random-prompts", "1", "--methods", "none"],
        "without drafts"
      ),
      (["bench", "drafts", "-m", "MODEL", "--random-prompts", "1", "--methods", "draft"], "-md"),
      (["bench", "decode", "-m", "MODEL"], "--random-prompts"),
      (
        [
          "bench", "decode", "-m", "MODEL", "--random-prompts", "1", "--draft-store",
          "/tmp/slipstream-no-such.store",
        ], "slipstream warm makes one"
      ),
      (["warm", "-m", "MODEL", "--draft-store", "none"], "a file or a folder"),
      (["warm", "-m", "MODEL", "--tokens", "0"], "at least 1"),
      (["warm", "-m", "MODEL", "--draft-store", "/proc/x.store"], "cannot be written"),
      (["bench", "load", "-m", "MODEL", "--prompts", "x", "--random-prompts", "1"], "either"),
      (["bench", "load", "-m", "MODEL", "--random-prompts", "0"], "100000"),
      (["bench", "load", "-m", "MODEL", "--random-prompts", "1", "--sessions", "0"], "clients"),
      (["bench", "load", "-m", "MODEL", "--random-prompts", "1", "--methods", "x"], "recycle"),
      (["bench", "serve", "--prompts", "/no/such/file"], "/no/such/file"),
      (["bench", "serve", "--prompts", "x", "--sessions", "0"], "--sessions"),
      (["bench", "serve", "--prompts", "x", "--url", "http://a", "--url", "http://a"], "--url"),
      (["quantize", "MODEL", "/tmp/unwritten.gguf", "q9"], "Q4_K_M"),
      (["quantize", "MODEL", "MODEL", "q8_0", "--force"], "input file"),
      (["quantize", "/no/such/file.gguf", "/tmp/unwritten.gguf", "q8_0"], "/no/such/file.gguf"),
      (["quantize", "MODEL", "/no/such/folder/out.gguf", "q8_0"], "/no/such/folder/out.gguf"),
      (["quantize", "MODEL", "/tmp/unwritten.gguf", "q8_0", "-t", "0"], "thread"),
      (["router", "-m", "MODEL", "--host", "0.0.0.0", "--port", "0"], "--api-key"),
      (["router", "-m", "MODEL", "--bind", "tcp://0.0.0.0:*"], "--insecure-plaintext"),
      (["verifier", "-m", "MODEL", "--bind", "tcp://0.0.0.0:*"], "--insecure-plaintext"),
      (["drafter", "-m", "MODEL", "--spec-type", "none"], "--spec-type"),
      (["run", "-m", "MODEL", "-p", "x", "--cpu-range", "3-1"], "--cpu-range"),
      (["run", "-m", "MODEL", "-p", "x", "--cpu-range", "900-901"], "none of these"),
      (["run", "-m", "MODEL", "-p", "x", "--kv-memory", "0"], "--kv-memory"),
      (["run", "-m", "MODEL", "-p", "x", "--kv-memory", "1K"], "one block of 16 tokens"),
      (["run", "-m", "MODEL", "-p", "x", "--cache-type-k", "q4_0"], "q8_0"),
      (["verifier", "-m", "MODEL", "--cache-type-v", "q8_0"], "--cache-type-v"),
      (["generate", "x", "--url", "http://127.0.0.1:1"], "127.0.0.1:1"),
    ])
    func mistakesAreNamed(arguments: [String], word: String) async throws {
      let model = try TestFiles.modelPath()
      let result = try await Daemon.output(arguments.map { $0 == "MODEL" ? model : $0 })
      #expect(result.status != 0)
      #expect(result.errors.contains(word), "\(result.errors)")
      #expect(!result.errors.contains("Fatal error"))
    }

    @Test func moreThreadsThanProcessorsAreWarnedOf() async throws {
      let result = try await Daemon.output([
        "run", "-m", try TestFiles.modelPath(), "-p", "x", "-n", "1", "--cpu-range", "0",
        "--threads", "2",
      ])
      #expect(result.status == 0)
      #expect(result.errors.contains("1 available CPUs"), "\(result.errors)")
    }

    @Test func unknownInstructionSetsAreNamed() async throws {
      let result = try await Daemon.output(
        ["run", "-m", try TestFiles.modelPath(), "-p", "x"], environment: ["SLIPSTREAM_ISA": "mmx"])
      #expect(result.status == 1 && result.errors.contains("scalar"), "\(result.errors)")
    }

    /// `up` starts three processes; they end with it, also when it is killed.
    @Test(arguments: [SIGTERM, SIGINT, SIGKILL])
    func upStartsACluster(signal: Int32) async throws {
      let cluster = try Daemon(
        "up", ["up", "-m", try TestFiles.modelPath(), "--port", "0", "--draft-store", "none"])
      let ready = try await cluster.line().split(separator: " ").map(String.init)
      try #require(ready.count == 2 && ready[0] == "ready")
      let answer = try await Daemon.output([
        "generate", "The capital of France is", "--url", ready[1], "--temp", "0", "-n", "4",
      ])
      #expect(String(decoding: answer.output, as: UTF8.self).contains("Paris"))
      #expect(answer.errors.contains("tokens/s"))
      cluster.signal(signal)
      let deadline = ContinuousClock().now + .seconds(30)
      var isGone = false
      while !isGone, ContinuousClock().now < deadline {
        let probe = try await Daemon.output(["generate", "x", "--url", ready[1], "-n", "1"])
        isGone = probe.status != 0
      }
      #expect(isGone, "the router still answers")
      if signal != SIGKILL { #expect(try await cluster.stop() == 0, "\(cluster.log)") }
    }
  }
}

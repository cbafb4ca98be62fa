import ArgumentParser
import Benchmarks
import Cluster
import Decoding
import Engine
import Foundation
import GGUF
import InferenceTypes
import Tokenizer

/// `slipstream bench apart`.
struct DistantBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "apart",
    abstract: "What a drafter and a verifier would do on hosts of their own, so far apart.",
    discussion: """
      Both models really run, one after the other, and a virtual clock puts their passes, at what \
      these take alone, in the order that pipeline and network would: no memory is shared, and \
      other work on this machine changes nothing. What daemons do beside their passes takes no \
      time; at the start of a text the first guesses are on their way, and what other texts \
      taught is forgotten. The texts are those of plain decoding, or it is an error.
      """)

  @OptionGroup var model: ModelOptions
  @OptionGroup var sampling: SamplingOptions

  @Option(
    name: [.customLong("md", withSingleDash: true), .customLong("model-draft")],
    help: "Draft model file (GGUF).")
  var draftModel: String

  @OptionGroup var prompts: PromptOptions

  @Option(help: "Milliseconds of round trip, several separated by commas.")
  var rtt = "0,20"

  @Option(help: "Pipelines separated by commas, of streamed, lockstep, vanilla.")
  var pipelines = "streamed,lockstep,vanilla"

  @Option(help: "By which the verifier drafts beside the drafter, as its --spec-type.")
  var methods = "none"

  @Option(help: "draft (the draft model writes trees) or draft-chain.")
  var drafterSpecType = "draft"

  @Option(name: .customLong("draft-ms"), help: "Time of a draft pass over one token, as if.")
  var draftMilliseconds: Double?

  @Option(
    help: """
      What passes take, from what this command printed before with -o json: two runs with the same \
      costs differ by what drafting and planning do.
      """)
  var costs: String?

  @Option(
    name: [.customShort("n"), .customLong("n-predict")], parsing: .unconditional,
    help: "Most new tokens; -1 goes on to the end of the context.")
  var tokenLimit = 128

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  private func roundTrips() throws -> [Double] {
    try rtt.split(separator: ",", omittingEmptySubsequences: false).map { part in
      guard let milliseconds = Double(part), (0...5000).contains(milliseconds) else {
        throw ValidationError("--rtt: \"\(part)\" is not a time from 0 to 5000 milliseconds")
      }
      return milliseconds
    }
  }

  func validate() throws {
    guard tokenLimit >= -1, tokenLimit != 0 else {
      throw ValidationError("-n \(tokenLimit): expected -1 or a number of tokens")
    }
    guard ["draft", "draft-chain"].contains(drafterSpecType) else {
      throw ValidationError(
        "--drafter-spec-type \(drafterSpecType): expected draft or draft-chain")
    }
    if let draftMilliseconds, !(0...60_000).contains(draftMilliseconds) {
      throw ValidationError("--draft-ms \(draftMilliseconds): expected 0 to 60000")
    }
    _ = try roundTrips()
    _ = try RemoteDecodeBench.pipelines(pipelines)
    let local = try DraftMethods(
      parsing: methods.replacing("+", with: ","), hasDraftModel: false)
    guard !local.usesSkipping else {
      throw ValidationError("--methods \(methods): skip is not for a verifier with a drafter")
    }
  }

  func run() throws {
    let known = try costs.map(PairCosts.init(path:))
    let file = try ModelLoading.file(model.model)
    let tokenizer = try BytePairTokenizer(file: file)
    let engine = try ModelLoading.engine(model, file: file)
    let draftEngine = try ModelLoading.draftEngine(
      draftModel, tokenizer: tokenizer, target: engine, options: model)
    let benchmark = try DistantPairBenchmark(
      engine: engine, draftEngine: draftEngine, targetCosts: known?.target.measured,
      draftCosts: known?.draft.measured,
      draftTime: draftMilliseconds.map { .seconds($0 / 1000) })
    let pipelines = try RemoteDecodeBench.pipelines(pipelines)
    let roundTrips = try roundTrips().map { Duration.seconds($0 / 1000) }
    let rows = try benchmark.run(
      try prompts.load(template: try ChatTemplate(file: file), tokenizer: tokenizer),
      methods: try DraftMethods(
        parsing: methods.replacing("+", with: ","), hasDraftModel: false),
      shape: drafterSpecType == "draft" ? .tree : .chain, pipelines: pipelines,
      roundTrips: roundTrips, sampling: try sampling.parameters(),
      tokenLimit: tokenLimit < 0 ? nil : tokenLimit, stopTokens: tokenizer.endOfGeneration)
    let report = Report(
      costs: PairCosts(target: benchmark.targetCosts, draft: benchmark.draftCosts),
      results: roundTrips.flatMap { roundTrip in
        pipelines.compactMap { pipeline in
          Row(rows.filter { $0.pipeline == pipeline && $0.roundTrip == roundTrip })
        }
      })
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  private struct Row: Encodable {
    let rttMs: Double
    let pipeline: String
    let speedup: SpeedupSummary
    /// Tokens of all texts over their steps.
    let tokensPerStep: Double
    /// Passes of the draft model that ran to their end, and those that were given up.
    let passesPerStep: Double
    let abortedPerStep: Double
    /// Share of the time in which the target waited for drafts that it expected; absent where it
    /// takes turns.
    let waiting: Double?

    /// - Returns: `nil` without texts.
    init?(_ rows: [DistantPairBenchmark.Row]) {
      guard let first = rows.first else { return nil }
      rttMs = first.roundTrip / .milliseconds(1)
      pipeline = first.pipeline.rawValue
      speedup = SpeedupSummary(rows.map { ($0.category, $0.speedup, 0) })
      func sum(_ value: (DistantPair.Result) -> Int) -> Double {
        Double(rows.reduce(0) { $0 + value($1.result) })
      }
      let steps = max(1, sum(\.statistics.stepCount))
      tokensPerStep = sum(\.tokens.count) / steps
      passesPerStep = sum(\.passCount) / steps
      abortedPerStep = sum(\.abortedCount) / steps
      waiting =
        first.pipeline != .streamed
        ? nil
        : rows.reduce(.zero) { $0 + $1.result.waited }
          / rows.reduce(.zero) { $0 + $1.result.duration }
    }
  }

  private struct Report: Encodable {
    let costs: PairCosts
    let results: [Row]

    var table: String {
      var text =
        "speed-up over the target alone, a token of it in \(rounded(costs.target.ms)) ms, of the draft "
        + "model in \(rounded(costs.draft.ms)) ms; v(8) \(rounded(costs.target.v(8)))\n\n"
        + padded("rtt", 8) + padded("pipeline", 11) + SpeedupSummary.heading
        + padded("per step", 10) + padded("passes", 8) + padded("aborted", 9) + "waiting\n"
      for row in results {
        text +=
          padded(rounded(row.rttMs), 8) + padded(row.pipeline, 11) + row.speedup.cells
          + padded(rounded(row.tokensPerStep), 10) + padded(rounded(row.passesPerStep), 8)
          + padded(rounded(row.abortedPerStep), 9)
          + (row.waiting.map { "\(rounded(100 * $0)) %" } ?? "") + "\n"
      }
      return text
    }
  }
}

/// What passes of two models take.
private struct PairCosts: Codable {
  struct Passes: Codable {
    /// Milliseconds over one token.
    let ms: Double
    /// `[n - 1]`: over n tokens, in terms of one.
    let relative: [Float]
    /// See `VerifyCosts.attention`.
    let attention: Float

    init(_ costs: MeasuredCosts) {
      ms = costs.single / .milliseconds(1)
      relative = costs.costs.relative
      attention = costs.costs.attention
    }

    var measured: MeasuredCosts {
      MeasuredCosts(
        known: VerifyCosts(relative: relative, attention: attention), single: .seconds(ms / 1000))
    }

    var isPossible: Bool {
      (ms == 0 || ms >= 1e-3) && ms <= 60_000 && (0...1).contains(attention)
        && (1...4096).contains(relative.count) && relative.allSatisfy { (1e-3...1e6).contains($0) }
    }

    func v(_ count: Int) -> Double { Double(measured.costs.cost(count)) }
  }

  let target: Passes
  let draft: Passes

  init(target: MeasuredCosts, draft: MeasuredCosts) {
    self.target = Passes(target)
    self.draft = Passes(draft)
  }

  /// - Throws: `CommandFailure` that says what was expected.
  init(path: String) throws {
    struct Report: Decodable { let costs: PairCosts }
    let data: Data
    do { data = try Data(contentsOf: URL(filePath: path)) } catch {
      throw CommandFailure(description: "\(path): \(error.localizedDescription)")
    }
    guard let report = try? JSONDecoder().decode(Report.self, from: data),
      report.costs.target.isPossible, report.costs.draft.isPossible, report.costs.target.ms > 0
    else {
      throw CommandFailure(
        description: "\(path): no costs in it; expected what slipstream bench apart -o json prints")
    }
    self = report.costs
  }
}

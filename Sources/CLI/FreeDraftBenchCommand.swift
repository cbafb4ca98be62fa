import ArgumentParser
import Benchmarks
import Cluster
import Decoding
import Engine
import Foundation
import GGUF
import InferenceTypes
import Tokenizer

/// `slipstream bench drafts`.
struct FreeDraftBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drafts",
    abstract: "What drafts would gain if they cost nothing, by the size of steps.",
    discussion: """
      Every step has all the drafts it can take, drawn from all that is known by then; only the \
      target's passes count, at what passes of their size take alone on this machine. No pipeline \
      carries the same drafts further. The texts are those of plain decoding, or it is an error.
      """)

  @OptionGroup var model: ModelOptions
  @OptionGroup var sampling: SamplingOptions

  @Option(
    name: [.customLong("md", withSingleDash: true), .customLong("model-draft")],
    help: "Draft model file (GGUF).")
  var draftModel: String?

  @OptionGroup var prompts: PromptOptions

  @Option(help: "Draft methods, as --spec-type of slipstream run.")
  var methods = "auto"

  @Option(
    help: "A store that every generation starts with, and that stays as it is (slipstream warm).")
  var draftStore: String?

  @Option(help: "Sizes of steps separated by commas, the token that is known included.")
  var nodes = "2,3,4,6,8,12,16,24,32"

  @Option(
    name: [.customShort("n"), .customLong("n-predict")], parsing: .unconditional,
    help: "Most new tokens; -1 goes on to the end of the context.")
  var tokenLimit = 256

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  func validate() throws {
    guard tokenLimit >= -1, tokenLimit != 0 else {
      throw ValidationError("-n \(tokenLimit): expected -1 or a number of tokens")
    }
  }

  func run() throws {
    let file = try ModelLoading.file(model.model)
    let tokenizer = try BytePairTokenizer(file: file)
    let engine = try ModelLoading.engine(model, file: file)
    let draftEngine = try draftModel.map {
      try ModelLoading.draftEngine($0, tokenizer: tokenizer, target: engine, options: model)
    }
    let sizes = try EngineBenchCommand.numbers(
      nodes, option: "--nodes", limit: min(128, engine.contextLength - 1))
    guard !sizes.isEmpty else { throw ValidationError("--nodes: names no size") }
    let drafts = try DraftMethods(
      parsing: methods.replacing("+", with: ","), hasDraftModel: draftEngine != nil)
    guard drafts.list != ["none"] else {
      throw ValidationError("--methods none: without drafts there is nothing to gain")
    }
    let vocabularyCount = engine.model.shape.vocabularyCount
    var store = try draftStore.map {
      try LocalDraftStore.existing(
        $0, model: file, tokenizer: tokenizer, vocabularyCount: vocabularyCount)
    }.map { LocalDraftStore($0, methods: drafts, vocabularyCount: vocabularyCount) }
    let benchmark = try FreeDraftBenchmark(
      engine: engine, draftEngine: draftEngine, sizeMax: sizes.max() ?? 1)
    let rows = try benchmark.run(
      try prompts.load(template: try ChatTemplate(file: file), tokenizer: tokenizer),
      methods: drafts, sources: store?.sources, nodeCounts: sizes,
      sampling: try sampling.parameters(), tokenLimit: tokenLimit < 0 ? nil : tokenLimit,
      stopTokens: tokenizer.endOfGeneration)
    let report = Report(
      methods: drafts.list.joined(separator: "+"), isa: engine.model.kernels.name,
      threads: engine.threadCount,
      results: (sizes.map { Optional($0) } + [nil]).compactMap { size in
        Row(size, rows.filter { $0.nodeCount == size }, benchmark.costs.costs)
      })
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  private struct Row: Encodable {
    /// Nodes of a step; absent where the planner chose them.
    let nodes: Int?
    /// What a pass over so many costs, in passes over one.
    let relativeCost: Float?
    /// Tokens of all texts over their steps.
    let tokensPerStep: Double
    let speedup: SpeedupSummary

    /// - Returns: `nil` without prompts.
    init?(_ nodes: Int?, _ rows: [FreeDraftBenchmark.Row], _ costs: VerifyCosts) {
      guard !rows.isEmpty else { return nil }
      self.nodes = nodes
      relativeCost = nodes.map(costs.cost)
      let steps = rows.reduce(0) { $0 + $1.stepCount }
      tokensPerStep = Double(rows.reduce(0) { $0 + $1.tokenCount }) / Double(max(1, steps))
      speedup = SpeedupSummary(rows.map { ($0.category, $0.speedup, 0) })
    }
  }

  private struct Report: Encodable {
    let methods: String
    let isa: String
    let threads: Int
    let results: [Row]

    var table: String {
      var text =
        "speed-up if the drafts of \(methods) cost nothing (\(isa), \(threads) thread(s))\n\n"
      let widths = [9, 8, 10, 8, 8, 8, 8, 8]
      func line(_ cells: [String]) -> String {
        zip(cells, widths).map { padded($0, $1) }.joined()
      }
      text +=
        line(["nodes", "v(n)", "per step", "median", "mean", "least", "most"])
        + "worst category\n"
      for row in results {
        let categories = row.speedup.categories.min { ($0.value, $0.key) < ($1.value, $1.key) }
        text +=
          line([
            row.nodes.map(String.init) ?? "planned",
            row.relativeCost.map { rounded(Double($0)) } ?? "", rounded(row.tokensPerStep),
            rounded(row.speedup.median), rounded(row.speedup.mean), rounded(row.speedup.least),
            rounded(row.speedup.most),
          ]) + "\(rounded(row.speedup.worstCategory)) (\(categories?.key ?? ""))\n"
      }
      return text
    }
  }
}

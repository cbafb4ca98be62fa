import ArgumentParser
import Benchmarks
import Cluster
import Decoding
import Engine
import Foundation
import GGUF
import InferenceTypes
import Tokenizer

/// `slipstream bench decode`.
struct DecodeBenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decode",
    abstract: "Speed-up of draft methods over plain decoding, prompt by prompt.",
    discussion: """
      Plain decoding and the methods take turns on every prompt; every generation starts with \
      empty stores, or with --draft-store. Ends with an error where a method changes the token ids \
      and its verify rule says that it must not: under gumbel-match and match always, under the \
      other lossless rules at temperature 0. Each text is as long as its rule makes it; speed-ups \
      compare times of a token.

      With --pipelines or --rtt, drafter and target are processes of their own, each on one CPU, \
      and their pipelines take turns with the target alone. --rtt puts them into network \
      namespaces with a delay in between, for which it has to be root.
      """)

  @OptionGroup var model: ModelOptions
  @OptionGroup var sampling: SamplingOptions

  @Option(
    name: [.customLong("md", withSingleDash: true), .customLong("model-draft")],
    help: "Draft model file (GGUF).")
  var draftModel: String?

  @OptionGroup var prompts: PromptOptions

  @Option(
    help: """
      Methods separated by commas; + combines, as in trigram+recycle: recycle,auto unless told. With \
      --pipelines, the one by which the verifier drafts beside the drafter: none unless told.
      """)
  var methods: String?

  @Option(
    help: """
      A store that every generation starts with, and that stays as it is. With --pipelines, for \
      the verifier's own drafts, and only its rows that come from no text (slipstream warm).
      """)
  var draftStore: String?

  @Option(
    help: """
      Verify rules separated by commas; every method is judged by each of them. Lossy ones, marked \
      as such, only where named.
      """)
  var verifyRules = VerifyRule.gumbelMatch.rawValue

  @OptionGroup var lossy: LossyRuleOptions

  @Option(
    name: [.customShort("n"), .customLong("n-predict")], parsing: .unconditional,
    help: "Most new tokens; -1 goes on to the end of the context.")
  var tokenLimit = 256

  @Option(name: [.customShort("r"), .customLong("repetitions")], help: "Turns on each prompt.")
  var repetitions = 1

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  @Flag(
    help: """
      Say of every step what was planned, expected and got, instead of comparing times: sessions, \
      drafts by source, tokens and milliseconds.
      """)
  var explain = false

  @Option(help: "Prompts decoded at a time, in shared passes, with --explain.")
  var sessions = 1

  @Option(
    help:
      "Across processes: pipelines separated by commas, of streamed, lockstep, vanilla."
  )
  var pipelines: String?

  @Option(
    parsing: .unconditional, help: "Milliseconds of round trip added between drafter and target.")
  var rtt: Double?

  @Option(help: "Across processes: draft (the draft model writes trees) or draft-chain.")
  var drafterSpecType = "draft"

  @Option(help: "Log level of the processes.")
  var workerLogLevel = "warning"

  /// Pipelines to compare across processes; `nil` where methods are compared in one.
  private func remotePipelines() throws -> [Pipeline]? {
    guard pipelines != nil || rtt != nil else { return nil }
    return try pipelines.map(RemoteDecodeBench.pipelines) ?? Pipeline.allCases
  }

  /// By which the verifier drafts beside the drafter, as its --spec-type.
  private var localMethods: String { methods?.replacing("+", with: ",") ?? "none" }

  func validate() throws {
    guard sessions >= 1, sessions <= 256 else {
      throw ValidationError("--sessions \(sessions): expected 1 to 256")
    }
    guard explain || sessions == 1 else {
      throw ValidationError("--sessions \(sessions): needs --explain")
    }
    guard ["draft", "draft-chain"].contains(drafterSpecType) else {
      throw ValidationError(
        "--drafter-spec-type \(drafterSpecType): expected draft or draft-chain")
    }
    if let rtt, !(0...5000).contains(rtt) {
      throw ValidationError("--rtt \(rtt): expected 0 to 5000 milliseconds")
    }
    if try remotePipelines() != nil {
      guard draftModel != nil else {
        throw ValidationError("--pipelines and --rtt need a draft model: name one with -md FILE")
      }
      guard methods?.contains(",") != true else {
        throw ValidationError(
          "--methods: --pipelines takes one, which + may combine, as in suffix+recycle")
      }
      let local = try DraftMethods(parsing: localMethods, hasDraftModel: false)
      guard draftStore == nil || local.sources.contains(.recycling) else {
        throw ValidationError("--draft-store: with --pipelines, it needs --methods recycle")
      }
      guard model.threads == 1, model.cpuRange == nil else {
        throw ValidationError(
          "--pipelines and --rtt give each process one CPU: leave --threads and --cpu-range out")
      }
    }
    guard repetitions >= 1 else {
      throw ValidationError("-r \(repetitions): expected at least 1")
    }
    guard tokenLimit >= -1, tokenLimit != 0 else {
      throw ValidationError("-n \(tokenLimit): expected -1 or a number of tokens")
    }
    try lossy.check(for: try rules())
  }

  private func rules() throws -> [VerifyRule] {
    try verifyRules.split(separator: ",", omittingEmptySubsequences: false).map { name in
      guard let rule = VerifyRule(rawValue: String(name)) else {
        let names = VerifyRule.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("--verify-rules: unknown rule \"\(name)\"; supported: \(names)")
      }
      return rule
    }
  }

  func run() async throws {
    let file = try ModelLoading.file(model.model)
    let tokenizer = try BytePairTokenizer(file: file)
    if let pipelines = try remotePipelines(), let draftModel {
      let stored = try draftStore.map {
        try LocalDraftStore.existing(
          $0, model: file, tokenizer: tokenizer,
          vocabularyCount: ModelShape(file: file).vocabularyCount)
      }
      let bench = RemoteDecodeBench(
        model: model, draftModel: draftModel, pipelines: pipelines,
        localMethods: localMethods, draftStore: stored?.path, roundTripMilliseconds: rtt ?? 0,
        shape: drafterSpecType == "draft" ? .tree : .chain,
        logLevel: workerLogLevel)
      return try await bench.run(
        try prompts.load(template: try ChatTemplate(file: file), tokenizer: tokenizer),
        sampling: try sampling.parameters(), tokenLimit: tokenLimit < 0 ? nil : tokenLimit,
        stopTokens: tokenizer.endOfGeneration, roundCount: repetitions, output: output)
    }
    let engine = try ModelLoading.engine(model, file: file)
    let draftEngine = try draftModel.map {
      try ModelLoading.draftEngine($0, tokenizer: tokenizer, target: engine, options: model)
    }
    let parameters = try sampling.parameters()
    let rules = try rules()
    let vocabularyCount = engine.model.shape.vocabularyCount
    let stored = try draftStore.map {
      try LocalDraftStore.existing(
        $0, model: file, tokenizer: tokenizer, vocabularyCount: vocabularyCount)
    }
    let chosen = try (methods ?? "recycle,auto").split(separator: ",").flatMap { name in
      try rules.map { rule in
        let drafts = try DraftMethods(
          parsing: String(name).replacing("+", with: ","), hasDraftModel: draftEngine != nil)
        var store = (drafts.usesSources ? stored : nil).map {
          LocalDraftStore($0, methods: drafts, vocabularyCount: vocabularyCount)
        }
        return DecodeBenchmark.Method(
          name: rule == .gumbelMatch ? String(name) : "\(name)/\(rule.rawValue)", drafts: drafts,
          rule: try lossy.choice(rule, sampling: parameters, vocabularyCount: vocabularyCount),
          sources: store?.sources)
      }
    }
    for rule in rules where !rule.isLossless {
      printError(
        "note: the verify rule \(rule.rawValue) is lossy: its texts do not have the target model's "
          + "law")
    }
    let all = try prompts.load(template: try ChatTemplate(file: file), tokenizer: tokenizer)
    let benchmark = try DecodeBenchmark(engine: engine, draftEngine: draftEngine)
    guard !explain else { return try explain(benchmark, all, chosen, tokenizer) }
    let rows = try benchmark.run(
      all, methods: chosen, sampling: parameters,
      tokenLimit: tokenLimit < 0 ? nil : tokenLimit, stopTokens: tokenizer.endOfGeneration,
      roundCount: repetitions
    ) { row in
      guard output == .table else { return }
      FileHandleStream.standardOutput.write(
        padded("\(row.prompt)", 5) + padded(row.category, 16) + padded(row.method, 26)
          + padded("\(row.tokenCount) tokens", 13)
          + padded("\(rounded(row.tokensPerStep)) per step", 16) + "\(rounded(row.speedup))x\n")
    }
    let report = DecodeBenchReport(rows: rows, methods: chosen, engine: engine)
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  private func explain(
    _ benchmark: DecodeBenchmark, _ prompts: [DecodeBenchmark.Prompt],
    _ methods: [DecodeBenchmark.Method], _ tokenizer: BytePairTokenizer
  ) throws {
    var reports: [StepExplanationReport] = []
    for method in methods {
      if output == .table {
        FileHandleStream.standardOutput.write(
          "\(method.name)\n" + StepExplanationReport.Step.heading + "\n")
      }
      var number = 0
      let explanation = try benchmark.explain(
        prompts, method: method, sessionCount: sessions, sampling: try sampling.parameters(),
        tokenLimit: tokenLimit < 0 ? nil : tokenLimit, stopTokens: tokenizer.endOfGeneration
      ) { report in
        number += 1
        guard output == .table else { return }
        FileHandleStream.standardOutput.write(
          StepExplanationReport.Step(number, report).line + "\n")
      }
      let report = StepExplanationReport(explanation, sessions: sessions)
      if output == .table { FileHandleStream.standardOutput.write(report.summary) }
      reports.append(report)
    }
    if output == .json { try printJSON(reports) }
  }
}

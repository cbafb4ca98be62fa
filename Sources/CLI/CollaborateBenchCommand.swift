import ArgumentParser
import Benchmarks
import Cluster
import Decoding
import Engine
import Foundation
import GGUF
import InferenceTypes
import Tokenizer

/// `slipstream bench collaborate`.
struct CollaborateBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "collaborate",
    abstract: "Quality and cost of two models that write in turns, threshold by threshold.",
    discussion: """
      The target model judges every text: the share of tokens that are its own choice at their \
      place, and its mean log-probability of the text. Threshold 0 is the target model alone, inf \
      the draft model alone.
      """)

  @OptionGroup var model: ModelOptions
  @OptionGroup var sampling: SamplingOptions
  @OptionGroup var collaboration: CollaborationOptions

  @Option(
    name: [.customLong("md", withSingleDash: true), .customLong("model-draft")],
    help: "Draft model file (GGUF).")
  var draftModel: String

  @Option(help: "JSON lines with \"id\", \"category\" and \"turns\"; the first turn is asked.")
  var prompts: String

  @Option(
    help: """
      Numbers separated by commas: of entropy in bits, of oracle, contrastive and proxy the \
      intervention threshold, of leading the tokens for each sentence.
      """)
  var thresholds = "0,0.25,0.5,1,2,inf"

  @Option(
    name: [.customShort("n"), .customLong("n-predict")], parsing: .unconditional,
    help: "Most new tokens; -1 goes on to the end of the context.")
  var tokenLimit = 128

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  func validate() throws {
    guard tokenLimit >= -1, tokenLimit != 0 else {
      throw ValidationError("-n \(tokenLimit): expected -1 or a number of tokens")
    }
    _ = try settings()
  }

  func run() throws {
    let settings = try settings()
    let file = try ModelLoading.file(model.model)
    let tokenizer = try BytePairTokenizer(file: file)
    let all = try PromptFile.load(
      prompts, template: try ChatTemplate(file: file), tokenizer: tokenizer)
    let target = try ModelLoading.engine(model, file: file)
    func small(_ path: String) throws -> InferenceEngine {
      try ModelLoading.draftEngine(path, tokenizer: tokenizer, target: target, options: model)
    }
    let models = try LocalCollaboration(
      target: target, draft: try small(draftModel),
      antiexpert: try collaboration.antiexpert.map(small))
    let rows = try CollaborationBenchmark(collaboration: models, target: target).run(
      all, settings: settings, sampling: try sampling.parameters(),
      tokenLimit: tokenLimit < 0 ? nil : tokenLimit, stopTokens: tokenizer.endOfGeneration
    ) { prompt in
      var detokenizer = StreamingDetokenizer(tokenizer: tokenizer, after: prompt)
      return { detokenizer.append($0) }
    } progress: { row in
      printError("prompt \(row.prompt), \(row.setting): \(row.tokenCount) tokens")
    }
    let report = CollaborateBenchReport(
      rows: rows, settings: settings, engine: target, costs: models.costs,
      method: collaboration.parameters().method)
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  private func settings() throws -> [CollaborationBenchmark.Setting] {
    try thresholds.split(separator: ",").map { part in
      guard let value = Float(part) else {
        throw ValidationError("--thresholds: \"\(part)\" is not a number")
      }
      var parameters = collaboration.parameters()
      switch parameters.method {
      case .entropy: parameters.entropyThreshold = value
      case .leading:
        guard let count = Int(exactly: value) else {
          throw ValidationError("--thresholds: \"\(part)\" is not a number of tokens")
        }
        parameters.leadingTokens = count
      case .contrastive, .proxy, .oracle:
        if parameters.intervention == .always { parameters.intervention = .probability }
        parameters.interventionThreshold = value
      }
      do { try parameters.validate() } catch {
        throw ValidationError("--thresholds \(part): \(error)")
      }
      return CollaborationBenchmark.Setting(name: String(part), parameters: parameters)
    }
  }
}

/// What `slipstream bench collaborate` prints.
struct CollaborateBenchReport: Encodable {
  /// All prompts together.
  struct Point: Encodable {
    let threshold: String
    let tokens: Int
    /// Share of the tokens that the target model wrote, alone or with the other.
    let targetShare: Double
    /// Changes of the writer in 100 tokens.
    let switchesPerHundred: Double
    /// Share of the tokens that are the target's own choice at their place.
    let agreement: Double
    /// Nats per token, by the target at temperature 1.
    let meanLogProbability: Double
    /// Estimated from the costs of passes; mean of the prompts.
    let computeSaved: Double
    /// Measured.
    let tokensPerSecond: Double
  }
  let method: String
  let isa: String
  let threads: Int
  let prompts: Int
  /// Time of a pass of the draft model over one token, relative to the target's.
  let draftCost: Double
  let results: [Point]

  init(
    rows: [CollaborationBenchmark.Row], settings: [CollaborationBenchmark.Setting],
    engine: InferenceEngine, costs: CollaborationCosts, method: CollaborationParameters.Method
  ) {
    self.method = method.rawValue
    isa = engine.model.kernels.name
    threads = engine.threadCount
    prompts = Set(rows.map(\.prompt)).count
    draftCost = costs.draftUnit
    results = settings.map { setting in
      let own = rows.filter { $0.setting == setting.name }
      let tokens = own.reduce(0) { $0 + $1.tokenCount }
      func perToken(_ sum: Double) -> Double { sum / Double(max(1, tokens)) }
      let seconds = own.reduce(0) { $0 + $1.seconds }
      return Point(
        threshold: setting.name, tokens: tokens,
        targetShare: perToken(Double(own.reduce(0) { $0 + $1.targetCount + $1.combinedCount })),
        switchesPerHundred: perToken(Double(100 * own.reduce(0) { $0 + $1.switchCount })),
        agreement: perToken(Double(own.reduce(0) { $0 + $1.agreedCount })),
        meanLogProbability: perToken(own.reduce(0) { $0 + $1.logProbability }),
        computeSaved: own.reduce(0) { $0 + $1.computeSaved } / Double(max(1, own.count)),
        tokensPerSecond: seconds > 0 ? Double(tokens - own.count) / seconds : 0)
    }
  }

  var table: String {
    var lines = [
      "\(method): quality and cost, \(prompts) prompt(s) (\(isa), \(threads) thread(s)); "
        + "a draft pass costs \(rounded(draftCost)) of a target pass", "",
    ]
    lines.append(
      padded("threshold", 11) + padded("target", 9) + padded("agrees", 9) + padded("log p", 9)
        + padded("changes", 9) + padded("saved", 9) + "tokens/s")
    for point in results {
      // Two decimals of a negative number: the sign apart.
      let logProbability =
        (point.meanLogProbability < 0 ? "-" : "") + rounded(abs(point.meanLogProbability))
      let saved =
        (point.computeSaved < 0 ? "-" : "") + rounded(abs(point.computeSaved) * 100) + "%"
      lines.append(
        padded(point.threshold, 11) + padded("\(rounded(point.targetShare * 100))%", 9)
          + padded("\(rounded(point.agreement * 100))%", 9) + padded(logProbability, 9)
          + padded(rounded(point.switchesPerHundred), 9) + padded(saved, 9)
          + rounded(point.tokensPerSecond))
    }
    lines += [
      "",
      "target: tokens of the target model; agrees: its own choice at that place; "
        + "changes: of the writer in 100 tokens; saved: estimate",
    ]
    return lines.joined(separator: "\n") + "\n"
  }
}

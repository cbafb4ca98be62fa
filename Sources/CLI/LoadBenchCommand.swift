import ArgumentParser
import Benchmarks
import Cluster
import Engine
import Foundation
import InferenceTypes
import Logging
import Tokenizer

/// `slipstream bench load`.
struct LoadBenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "load",
    abstract: "Tokens/s of a router and a verifier under load, with drafts and without.",
    discussion: """
      Both run in this process. Clients ask one question after the other; decoding without drafts \
      and the methods take turns, every time with a verifier that knows nothing yet. Ends with an \
      error where drafts change the token ids. Ratios are also given for the time that processors \
      spent, which other work on the machine hardly changes.
      """)

  @OptionGroup var model: ModelOptions
  @OptionGroup var sampling: SamplingOptions
  @OptionGroup var prompts: PromptOptions

  @Option(help: "Methods separated by commas; + combines, as in trigram+recycle.")
  var methods = "auto"

  @Option(help: "Numbers of clients, separated by commas.")
  var sessions = "1,2,4,8,16"

  @Option(
    name: [.customShort("n"), .customLong("n-predict")], parsing: .unconditional,
    help: "Most new tokens; -1 goes on to the end of the context.")
  var tokenLimit = 128

  @Option(
    name: [.customShort("r"), .customLong("repetitions")], parsing: .unconditional,
    help: "Turns for each number of clients; medians are shown.")
  var repetitions = 3

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  @Option(help: "Log level of the services.")
  var logLevel = "warning"

  func validate() throws {
    guard repetitions >= 1 else {
      throw ValidationError("-r \(repetitions): expected at least 1")
    }
    guard tokenLimit >= -1, tokenLimit != 0 else {
      throw ValidationError("-n \(tokenLimit): expected -1 or a number of tokens")
    }
    _ = try Self.clientCounts(sessions)
    _ = try chosenMethods()
    _ = try level()
    try model.checkVerifier()
  }

  private func level() throws -> Logger.Level {
    guard let level = Logger.Level(rawValue: logLevel) else {
      let names = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("--log-level \"\(logLevel)\": expected one of \(names)")
    }
    return level
  }

  /// What --sessions says.
  static func clientCounts(_ list: String) throws -> [Int] {
    try list.split(separator: ",", omittingEmptySubsequences: false).map { part in
      guard let count = Int(part), (1...256).contains(count) else {
        throw ValidationError("--sessions: \"\(part)\" is not a number of clients from 1 to 256")
      }
      return count
    }
  }

  private func chosenMethods() throws -> [LoadBenchmark.Method] {
    try methods.split(separator: ",", omittingEmptySubsequences: false).map { name in
      LoadBenchmark.Method(
        name: String(name),
        drafts: try DraftMethods(
          parsing: String(name).replacing("+", with: ","), hasDraftModel: false))
    }
  }

  func run() async throws {
    var logger = Logger(label: "bench") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = try level()
    try Processors.prepare(range: model.cpuRange, threadCount: model.threads)
    let source = try WorkerFile(path: model.model)
    let loaded = try ModelLoading.model(
      source.file, path: model.model, threadCount: model.threads, weights: model.weights)
    let contextLength = try source.contextLength(model.contextLength)
    let questions = try prompts.load(
      template: try ChatTemplate(file: source.file), tokenizer: source.tokenizer)
    let host = ClusterHost(
      model: loaded, tokenizer: source.tokenizer,
      identity: try source.identity(
        name: "bench-verifier", role: "verifier", contextLength: contextLength),
      served: source.served(alias: nil, contextLength: contextLength),
      threadCount: model.threads, keyValueMemoryBytes: model.kvMemory?.bytes, logger: logger)
    let runs = try await LoadBenchmark(host: host).run(
      questions, methods: try chosenMethods(), sessionCounts: try Self.clientCounts(sessions),
      sampling: try sampling.parameters(), tokenLimit: tokenLimit < 0 ? nil : tokenLimit,
      roundCount: repetitions
    ) { run in
      guard output == .table else { return }
      FileHandleStream.standardOutput.write(LoadBenchReport.Row(run).line)
    }
    let report = LoadBenchReport(
      runs: runs, isa: loaded.kernels.name, threads: model.threads,
      promptCount: questions.count)
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }
}

/// What `slipstream bench load` prints.
struct LoadBenchReport: Encodable {
  struct Row: Encodable {
    let sessions: Int
    let round: Int
    let method: String
    let tokens: Int
    let seconds: Double
    let tokensPerSecond: Double
    let processorSeconds: Double
    /// Mean time until the prompt was read.
    let promptSeconds: Double
    let tokensPerStep: Double
    let draftTokens: Int
    let acceptedTokens: Int

    init(_ run: LoadBenchmark.Run) {
      sessions = run.sessionCount
      round = run.round + 1
      method = run.method
      tokens = run.tokenCount
      seconds = run.seconds
      tokensPerSecond = run.tokensPerSecond
      processorSeconds = run.processorSeconds
      promptSeconds = run.promptSeconds
      tokensPerStep = run.tokensPerStep
      draftTokens = run.draftTokenCount
      acceptedTokens = run.acceptedTokenCount
    }

    var line: String {
      padded("\(sessions)", 5) + padded(method, 20) + padded("\(tokens) tokens", 14)
        + padded("\(rounded(tokensPerSecond))/s", 12)
        + padded("\(rounded(processorSeconds)) s of CPU", 18)
        + padded("\(rounded(tokensPerStep)) per step", 16)
        + "\(acceptedTokens) of \(draftTokens) drafts\n"
    }
  }

  /// A method beside decoding without drafts, in the same round.
  struct Summary: Encodable {
    let sessions: Int
    let method: String
    let tokensPerSecond: Double
    let plainTokensPerSecond: Double
    let median: Double
    let least: Double
    let most: Double
    /// Median ratio of the processors' times.
    let processorMedian: Double
  }

  let isa: String
  let threads: Int
  let prompts: Int
  let results: [Row]
  let summaries: [Summary]

  init(runs: [LoadBenchmark.Run], isa: String, threads: Int, promptCount: Int) {
    self.isa = isa
    self.threads = threads
    prompts = promptCount
    let all = runs.map { Row($0) }
    results = all
    var summaries: [Summary] = []
    for run in runs where run.round == 0 && run.method != LoadBenchmark.plainName {
      func rows(_ method: String) -> [Row] {
        all.filter { $0.sessions == run.sessionCount && $0.method == method }
      }
      let (own, plain) = (rows(run.method), rows(LoadBenchmark.plainName))
      let ratios = zip(own, plain).map { $0.tokensPerSecond / $1.tokensPerSecond }
      summaries.append(
        Summary(
          sessions: run.sessionCount, method: run.method,
          tokensPerSecond: median(own.map(\.tokensPerSecond)),
          plainTokensPerSecond: median(plain.map(\.tokensPerSecond)), median: median(ratios),
          least: ratios.min() ?? .nan, most: ratios.max() ?? .nan,
          processorMedian: median(
            zip(own, plain).map { $1.processorSeconds / $0.processorSeconds })))
    }
    self.summaries = summaries
  }

  var table: String {
    var lines = ["", "speed-up under load (\(isa), \(threads) thread(s))", ""]
    lines.append(
      padded("sessions", 10) + padded("method", 20) + padded("tokens/s", 10) + padded("none", 10)
        + padded("median", 9) + padded("least", 9) + padded("most", 9) + "median by CPU time")
    for summary in summaries {
      lines.append(
        padded("\(summary.sessions)", 10) + padded(summary.method, 20)
          + padded(rounded(summary.tokensPerSecond), 10)
          + padded(rounded(summary.plainTokensPerSecond), 10)
          + padded(rounded(summary.median), 9) + padded(rounded(summary.least), 9)
          + padded(rounded(summary.most), 9) + rounded(summary.processorMedian))
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

import ArgumentParser
import Benchmarks
import Cluster
import Foundation
import HTTPAPI
import InferenceTypes

/// `slipstream bench serve`.
struct ServiceBenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Tokens/s and waiting times of running clusters under load, over HTTP.",
    discussion: """
      Clients ask the questions of a file one after the other at the chat endpoint. Several --url \
      take turns, and each is held against the first: a cluster with drafters against one without, \
      or against another server that speaks OpenAI's chat completions. The seed is 1 unless told. \
      Questions without an answer are counted by their reason. Ends with an error where there are \
      any, or where answers to a question differ: the same seed gives the same text under any load.
      """)

  @Option(help: "Address of a router; may be given several times.")
  var url = ["http://127.0.0.1:8080"]

  @Option(help: "Key for all of them.")
  var apiKey: String?

  @Option(help: "JSON lines with \"turns\"; the first turn is asked.")
  var prompts: String

  @Option(help: "Numbers of clients, separated by commas.")
  var sessions = "1,2,4,8,16"

  @Option(
    name: [.customShort("n"), .customLong("n-predict")], parsing: .unconditional,
    help: "Most new tokens of an answer.")
  var tokenLimit = 128

  @Option(
    name: [.customShort("r"), .customLong("repetitions")], parsing: .unconditional,
    help: "Turns for each number of clients.")
  var repetitions = 1

  @OptionGroup var sampling: SamplingOptions

  @Flag(help: "Do not compare the texts: for servers that promise no repetition.")
  var anyText = false

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  func validate() throws {
    guard repetitions >= 1 else {
      throw ValidationError("-r \(repetitions): expected at least 1")
    }
    guard tokenLimit >= 1 else {
      throw ValidationError("-n \(tokenLimit): expected at least 1 token")
    }
    guard !url.isEmpty, Set(url).count == url.count else {
      throw ValidationError("--url: expected different addresses")
    }
    _ = try LoadBenchCommand.clientCounts(sessions)
  }

  func run() async throws {
    let questions = try PromptFile.questions(prompts)
    guard !questions.isEmpty else { throw CommandFailure(description: "\(prompts): no questions") }
    let parameters = try sampling.parameters()
    let servers = try url.map { address in
      let client = try CompletionClient(url: address, apiKey: apiKey)
      return ServiceBenchmark.Server(name: address) { index in
        var query = CompletionQuery(
          prompt: .chat([ChatTurn(role: .user, content: questions[index].text)]))
        query.sampling = parameters
        query.seed = sampling.seed ?? 1
        query.tokenLimit = tokenLimit
        return try await Self.ask(client, query)
      }
    }
    let runs = try await ServiceBenchmark(questionCount: questions.count).run(
      servers, clientCounts: try LoadBenchCommand.clientCounts(sessions), roundCount: repetitions
    ) { run in
      guard output == .table else { return }
      FileHandleStream.standardOutput.write(
        ServiceBenchReport.progress(run))
    }
    let report = ServiceBenchReport(runs: runs, questionCount: questions.count)
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
    let complaints = complaints(runs, questions)
    guard complaints.isEmpty else {
      throw CommandFailure(description: complaints.joined(separator: "; "))
    }
  }

  /// What a script has to know of a load test without reading its table.
  private func complaints(
    _ runs: [ServiceBenchmark.Run], _ questions: [PromptFile.Question]
  ) -> [String] {
    var complaints: [String] = []
    let failureCount = runs.reduce(0) { $0 + $1.failureCount }
    if failureCount > 0 {
      let askedCount = runs.reduce(0) { $0 + $1.answers.count }
      complaints.append(
        "\(failureCount) of \(askedCount) questions were not answered; the reasons stand above")
    } else if !runs.contains(where: { $0.tokenCount > 0 }) {
      complaints.append("no answer holds any text")
    }
    let differing = anyText ? [] : ServiceBenchmark.differing(runs)
    if !differing.isEmpty {
      let ids = differing.prefix(10).map { "\(questions[$0].id)" }.joined(separator: ", ")
      complaints.append(
        "\(differing.count) of \(questions.count) questions got different texts under "
          + "one seed (ids \(ids)); --any-text leaves that out")
    }
    return complaints
  }

  private static func ask(
    _ client: CompletionClient, _ query: CompletionQuery
  ) async throws -> ServiceBenchmark.Answer {
    let clock = ContinuousClock()
    let start = clock.now
    let arrivals = Arrivals()
    let result = try await client.complete(query) { _ in
      await arrivals.add((clock.now - start) / .seconds(1))
    }
    var answer = ServiceBenchmark.Answer()
    answer.seconds = (clock.now - start) / .seconds(1)
    answer.arrivals = await arrivals.all
    answer.text = result.text
    // A server that counts nothing has written a token in each piece, at least.
    answer.tokenCount =
      result.summary.completionTokenCount > 0
      ? result.summary.completionTokenCount : answer.arrivals.count
    answer.stepCount = result.summary.verifyStepCount
    answer.draftCount = result.summary.draftTokenCount
    answer.acceptedCount = result.summary.acceptedTokenCount
    return answer
  }

  private actor Arrivals {
    private(set) var all: [Double] = []
    func add(_ seconds: Double) { all.append(seconds) }
  }
}

/// What `slipstream bench serve` prints.
struct ServiceBenchReport: Encodable {
  /// Half of all values lie at or below the first, 99 of 100 at or below the second; absent where
  /// there are none.
  struct Times: Encodable {
    let p50: Double?
    let p99: Double?

    init(_ seconds: [Double]) {
      p50 = seconds.isEmpty ? nil : 1000 * percentile(seconds, 0.5)
      p99 = seconds.isEmpty ? nil : 1000 * percentile(seconds, 0.99)
    }

    var cell: String {
      guard let p50, let p99 else { return "-" }
      return "\(Int(p50.rounded())) / \(Int(p99.rounded()))"
    }
  }

  /// All turns of one server with one number of clients; times in milliseconds.
  struct Row: Encodable {
    let url: String
    let sessions: Int
    let answers: Int
    let failures: [String: Int]
    /// Medians over the turns.
    let tokensPerSecond: Double
    let answersPerSecond: Double
    /// Median ratio to the first server in the same turn; absent for that one.
    let speedup: Double?
    let timeToFirstText: Times
    let timePerToken: Times
    /// Between pieces of text.
    let pauses: Times
    let timeToLastText: Times
    /// Absent where the server tells nothing of steps.
    let tokensPerStep: Double?
    let draftTokens: Int
    let acceptedTokens: Int

    init(_ runs: [ServiceBenchmark.Run], first: [ServiceBenchmark.Run]) {
      let answers = runs.flatMap { $0.answers.compactMap { $0 } }
      url = runs.first?.server ?? ""
      sessions = runs.first?.clientCount ?? 0
      self.answers = answers.count
      failures = runs.reduce(into: [:]) { $0.merge($1.failures, uniquingKeysWith: +) }
      tokensPerSecond = median(runs.map(\.tokensPerSecond))
      answersPerSecond = median(
        runs.map { Double($0.answers.count { $0 != nil }) / max($0.seconds, 1e-9) })
      let ratios = zip(runs, first).compactMap { own, other in
        other.tokenCount > 0 ? own.tokensPerSecond / other.tokensPerSecond : nil
      }
      speedup =
        runs.first?.server == first.first?.server || ratios.isEmpty ? nil : median(ratios)
      timeToFirstText = Times(answers.compactMap(\.firstText))
      timePerToken = Times(answers.compactMap(\.secondsPerToken))
      pauses = Times(answers.flatMap(\.pauses))
      timeToLastText = Times(answers.map(\.seconds))
      let steps = answers.reduce(0) { $0 + $1.stepCount }
      let tokens = answers.reduce(0) { $0 + $1.tokenCount }
      tokensPerStep = steps > 0 ? Double(tokens) / Double(steps) : nil
      draftTokens = answers.reduce(0) { $0 + $1.draftCount }
      acceptedTokens = answers.reduce(0) { $0 + $1.acceptedCount }
    }
  }

  let questions: Int
  let results: [Row]

  init(runs: [ServiceBenchmark.Run], questionCount: Int) {
    questions = questionCount
    var rows: [Row] = []
    for run in runs where run.round == 0 {
      let turns = runs.filter { $0.clientCount == run.clientCount }
      rows.append(
        Row(
          turns.filter { $0.server == run.server },
          first: turns.filter { $0.server == runs.first?.server }))
    }
    results = rows
  }

  static func progress(_ run: ServiceBenchmark.Run) -> String {
    padded(run.server, 32) + padded("\(run.clientCount) clients", 13)
      + padded("\(run.tokenCount) tokens", 14) + padded("\(rounded(run.tokensPerSecond))/s", 12)
      + (run.failureCount > 0 ? "\(run.failureCount) without an answer" : "") + "\n"
  }

  var table: String {
    let widths = [32, 9, 9, 10, 9, 16, 14, 14, 18, 10]
    func line(_ cells: [String]) -> String {
      zip(cells, widths).map { padded($0, $1) }.joined()
    }
    var lines = ["", "milliseconds, half of all and 99 of 100 at or below:", ""]
    lines.append(
      line([
        "server", "clients", "answers", "tokens/s", "ratio", "to first text", "per token", "pauses",
        "to the end", "per step",
      ]) + "drafts accepted")
    for row in results {
      lines.append(
        line([
          row.url, "\(row.sessions)", "\(row.answers)", rounded(row.tokensPerSecond),
          row.speedup.map(rounded) ?? "", row.timeToFirstText.cell, row.timePerToken.cell,
          row.pauses.cell, row.timeToLastText.cell, row.tokensPerStep.map(rounded) ?? "-",
        ])
          + (row.draftTokens > 0 ? "\(row.acceptedTokens) of \(row.draftTokens)" : "-"))
      lines += row.failures.sorted { $0.key < $1.key }.map { "  \($0.value) times: \($0.key)" }
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

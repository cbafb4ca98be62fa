import ArgumentParser
import Benchmarks
import Engine
import Foundation

/// `slipstream bench threads`.
struct ThreadBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "threads",
    abstract: "What several threads do in terms of one, beside what the machine allows.",
    discussion: """
      Each turn measures an engine with one thread, one with all, and as many engines of one thread \
      at once, each of which does all the work: what threads do that never wait for each other. \
      (Those read the same weights, which one may get from a cache that the other filled.) \
      Speed-ups are medians of the turns; what the threads read of memory is in terms of one, too.
      """)

  @OptionGroup var model: ModelOptions

  @Option(
    name: [.customShort("p"), .customLong("n-prompt")], help: "Prompt sizes separated by commas.")
  var prompts = "512"

  @Option(
    name: [.customShort("n"), .customLong("n-gen")], help: "Tokens to decode; 0 leaves that out.")
  var decodeCount = 32

  @Option(help: "Sizes of passes separated by commas.")
  var nodes = "8,16"

  @Option(
    name: [.customShort("r"), .customLong("repetitions")], help: "Turns; medians are shown.")
  var repetitions = 5

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  func validate() throws {
    guard repetitions >= 1 else {
      throw ValidationError("-r \(repetitions): expected at least 1")
    }
    guard decodeCount >= 0 else { throw ValidationError("-n \(decodeCount): expected 0 or more") }
    guard model.threads >= 2 else {
      throw ValidationError("--threads \(model.threads): expected 2 or more, to be held against 1")
    }
  }

  func run() throws {
    let file = try ModelLoading.file(model.model)
    try Processors.prepare(range: model.cpuRange, threadCount: model.threads)
    let loaded = try ModelLoading.model(
      file, path: model.model, backend: model.backend, threadCount: model.threads,
      weights: model.weights)
    let limit = min(loaded.shape.contextLength, model.contextLength ?? loaded.shape.contextLength)
    var tests: [EngineBenchmark.Test] = []
    if decodeCount > 0 { tests.append(.decode(min(decodeCount, limit - 2))) }
    tests += try EngineBenchCommand.numbers(
      nodes, option: "--nodes", limit: min(InferenceEngine.batchLimit, limit - 33)
    ).map { .verify($0) }
    tests += try EngineBenchCommand.numbers(prompts, option: "-p", limit: limit).map {
      .prompt($0)
    }
    let reading = try ReadBandwidth.scaling(threadCount: model.threads)
    let benchmark = ThreadBenchmark(
      model: loaded, threadCount: model.threads, contextLength: model.contextLength)
    let report = Report(
      model: URL(filePath: model.model).lastPathComponent, isa: loaded.kernels.name,
      threads: model.threads, reading: reading,
      results: try benchmark.run(tests, roundCount: repetitions).map {
        Row($0, apart: benchmark.apartSpeedups($0))
      })
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  private struct Row: Encodable {
    let test: String
    let oneThreadTokensPerSecond: Double
    let tokensPerSecond: Double
    /// Median, least and most of the turns.
    let speedup: Double
    let least: Double
    let most: Double
    /// The same for engines of one thread each.
    let apartSpeedup: Double
    let apartLeast: Double
    let apartMost: Double

    init(_ measurement: ThreadBenchmark.Measurement, apart: [Double]) {
      let count = Double(measurement.test.tokenCount)
      test = measurement.test.name
      oneThreadTokensPerSecond = count / median(measurement.alone)
      tokensPerSecond = count / median(measurement.together)
      let speedups = measurement.speedups
      speedup = median(speedups)
      least = speedups.min() ?? .nan
      most = speedups.max() ?? .nan
      apartSpeedup = median(apart)
      apartLeast = apart.min() ?? .nan
      apartMost = apart.max() ?? .nan
    }
  }

  private struct Report: Encodable {
    let model: String
    let isa: String
    let threads: Int
    /// What all threads read of memory in terms of one.
    let reading: Double
    let results: [Row]

    var table: String {
      var text =
        "\(model), \(isa): \(threads) threads in terms of one; "
        + "they read memory \(rounded(reading)) times as fast\n\n"
      let widths = [8, 12, 12, 10, 14, 10, 14]
      func line(_ cells: [String]) -> String {
        zip(cells, widths).map { padded($0, $1) }.joined() + "\n"
      }
      text += line(["test", "one", "\(threads)", "speed-up", "turns", "apart", "turns"])
      for row in results {
        text += line([
          row.test, rounded(row.oneThreadTokensPerSecond), rounded(row.tokensPerSecond),
          rounded(row.speedup), "\(rounded(row.least)) to \(rounded(row.most))",
          rounded(row.apartSpeedup), "\(rounded(row.apartLeast)) to \(rounded(row.apartMost))",
        ])
      }
      return text + "tokens/s; apart: \(threads) engines of one thread at once\n"
    }
  }
}

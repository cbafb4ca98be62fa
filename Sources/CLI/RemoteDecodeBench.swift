import ArgumentParser
import Benchmarks
import Cluster
import Engine
import Foundation
import InferenceTypes
import Tokenizer

/// `slipstream bench decode` across processes: options, run, and what it prints.
struct RemoteDecodeBench {
  let model: ModelOptions
  let draftModel: String
  let pipelines: [Pipeline]
  let localMethods: String
  let draftStore: String?
  let roundTripMilliseconds: Double
  let shape: DraftShape
  let logLevel: String

  /// - Throws: `ValidationError` that names the pipeline at fault.
  static func pipelines(_ list: String) throws -> [Pipeline] {
    try list.split(separator: ",", omittingEmptySubsequences: false).map { name in
      guard let pipeline = Pipeline(rawValue: String(name)) else {
        let names = Pipeline.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("--pipelines: unknown \"\(name)\"; supported: \(names)")
      }
      return pipeline
    }
  }

  func run(
    _ prompts: [DecodeBenchmark.Prompt], sampling: SamplingParameters, tokenLimit: Int?,
    stopTokens: [TokenID], roundCount: Int, output: OutputFormat
  ) async throws {
    guard let executable = Bundle.main.executableURL else {
      throw CommandFailure(description: "the path of this program is unknown")
    }
    let processors = Array(ProcessorClaims.allowedProcessors.prefix(2))
    guard processors.count == 2 else {
      throw CommandFailure(
        description: "--rtt and --pipelines need a CPU for each of two processes, found one")
    }
    var configuration = RemotePair.Configuration(
      executable: executable, target: model.model, draft: draftModel, processors: processors)
    configuration.contextLength = model.contextLength
    configuration.roundTrip = .microseconds(Int64(roundTripMilliseconds * 1000))
    configuration.localMethods = localMethods
    configuration.draftStore = draftStore
    configuration.shape = shape
    configuration.logLevel = logLevel
    let readingOfTwo = try ReadBandwidth.scaling()
    let pair = try await RemotePair(configuration)
    do {
      let probe = ScalingProbe(processors: processors, isa: Kernels.best.name)
      let rows = try await RemoteBenchmark(pair: pair, probe: probe).run(
        prompts, pipelines: pipelines, sampling: sampling, tokenLimit: tokenLimit,
        stopTokens: stopTokens, roundCount: roundCount
      ) { row in
        if output == .table { FileHandleStream.standardOutput.write(Self.line(row)) }
      }
      await pair.stop()
      let report = RemoteDecodeReport(
        rows: rows, pipelines: pipelines, localMethods: localMethods,
        hasDraftStore: draftStore != nil, roundTripMs: roundTripMilliseconds,
        twoThreadReading: readingOfTwo)
      switch output {
      case .json: try printJSON(report)
      case .table: FileHandleStream.standardOutput.write(report.table)
      }
    } catch {
      await pair.stop()
      throw error
    }
  }

  private static func line(_ row: RemoteBenchmark.Row) -> String {
    padded("\(row.prompt)", 5) + padded(row.category, 16) + padded(row.pipeline.rawValue, 11)
      + padded("\(row.tokenCount) tokens", 13)
      + padded("\(rounded(row.tokensPerStep)) per step", 16)
      + padded("\(rounded(row.speedup))x", 9) + "(two processes: \(rounded(row.scaling)))\n"
  }
}

/// What `slipstream bench decode` prints of pipelines.
struct RemoteDecodeReport: Encodable {
  struct Row: Encodable {
    let prompt: Int
    let category: String
    let pipeline: String
    let tokens: Int
    let tokensPerSecond: Double
    let plainTokensPerSecond: Double
    let speedup: Double
    let tokensPerStep: Double
    let draftTokens: Int
    let acceptedTokens: Int
    let bytesPerToken: Double
    let plannerError: Double
    let measuredRoundTripMs: Double
    /// What two processes did at once, in terms of one alone.
    let twoProcessScaling: Double
  }
  struct Summary: Encodable {
    let pipeline: String
    let speedup: SpeedupSummary
    /// Median of the prompts.
    let tokensPerStep: Double
    let bytesPerToken: Double
    /// Mean of the absolute values.
    let plannerError: Double
    let measuredRoundTripMs: Double
    let sources: [AcceptanceCounts.Source]
  }
  /// Added to the link.
  let roundTripMs: Double
  /// By which the verifier drafted beside the drafter.
  let localMethods: String
  /// Whether these drafts began with a store.
  let hasDraftStore: Bool
  let twoProcessScaling: Double
  /// What two threads read from memory at once, in terms of one alone.
  let twoThreadReading: Double
  let results: [Row]
  let summaries: [Summary]

  init(
    rows: [RemoteBenchmark.Row], pipelines: [Pipeline], localMethods: String, hasDraftStore: Bool,
    roundTripMs: Double, twoThreadReading: Double
  ) {
    self.hasDraftStore = hasDraftStore
    self.twoThreadReading = twoThreadReading
    self.localMethods = localMethods
    self.roundTripMs = roundTripMs
    twoProcessScaling = Benchmarks::median(rows.map(\.scaling))
    results = rows.map {
      Row(
        prompt: $0.prompt, category: $0.category, pipeline: $0.pipeline.rawValue,
        tokens: $0.tokenCount, tokensPerSecond: $0.tokensPerSecond,
        plainTokensPerSecond: $0.plainTokensPerSecond, speedup: $0.speedup,
        tokensPerStep: $0.tokensPerStep, draftTokens: $0.run.draftCount,
        acceptedTokens: $0.run.acceptedCount, bytesPerToken: $0.bytesPerToken,
        plannerError: $0.plannerError, measuredRoundTripMs: $0.run.roundTrip / .milliseconds(1),
        twoProcessScaling: $0.scaling)
    }
    summaries = pipelines.compactMap { pipeline in
      let own = rows.filter { $0.pipeline == pipeline }
      return own.isEmpty ? nil : Self.summary(pipeline, own)
    }
  }

  private static func summary(_ pipeline: Pipeline, _ rows: [RemoteBenchmark.Row]) -> Summary {
    func mean(_ value: (RemoteBenchmark.Row) -> Double) -> Double {
      rows.reduce(0) { $0 + value($1) } / Double(rows.count)
    }
    var acceptance = AcceptanceCounts()
    for row in rows { acceptance.add(row.run.acceptance) }
    return Summary(
      pipeline: pipeline.rawValue,
      speedup: SpeedupSummary(rows.map { ($0.category, $0.speedup, $0.spread) }),
      tokensPerStep: Benchmarks::median(rows.map(\.tokensPerStep)),
      bytesPerToken: mean(\.bytesPerToken), plannerError: mean { abs($0.plannerError) },
      measuredRoundTripMs: Benchmarks::median(rows.map { $0.run.roundTrip / .milliseconds(1) }),
      sources: acceptance.sources)
  }

  var table: String {
    var lines = [
      "",
      "speed-up over the target alone; \(rounded(roundTripMs)) ms added to the link; two processes "
        + "at once did \(rounded(twoProcessScaling)) of what one does and read "
        + "\(rounded(twoThreadReading)) of what one reads; the verifier's own drafts: "
        + localMethods + (hasDraftStore ? " with a store" : ""),
      "",
      padded("pipeline", 19) + SpeedupSummary.heading + padded("per step", 10)
        + padded("bytes/token", 13) + padded("planner error", 15) + "round trip (ms)",
    ]
    for summary in summaries {
      lines.append(
        padded(summary.pipeline, 19) + summary.speedup.cells
          + padded(rounded(summary.tokensPerStep), 10)
          + padded(rounded(summary.bytesPerToken), 13)
          + padded("\(rounded(100 * summary.plannerError)) %", 15)
          + rounded(summary.measuredRoundTripMs))
      lines += summary.speedup.categoryLines + summary.sources.map(\.line)
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

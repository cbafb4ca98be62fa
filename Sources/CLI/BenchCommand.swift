import ArgumentParser
import Benchmarks
import Engine
import Foundation
import GGUF

/// `slipstream bench`.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure speed on this machine.",
    subcommands: [
      EngineBenchCommand.self, ThreadBenchCommand.self, KernelBenchCommand.self,
      DecodeBenchCommand.self, FreeDraftBenchCommand.self, DistantBenchCommand.self,
      LoadBenchCommand.self, ServiceBenchCommand.self,
      CollaborateBenchCommand.self, MemoryBenchCommand.self,
    ])
}

/// How a benchmark prints.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case table
  case json
}

/// `slipstream bench engine`.
struct EngineBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "engine",
    abstract: "Tokens/s by prompt size and for decoding, and the cost v(n) of n tokens.",
    discussion: """
      Decoding is also set against the bandwidth at which the same threads read memory, and its \
      allocations are counted. Peak memory is that of a process that loads the model and decodes.
      """)

  @OptionGroup var model: ModelOptions

  @Option(
    name: [.customShort("p"), .customLong("n-prompt")], help: "Prompt sizes separated by commas.")
  var prompts = "16,64,512"

  @Option(
    name: [.customShort("n"), .customLong("n-gen")], help: "Tokens to decode; 0 leaves that out.")
  var decodeCount = 64

  @Option(
    name: [.customShort("r"), .customLong("repetitions")], help: "Repetitions; medians are shown.")
  var repetitions = 5

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  @Option(
    help: """
      Context lengths separated by commas: time of a token after so many others, and of passes of \
      1 to 16 nodes.
      """)
  var contextLengths: String?

  @Option(help: "A peer to alternate with: llamacpp.")
  var compare: String?

  @Option(help: "Python of the environment that deploy/peer-llamacpp.sh made.")
  var peerPython: String?

  @Option(help: "The script that drives the peer.")
  var peerScript = "deploy/peer_llamacpp.py"

  func validate() throws {
    guard repetitions >= 1 else {
      throw ValidationError("-r \(repetitions): expected at least 1")
    }
    guard decodeCount >= 0 else { throw ValidationError("-n \(decodeCount): expected 0 or more") }
    guard compare == nil || compare == "llamacpp" else {
      throw ValidationError("--compare \(compare ?? ""): supported: llamacpp")
    }
  }

  func run() throws {
    let file = try ModelLoading.file(model.model)
    // Before this process takes CPUs for itself.
    var memory = try measureMemory()
    let engine = try ModelLoading.engine(model, file: file)
    let sizes = try Self.numbers(prompts, option: "-p", limit: engine.contextLength)
    let lengths = try contextLengths.map {
      try Self.numbers(
        $0, option: "--context-lengths",
        limit: engine.contextLength - ContextBenchmark.roomAfter)
    }
    var tests = sizes.map { EngineBenchmark.Test.prompt($0) }
    let decoded = min(decodeCount, engine.contextLength - 2)
    if decoded > 0 { tests.append(.decode(decoded)) }
    tests += EngineBenchmark.curve.filter { $0 + 32 < engine.contextLength }.map { .verify($0) }
    let peerContext = max(2048, (lengths?.max() ?? 0) + ContextBenchmark.tokenCount)
    if compare != nil {
      // A process of its own, which only loads and decodes.
      let peer = try startPeer(contextLength: 2048)
      try peer.decode(MemoryBenchCommand.tokenCount)
      memory.add(try peer.peakMemory())
    }
    let peer = try compare.map { _ in try startPeer(contextLength: peerContext) }
    let benchmark = EngineBenchmark(
      engine: engine, peer: peer, bandwidth: try ReadBandwidth(threads: engine.threads))
    let measurements = try benchmark.run(tests, roundCount: repetitions)
    var report = EngineBenchReport(
      measurements: measurements, engine: engine, peer: peer?.name,
      model: URL(filePath: model.model).lastPathComponent)
    report.add(memory)
    if let decode = measurements.first(where: { $0.test == .decode(decoded) }) {
      report.add(try DecodeFigures(engine: engine, depth: Double(decoded) / 2), of: decode)
    }
    if let lengths {
      report.add(
        try ContextBenchmark(engine: engine, peer: peer)
          .run(lengths: lengths, roundCount: repetitions))
    }
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  static func numbers(_ list: String, option: String, limit: Int) throws -> [Int] {
    try list.split(separator: ",").map { part in
      guard let number = Int(part), number >= 1, number <= limit else {
        throw ValidationError("\(option): \"\(part)\" is not a number of tokens from 1 to \(limit)")
      }
      return number
    }
  }

  /// What a process like this one takes that only loads the model and decodes.
  private func measureMemory() throws -> PeakMemoryReport {
    guard let executable = Bundle.main.executableURL else {
      throw CommandFailure(description: "the path of this program is unknown")
    }
    let process = Process()
    let output = Pipe()
    process.executableURL = executable
    process.arguments =
      ["bench", "memory", "-m", model.model, "--threads", "\(model.threads)"]
      + ["--backend", model.backend]
      + (model.contextLength.map { ["--ctx-size", "\($0)"] } ?? [])
      + (model.cpuRange.map { ["--cpu-range", "\($0)"] } ?? []) + model.weights.arguments
    process.standardOutput = output
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw CommandFailure(
        description: "bench memory ended with \(process.terminationStatus); see its message above")
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(PeakMemoryReport.self, from: data)
  }

  private func startPeer(contextLength: Int) throws -> PeerProcess {
    let environment = ProcessInfo.processInfo.environment
    let cache =
      environment["SLIPSTREAM_CACHE"] ?? "\(environment["HOME"] ?? "/root")/.cache/slipstream"
    return try PeerProcess(
      python: peerPython ?? "\(cache)/peer-llamacpp/bin/python", script: peerScript,
      model: model.model, threadCount: model.threads, contextLength: contextLength)
  }
}

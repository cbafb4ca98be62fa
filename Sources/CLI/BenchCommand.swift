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
      EngineBenchCommand.self, DecodeBenchCommand.self, CollaborateBenchCommand.self,
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
    abstract: "Tokens/s by prompt size and for decoding, and the cost v(n) of n tokens.")

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
    let engine = try ModelLoading.engine(model, file: try ModelLoading.file(model.model))
    let sizes = try prompts.split(separator: ",").map { part in
      guard let size = Int(part), size >= 1, size <= engine.contextLength else {
        throw ValidationError(
          "-p: \"\(part)\" is not a prompt size from 1 to \(engine.contextLength)")
      }
      return size
    }
    var tests = sizes.map { EngineBenchmark.Test.prompt($0) }
    if decodeCount > 0 { tests.append(.decode(min(decodeCount, engine.contextLength - 2))) }
    tests += EngineBenchmark.curve.filter { $0 + 32 < engine.contextLength }.map { .verify($0) }
    let peer = try compare.map { _ in try startPeer() }
    let measurements = try EngineBenchmark(engine: engine, peer: peer)
      .run(tests, roundCount: repetitions)
    let report = EngineBenchReport(
      measurements: measurements, engine: engine, peer: peer?.name,
      model: URL(filePath: model.model).lastPathComponent)
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  private func startPeer() throws -> PeerProcess {
    let environment = ProcessInfo.processInfo.environment
    let cache =
      environment["SLIPSTREAM_CACHE"] ?? "\(environment["HOME"] ?? "/root")/.cache/slipstream"
    return try PeerProcess(
      python: peerPython ?? "\(cache)/peer-llamacpp/bin/python", script: peerScript,
      model: model.model, threadCount: model.threads)
  }
}

/// What `slipstream bench engine` prints.
struct EngineBenchReport: Encodable {
  struct Row: Encodable {
    let test: String
    let n: Int
    let tokensPerSecond: Double
    let spread: Double
    let peerTokensPerSecond: Double?
    let ratio: Double?
  }
  let model: String
  let isa: String
  let threads: Int
  let peer: String?
  let results: [Row]
  /// v(n) = t(n) / t(1), keyed by n.
  let v: [String: Double]
  let peerV: [String: Double]?
  private let curve: [Int]

  private enum CodingKeys: CodingKey { case model, isa, threads, peer, results, v, peerV }

  init(
    measurements: [EngineBenchmark.Measurement], engine: InferenceEngine, peer: String?,
    model: String
  ) {
    self.model = model
    self.peer = peer
    isa = engine.model.kernels.name
    threads = engine.threadCount
    results = measurements.map { measurement in
      Row(
        test: measurement.test.name, n: measurement.test.tokenCount,
        tokensPerSecond: measurement.tokensPerSecond, spread: measurement.spread,
        peerTokensPerSecond: measurement.peerTokensPerSecond,
        ratio: measurement.peerTokensPerSecond.map { measurement.tokensPerSecond / $0 })
    }
    let verifications = measurements.filter {
      if case .verify = $0.test { true } else { false }
    }
    curve = verifications.map(\.test.tokenCount)
    v = Self.relative(verifications.map { ($0.test.tokenCount, $0.seconds) })
    peerV =
      peer == nil
      ? nil : Self.relative(verifications.map { ($0.test.tokenCount, $0.peerSeconds) })
  }

  private static func relative(_ times: [(Int, [Double])]) -> [String: Double] {
    guard let single = times.first(where: { $0.0 == 1 }) else { return [:] }
    let unit = median(single.1)
    return Dictionary(uniqueKeysWithValues: times.map { ("\($0.0)", median($0.1) / unit) })
  }

  var table: String {
    let against = peer.map { ", against \($0)" } ?? ""
    var lines = ["\(model), \(isa), \(threads) thread(s)\(against)", ""]
    lines.append(
      padded("test", 8) + padded("tokens/s", 12) + padded("spread", 10)
        + (peer == nil ? "" : padded("peer", 12) + "ratio"))
    for row in results where !row.test.hasPrefix("v") {
      var line =
        padded(row.test, 8) + padded(rounded(row.tokensPerSecond), 12)
        + padded("\(rounded(row.spread * 100))%", 10)
      if let other = row.peerTokensPerSecond, let ratio = row.ratio {
        line += padded(rounded(other), 12) + rounded(ratio)
      }
      lines.append(line)
    }
    lines += [
      "",
      padded("n", 8) + padded("v(n)", 12) + padded("tokens/s", 12)
        + (peer == nil ? "" : padded("peer v(n)", 12) + padded("peer", 12) + "ratio"),
    ]
    for row in results where row.test.hasPrefix("v") {
      let key = "\(row.n)"
      var line =
        padded(key, 8) + padded(rounded(v[key] ?? .nan), 12)
        + padded(rounded(row.tokensPerSecond), 12)
      if let other = row.peerTokensPerSecond, let ratio = row.ratio {
        line +=
          padded(rounded(peerV?[key] ?? .nan), 12) + padded(rounded(other), 12)
          + rounded(ratio)
      }
      lines.append(line)
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

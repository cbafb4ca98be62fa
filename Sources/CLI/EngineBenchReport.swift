import Benchmarks
import Engine
import Foundation

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
  private(set) var peakMemory: PeakMemoryReport?
  private(set) var allocationsPerPass: Double?
  private(set) var readBandwidthGbPerS: Double?
  private(set) var decodeBytesPerToken: Double?
  /// Share of the read bandwidth that decoding uses: median, least and most of the turns.
  private(set) var decodeBandwidthShare: Double?
  private(set) var decodeBandwidthShareLeast: Double?
  private(set) var decodeBandwidthShareMost: Double?
  private(set) var peerDecodeBandwidthShare: Double?
  private(set) var contexts: [Context]?
  /// Where attention is half of a token's time; not there where no measured length takes so long.
  private(set) var attentionHalfLength: Double?
  private(set) var peerAttentionHalfLength: Double?

  /// Time of a token after `length` others.
  struct Context: Encodable {
    let length: Int
    let msPerToken: Double
    let peerMsPerToken: Double?
    /// Of passes of n nodes, keyed by n.
    let msPerPass: [String: Double]
  }

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
    v = Self.relative(verifications.map { ($0.test.tokenCount, $0.seconds) })
    peerV =
      peer == nil
      ? nil : Self.relative(verifications.map { ($0.test.tokenCount, $0.peerSeconds) })
  }

  mutating func add(_ memory: PeakMemoryReport) { peakMemory = memory }

  mutating func add(_ figures: DecodeFigures, of decode: EngineBenchmark.Measurement) {
    allocationsPerPass = figures.allocationsPerPass
    decodeBytesPerToken = figures.bytesPerToken
    readBandwidthGbPerS = median(decode.readBandwidths) / 1e9
    let shares = figures.shares(of: decode)
    decodeBandwidthShare = median(shares)
    decodeBandwidthShareLeast = shares.min()
    decodeBandwidthShareMost = shares.max()
    guard peer != nil else { return }
    peerDecodeBandwidthShare = median(figures.peerShares(of: decode))
  }

  mutating func add(_ measurements: [ContextBenchmark.Measurement]) {
    contexts = measurements.map { measurement in
      Context(
        length: measurement.length, msPerToken: median(measurement.seconds) * 1e3,
        peerMsPerToken: measurement.peerSeconds.isEmpty
          ? nil : median(measurement.peerSeconds) * 1e3,
        msPerPass: Dictionary(
          uniqueKeysWithValues: zip(ContextBenchmark.nodeCounts, measurement.passSeconds).map {
            ("\($0)", median($1) * 1e3)
          }))
    }
    attentionHalfLength = ContextBenchmark.halfLength(
      measurements.map { ($0.length, median($0.seconds)) })
    guard peer != nil else { return }
    peerAttentionHalfLength = ContextBenchmark.halfLength(
      measurements.map { ($0.length, median($0.peerSeconds)) })
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
    lines += contextLines + figureLines
    return lines.joined(separator: "\n") + "\n"
  }

  private var contextLines: [String] {
    guard let contexts else { return [] }
    var lines = [
      "",
      padded("context", 9) + padded("ms/token", 12)
        + ContextBenchmark.nodeCounts.map { padded("\($0)", 9) }.joined()
        + (peer == nil ? "ms of passes of so many nodes" : "peer"),
    ]
    for context in contexts {
      lines.append(
        padded("\(context.length)", 9) + padded(rounded(context.msPerToken), 12)
          + ContextBenchmark.nodeCounts.map {
            padded(rounded(context.msPerPass["\($0)"] ?? .nan), 9)
          }.joined()
          + (context.peerMsPerToken.map { rounded($0) } ?? ""))
    }
    func place(_ length: Double?) -> String {
      length.map { "\(Int($0.rounded())) tokens" }
        ?? "more than \(contexts.last?.length ?? 0) tokens"
    }
    lines.append(
      "attention is half of a token's time at \(place(attentionHalfLength))"
        + (peer == nil ? "" : "; peer: \(place(peerAttentionHalfLength))"))
    return lines
  }

  private var figureLines: [String] {
    var lines = [""]
    if let bandwidth = readBandwidthGbPerS, let bytes = decodeBytesPerToken,
      let share = decodeBandwidthShare, let least = decodeBandwidthShareLeast,
      let most = decodeBandwidthShareMost
    {
      lines.append(
        "read bandwidth \(rounded(bandwidth)) GB/s; a token reads \(rounded(bytes / 1e6)) MB, so "
          + "decoding uses \(rounded(share * 100))% (turns \(rounded(least * 100)) to "
          + "\(rounded(most * 100)))"
          + (peerDecodeBandwidthShare.map { "; peer \(rounded($0 * 100))% of the same" } ?? ""))
      lines.append(
        "allocations per pass: " + (allocationsPerPass.map { rounded($0) } ?? "not counted here"))
    }
    if let peakMemory { lines.append(peakMemory.line) }
    return lines
  }
}

import ArgumentParser
import Decoding
import Foundation
import InferenceTypes
import Simulation

extension Pipeline: ExpressibleByArgument {}

/// What a simulation assumes of models, machines and network.
struct SimulatedWorldOptions: ParsableArguments {
  @Option(
    help: "Probability that a guess is right; several: that one of the first 1, 2, … guesses is.")
  var alpha = "0.8"

  @Option(name: .customLong("draft-ms"), help: "Time of a draft token.")
  var draftMilliseconds = 5.0

  @Option(name: .customLong("verify-ms"), help: "Time of a forward pass of the target, one token.")
  var verifyMilliseconds: Double?

  @Option(name: .customLong("verify-slope-ms"), help: "Added by each further token.")
  var slopeMilliseconds: Double?

  @Option(help: "Measured times instead: what slipstream bench engine -o json printed.")
  var curve: String?

  @Option(name: .customLong("rtt-ms"), help: "Round trip between any two workers.")
  var roundTripMilliseconds = 2.0

  @Option(name: .customLong("jitter-ms"), help: "Added to each way at random, up to this.")
  var jitterMilliseconds = 0.0

  @Option(help: "Share of the messages that are sent again.")
  var loss = 0.0

  @Option(help: "streamed, lockstep or vanilla; all three where speeds are compared unless told.")
  var pipeline: Pipeline?

  @Option(
    help: """
      Where speeds are compared: how long streamed steps wait for their first draft, in passes over \
      one token, in place of as long as it pays. The formulas are nearest with 0.25.
      """)
  var linger: Double?

  @Option(help: "Draft tokens of a round of lockstep and vanilla in a plan.")
  var draftLength = 4

  @Option(help: "Sessions of a verifier, or of a drafter.")
  var slots = 8

  @Option(help: "Most nodes of one session in a forward pass of the target, which all share.")
  var nodeLimit = 32

  func validate() throws {
    guard curve == nil || (verifyMilliseconds == nil && slopeMilliseconds == nil) else {
      throw ValidationError("use --curve, or --verify-ms and --verify-slope-ms")
    }
    try Self.check("--draft-ms", draftMilliseconds, above: 0, to: 60_000)
    try Self.check("--verify-ms", verifyMilliseconds ?? 50, above: 0, to: 60_000)
    try Self.check("--verify-slope-ms", slopeMilliseconds ?? 1, above: -1e-9, to: 60_000)
    try Self.check("--rtt-ms", roundTripMilliseconds, above: -1e-9, to: 60_000)
    try Self.check("--jitter-ms", jitterMilliseconds, above: -1e-9, to: 60_000)
    try Self.check("--loss", loss, above: -1e-9, to: 0.9)
    try Self.check("--linger", linger ?? 0, above: -1e-9, to: 16)
    for (name, value, most) in [
      ("--draft-length", draftLength, 64), ("--slots", slots, 1024),
      ("--node-limit", nodeLimit, 1024),
    ] where !(1...most).contains(value) {
      throw ValidationError("\(name) \(value): expected 1 to \(most)")
    }
    _ = try hitRates()
  }

  private static func check(
    _ name: String, _ value: Double, above least: Double, to most: Double
  ) throws {
    guard !(value > least && value <= most) else { return }
    let bound = least < 0 ? "from 0" : "above 0"
    throw ValidationError("\(name) \(value): expected a number \(bound) to \(rounded(most))")
  }

  /// See `Scenario.hitRates`.
  func hitRates() throws -> [Double] {
    let rates = try alpha.split(separator: ",").map { part in
      guard let rate = Double(part), (0...1).contains(rate) else {
        throw ValidationError("--alpha: \"\(part)\" is not a probability from 0 to 1")
      }
      return rate
    }
    guard (1...8).contains(rates.count), rates == rates.sorted() else {
      throw ValidationError("--alpha \(alpha): expected 1 to 8 probabilities, none falling")
    }
    return rates
  }

  var pipelines: [Pipeline] { pipeline.map { [$0] } ?? [.vanilla, .lockstep, .streamed] }

  func times() throws -> ComputeTimes {
    let draft = Self.duration(draftMilliseconds)
    guard let curve else {
      let single = verifyMilliseconds ?? 50
      let slope = slopeMilliseconds ?? single / 50
      var times = ComputeTimes(
        draft: draft, single: Self.duration(single), slope: Self.duration(slope))
      times.promptToken = Self.duration(slope)
      times.draftPromptToken = draft / 16
      return times
    }
    return try MeasuredCurve(path: curve).times(draft: draft)
  }

  func cell() throws -> SpeedTable.Cell {
    SpeedTable.Cell(
      acceptance: try hitRates()[0], roundTrip: Self.duration(roundTripMilliseconds),
      times: try times())
  }

  /// What of this a plan takes over.
  func apply(to scenario: inout Scenario) throws {
    scenario.hitRates = try hitRates()
    scenario.network.delay = Self.duration(roundTripMilliseconds / 2)
    scenario.network.jitter = Self.duration(jitterMilliseconds)
    scenario.network.lossRate = loss
    scenario.pipeline = pipeline ?? .streamed
    scenario.draftLength = draftLength
    scenario.verifierSlots = slots
    scenario.drafterSlots = slots
    scenario.nodeLimit = nodeLimit
  }

  private static func duration(_ milliseconds: Double) -> Duration {
    .nanoseconds(Int64((milliseconds * 1e6).rounded()))
  }
}

/// The times of `slipstream bench engine -o json`.
struct MeasuredCurve {
  private struct Report: Decodable {
    struct Row: Decodable {
      let test: String
      let n: Int
      let tokensPerSecond: Double
    }
    let results: [Row]
    let v: [String: Double]
  }

  /// Seconds of a pass over one token.
  let single: Double
  /// v(n) by n, from 1 on, without gaps.
  let relative: [Double]
  /// Seconds of a prompt token.
  let promptToken: Double

  init(path: String) throws {
    let data: Data
    do { data = try Data(contentsOf: URL(filePath: path)) } catch {
      throw CommandFailure(description: "\(path): \(error.localizedDescription)")
    }
    try self.init(data, name: path)
  }

  init(_ data: Data, name: String) throws {
    func wrong(_ what: String) -> CommandFailure {
      CommandFailure(
        description: "\(name): \(what); expected what slipstream bench engine -o json prints")
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let report: Report
    do { report = try decoder.decode(Report.self, from: data) } catch {
      throw wrong("no results and v(n) in it")
    }
    var points: [(n: Int, v: Double)] = []
    for (key, value) in report.v {
      guard let n = Int(key), (1...4096).contains(n), value > 0, value < 1e6 else {
        throw wrong("v has \"\(key)\": \(value)")
      }
      points.append((n, value))
    }
    points.sort { $0.n < $1.n }
    guard points.first?.n == 1 else { throw wrong("v has no \"1\"") }
    guard let row = report.results.first(where: { $0.test == "v1" }), row.tokensPerSecond > 0,
      row.tokensPerSecond < 1e9
    else { throw wrong("no speed of the test v1") }
    single = 1 / row.tokensPerSecond
    relative = Self.filled(points)
    let prompt = report.results.filter {
      $0.test.hasPrefix("pp") && $0.tokensPerSecond > 0 && $0.tokensPerSecond < 1e9
    }.max { $0.n < $1.n }
    promptToken = prompt.map { 1 / $0.tokensPerSecond } ?? single
  }

  /// Straight lines between the measured sizes; none is faster than a smaller one.
  private static func filled(_ points: [(n: Int, v: Double)]) -> [Double] {
    var values: [Double] = []
    for (index, point) in points.enumerated() {
      if index > 0 {
        let before = points[index - 1]
        let slope = (point.v - before.v) / Double(point.n - before.n)
        for n in before.n + 1..<point.n { values.append(before.v + slope * Double(n - before.n)) }
      }
      values.append(point.v)
    }
    for index in values.indices.dropFirst() {
      values[index] = max(values[index], values[index - 1])
    }
    return values
  }

  func times(draft: Duration) -> ComputeTimes {
    var times = ComputeTimes(
      draft: draft, verify: relative.map { .nanoseconds(Int64($0 * single * 1e9)) })
    times.promptToken = .nanoseconds(Int64(promptToken * 1e9))
    times.draftPromptToken = draft / 16
    return times
  }
}

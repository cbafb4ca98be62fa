import ArgumentParser
import Decoding
import Foundation
import GGUF
import InferenceTypes
import Simulation

/// `slipstream simulate`.
struct SimulateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "The cluster's own state machines under a virtual clock.",
    discussion: """
      Without further options: the speed of one text, drafted and verified on two machines, beside \
      decoding without drafts. --table: the same for a range of acceptances and round trips. \
      --schedules: random clusters with random faults, whose texts are compared with the target's \
      own. --nodes: what a cluster of so many workers serves, by its split into verifiers and \
      drafters.
      """)

  @OptionGroup var world: SimulatedWorldOptions

  @Flag(help: "Speed-ups by acceptance and round trip.")
  var table = false

  @Option(help: "Random schedules of faults to run.")
  var schedules: Int?

  @Option(help: "Runs one random schedule, by its seed, and says what happens.")
  var schedule: UInt64?

  @Option(help: "Seed of the first schedule, of the toy models and of the requests.")
  var seed: UInt64 = 1

  @Option(help: "Workers of a cluster to plan.")
  var nodes: Int?

  @Option(help: "Of the workers, how many verify; several numbers separated by commas.")
  var verifiers: String?

  @Option(help: "Requests a second; what half of the workers verify without drafts unless told.")
  var rate: Double?

  @Option(help: "Requests of the plan; as many as workers, at least 200, unless told.")
  var requests: Int?

  @Option(help: "Mean tokens of a prompt.")
  var promptLength = 128

  @Option(help: "Mean tokens of an answer; without --nodes, tokens of the one text.")
  var answerLength: Int?

  @Option(help: "Draws the plan into this file (SVG), which is replaced.")
  var svg: String?

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  func validate() throws {
    let modes = [table, schedules != nil, schedule != nil, nodes != nil].count { $0 }
    guard modes <= 1 else {
      throw ValidationError("use one of --table, --schedules, --schedule and --nodes")
    }
    guard nodes != nil || (verifiers == nil && rate == nil && requests == nil && svg == nil) else {
      throw ValidationError("--verifiers, --rate, --requests and --svg go with --nodes")
    }
    try Self.check("--schedules", schedules, 1...10_000_000)
    try Self.check("--nodes", nodes, 1...100_000)
    try Self.check("--requests", requests, 1...1_000_000)
    try Self.check("--prompt-length", promptLength, 1...100_000)
    // The speed of a text is taken from its first token to its last.
    try Self.check("--answer-length", answerLength, (nodes == nil ? 2 : 1)...1_000_000)
    if let rate, !(rate > 0 && rate <= 1e6) {
      throw ValidationError("--rate \(rate): expected a number above 0, at most 1000000")
    }
  }

  private static func check(_ name: String, _ value: Int?, _ range: ClosedRange<Int>) throws {
    guard let value, !range.contains(value) else { return }
    throw ValidationError(
      "\(name) \(value): expected \(range.lowerBound) to \(range.upperBound)")
  }

  func run() throws {
    if let schedule {
      try runSchedules(first: schedule, count: 1)
    } else if let schedules {
      try runSchedules(first: seed, count: schedules)
    } else if let nodes {
      try plan(nodes)
    } else {
      guard table || !world.alpha.contains(",") else {
        throw ValidationError(
          "--alpha \(world.alpha): speeds of one text are of one guess for each place: expected one "
            + "number; several are for --nodes and --schedules")
      }
      try compare(table ? Self.tableCells(times: try world.times()) : [try world.cell()])
    }
  }

  // MARK: speed of one text

  private static func tableCells(times: ComputeTimes) -> [SpeedTable.Cell] {
    [0.6, 0.8, 0.9, 0.95].flatMap { acceptance in
      [0, 20, 50, 100, 200].map { roundTrip in
        SpeedTable.Cell(
          acceptance: acceptance, roundTrip: .milliseconds(roundTrip), times: times)
      }
    }
  }

  private func compare(_ cells: [SpeedTable.Cell]) throws {
    let rows = try cells.flatMap { cell in
      try world.pipelines.map { pipeline in
        let speedUp = SpeedTable.speedUp(
          cell, pipeline: pipeline, tokenCount: answerLength ?? 20_000, seed: seed,
          linger: world.linger.map { .fixed($0) } ?? .worthwhile)
        guard let speedUp else {
          throw CommandFailure(
            description: "the text of \(pipeline) at seed \(seed) is not the target's own")
        }
        let length = SpeedTable.bestDraftLength(cell, pipeline: pipeline)
        return SimulatedSpeed(
          acceptance: cell.acceptance, roundTripMs: cell.roundTrip.milliseconds,
          pipeline: pipeline.rawValue, draftLength: pipeline == .streamed ? nil : length,
          speedup: speedUp,
          predicted: SpeedTable.predicted(cell, pipeline: pipeline, draftLength: length))
      }
    }
    guard output == .table else { return try printJSON(rows) }
    var text =
      padded("acceptance", 12) + padded("round trip", 12) + padded("pipeline", 11)
      + padded("drafts", 8) + padded("speed-up", 10) + "by formula\n"
    for row in rows {
      text +=
        padded(rounded(row.acceptance), 12) + padded("\(rounded(row.roundTripMs)) ms", 12)
        + padded(row.pipeline, 11) + padded(row.draftLength.map { "\($0)" } ?? "-", 8)
        + padded(rounded(row.speedup), 10) + rounded(row.predicted) + "\n"
    }
    FileHandleStream.standardOutput.write(text)
  }

  // MARK: faults

  private func runSchedules(first: UInt64, count: Int) throws {
    var report = SimulatedScheduleReport(firstSeed: first, schedules: count)
    for offset in 0..<UInt64(count) {
      let outcome = RandomSchedules.run(seed: first &+ offset)
      report.add(outcome)
      guard !outcome.violations.isEmpty else { continue }
      printError("replay with: slipstream simulate --schedule \(outcome.seed)")
      for violation in outcome.violations { printError("  \(violation)") }
    }
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
    guard report.failedSeeds.isEmpty else {
      throw CommandFailure(description: "\(report.failedSeeds.count) schedules went wrong")
    }
  }

  // MARK: capacity

  private func plan(_ nodes: Int) throws {
    let times = try world.times()
    var base = Scenario(times: times)
    try world.apply(to: &base)
    let length = answerLength ?? 128
    let seconds = times.pass(1).milliseconds * 1e-3 * Double(length)
    let load = CapacityPlan.Load(
      rate: rate ?? Double(nodes) / 2 / seconds, requestCount: requests ?? max(200, nodes),
      promptLength: promptLength, answerLength: length)
    let plan = CapacityPlan(base: base, load: load, seed: seed)
    let splits = try splits(nodes)
    let rows = splits.map { plan.run(verifierCount: $0, drafterCount: nodes - $0) }
    let report = SimulatedPlanReport(nodes: nodes, load: load, rows: rows)
    if let svg { try write(report.plot.svg, to: svg) }
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  private func splits(_ nodes: Int) throws -> [Int] {
    guard let verifiers else { return CapacityPlan.splits(nodeCount: nodes) }
    return try verifiers.split(separator: ",").map { part in
      guard let count = Int(part), (1...nodes).contains(count) else {
        throw ValidationError("--verifiers: \"\(part)\" is not a number from 1 to \(nodes)")
      }
      return count
    }
  }

  private func write(_ text: String, to path: String) throws {
    do {
      var file = try AtomicFile(path: path, replacing: true)
      let bytes = Array(text.utf8)
      try file.append(bytes.span)
      try file.commit()
    } catch {
      throw CommandFailure(description: "\(error)")
    }
  }
}

import ArgumentParser
import Benchmarks
import Engine

/// `slipstream bench kernels`.
struct KernelBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kernels",
    abstract: "Matrix products of one thread beside the limits of this machine.",
    discussion: """
      For each format and number of columns: nanoseconds for 1,000 weights, measured with weights \
      from memory and from the cache, and the two floors: reading the weights at the measured \
      bandwidth, and their products at the measured peak of the instructions.
      """)

  @Option(help: "Formats separated by commas, as Q8_0; all unless told.")
  var formats: String?

  @Option(help: "Numbers of columns separated by commas.")
  var columns = "1,8,16"

  @Option(help: "Columns of the matrices, a multiple of 256.")
  var width = 1536

  @Option(help: "Megabytes of weights.")
  var megabytes = 448

  @Option(
    name: [.customShort("r"), .customLong("repetitions")], help: "Repetitions; medians are shown.")
  var repetitions = 9

  @Option(name: [.customShort("o"), .long], help: "table or json.")
  var output = OutputFormat.table

  func validate() throws {
    guard repetitions >= 1 else {
      throw ValidationError("-r \(repetitions): expected at least 1")
    }
    guard width > 0, width <= 1 << 16, width.isMultiple(of: 256) else {
      throw ValidationError("--width \(width): expected a multiple of 256 up to 65536")
    }
    guard (1...65536).contains(megabytes) else {
      throw ValidationError("--megabytes \(megabytes): expected 1 to 65536")
    }
    _ = try parsedFormats()
    _ = try parsedColumns()
  }

  func run() throws {
    let benchmark = try KernelBenchmark(
      kernels: try ModelLoading.kernels(), roundCount: repetitions)
    var figures: [KernelBenchmark.Figure] = []
    for format in try parsedFormats() {
      figures += try benchmark.run(
        format, columns: try parsedColumns(), cols: width, sizeBytes: megabytes * 1_000_000)
    }
    let report = Report(limits: benchmark.limits, kernels: figures)
    switch output {
    case .json: try printJSON(report)
    case .table: FileHandleStream.standardOutput.write(report.table)
    }
  }

  private func parsedFormats() throws -> [WeightFormat] {
    guard let formats else { return WeightFormat.allCases }
    return try formats.split(separator: ",").map { name in
      guard let format = WeightFormat(rawValue: String(name)) else {
        let known = WeightFormat.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("--formats: \"\(name)\" is none of \(known)")
      }
      return format
    }
  }

  private func parsedColumns() throws -> [Int] {
    try columns.split(separator: ",").map { part in
      guard let number = Int(part), (1...16).contains(number) else {
        throw ValidationError("--columns: \"\(part)\" is not a number from 1 to 16")
      }
      return number
    }
  }

  private struct Report: Encodable {
    let limits: KernelBenchmark.Limits
    let kernels: [KernelBenchmark.Figure]

    var table: String {
      var text =
        "read bandwidth \(rounded(limits.readBandwidth / 1e9)) GB/s, "
        + "products of int8 \(rounded(limits.integerProducts / 1e9)) G/s, "
        + (limits.tileProducts > 0 ? "in tiles \(rounded(limits.tileProducts / 1e9)) G/s, " : "")
        + "of floats \(rounded(limits.floatProducts / 1e9)) G/s"
        + (limits.pairProducts > 0 ? ", of BF16 \(rounded(limits.pairProducts / 1e9)) G/s" : "")
        + "\n\n"
      let widths = [8, 8, 13, 10, 10, 13, 14, 9, 8]
      func line(_ cells: [String]) -> String {
        zip(cells, widths).map { padded($0, $1) }.joined() + "\n"
      }
      text += line([
        "format", "columns", "bytes/weight", "time", "cached", "memory floor", "compute floor",
        "reached", "limit",
      ])
      for figure in kernels {
        text += line([
          figure.format, "\(figure.columns)", rounded(figure.bytesPerWeight),
          rounded(figure.time), rounded(figure.cachedTime), rounded(figure.memoryFloor),
          rounded(figure.computeFloor), "\(Int((figure.reached * 100).rounded())) %",
          figure.memoryFloor > figure.computeFloor ? "memory" : "compute",
        ])
      }
      return text + "times in nanoseconds for 1,000 weights\n"
    }
  }
}

import ArgumentParser
import Engine
import FoundationEssentials
import GGUF

#if canImport(Glibc)
  import Glibc
#endif

/// `slipstream quantize`.
struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize", abstract: "Rewrite a model file with smaller weights.",
    discussion: """
      Types: \(QuantizationType.allCases.map(\.rawValue).joined(separator: ", ")). Q4_K_M is Q4_K \
      with Q6_K for the matrices that feel rounding most. A tensor whose rows are no whole number \
      of blocks gets the next larger type that fits, and its line says so.

      The new file appears when it is complete; an interruption leaves nothing.
      """)

  @Argument(help: "Model file to read (GGUF).")
  var input: String

  @Argument(help: "Model file to write.")
  var output: String

  @Argument(help: "Type of the new file, in upper or lower case.")
  var type: String

  @Option(
    help: """
      Type of the output matrix, which is the token embedding too where a model has but one: Q6_K \
      unless told, in a Q8_0 file Q8_0.
      """)
  var outputTensorType: String?

  @Option(name: [.customShort("t"), .long], help: "Threads; one for each processor unless told.")
  var threads: Int?

  @Flag(help: "Replace the output file where it exists.")
  var force = false

  @Flag(help: "Print one JSON object.")
  var json = false

  func run() throws {
    let type = try Self.type(type)
    let outputType = try outputTensorType.map { try Self.type($0) }
    let file = try ModelLoading.file(input)
    guard !isSameFile(input, output) else {
      throw ValidationError("\(output) is the input file; name another output")
    }
    let plan: QuantizationPlan
    do { plan = try QuantizationPlan(file: file, type: type, outputType: outputType) } catch {
      throw CommandFailure(description: "\(input): \(error)")
    }
    // The writer refuses, too, whatever appears meanwhile; this is said before the work.
    guard force || !FileManager.default.fileExists(atPath: output) else {
      throw CommandFailure(description: "\(output) exists already; --force replaces it")
    }
    var progress = QuantizationProgress(plan: plan)
    let tensors: [QuantizedTensor]
    do {
      let quantizer = try Quantizer(
        file: file, plan: plan, threadCount: threads ?? min(Processors.availableCount, 256))
      tensors = try quantizer.write(to: output, replacing: force) { progress.show($0) }
    } catch {
      progress.clear()
      throw CommandFailure(description: "\(error)")
    }
    progress.clear()
    let report = QuantizeReport(
      type: type, inputBytes: file.sizeBytes, outputBytes: try ModelLoading.file(output).sizeBytes,
      tensors: tensors)
    if json {
      try printJSON(report)
    } else {
      FileHandleStream.standardOutput.write(report.table)
    }
  }

  private static func type(_ name: String) throws -> QuantizationType {
    do { return try QuantizationType(named: name) } catch { throw ValidationError("\(error)") }
  }

  private func isSameFile(_ first: String, _ second: String) -> Bool {
    var one = stat()
    var other = stat()
    return unsafe stat(first, &one) == 0 && stat(second, &other) == 0
      && one.st_dev == other.st_dev && one.st_ino == other.st_ino
  }
}

/// Tells standard error how far the work is: one line that is written over on a terminal, one line
/// for each tensor elsewhere.
private struct QuantizationProgress {
  private let plan: QuantizationPlan
  private let weightCount: Int
  private var finishedWeights = 0
  private var bar = ProgressBar()

  init(plan: QuantizationPlan) {
    self.plan = plan
    weightCount = plan.entries.reduce(0) { $0 + $1.tensor.elementCount }
    let types = Set(
      plan.entries.filter { !$0.isCopied && $0.tensor.type.blockSize > 1 }.map(\.tensor.type.name))
    guard !types.isEmpty else { return }
    printError(
      "note: weights are quantised already (\(types.sorted().joined(separator: ", "))); rounding "
        + "them twice costs quality, so prefer a file in F16, BF16 or F32")
  }

  mutating func show(_ event: QuantizationEvent) {
    switch event {
    case .working(let index, let share):
      draw(index, weights: finishedWeights + Int(share * Double(weights(index))))
    case .finished(let index, let tensor):
      finishedWeights += weights(index)
      if bar.isTerminal { draw(index, weights: finishedWeights) } else { printError(line(index)) }
      guard tensor.nonFiniteCount > 0 else { return }
      clear()
      let consequence = tensor.entry.type.blockSize > 1 ? "became 0" : "stay so"
      printError(
        "warning: \(tensor.entry.tensor.name): \(tensor.nonFiniteCount) weights are NaN or "
          + "infinite and \(consequence)")
    }
  }

  /// Takes the line away.
  mutating func clear() { bar.clear() }

  private func weights(_ index: Int) -> Int { plan.entries[index].tensor.elementCount }

  private mutating func draw(_ index: Int, weights: Int) {
    let share = weightCount > 0 ? Double(weights) / Double(weightCount) : 1
    bar.show(share, plan.entries[index].tensor.name)
  }

  private func line(_ index: Int) -> String {
    let entry = plan.entries[index]
    let shape = entry.tensor.dimensions.map(String.init).joined(separator: " x ")
    let place = "[\(index + 1)/\(plan.entries.count)]"
    let change =
      entry.isCopied
      ? "\(entry.type.name), copied" : "\(entry.tensor.type.name) to \(entry.type.name)"
    let reason =
      entry.fallbackFrom.map { wanted in
        ", as \(wanted.name) needs rows of a multiple of \(wanted.blockSize)"
      } ?? ""
    return "\(place) \(entry.tensor.name) \(shape): \(change)\(reason)"
  }
}

/// What `slipstream quantize` tells in the end.
struct QuantizeReport: Encodable {
  /// The tensors that are of one type now.
  struct Group: Encodable {
    let type: String
    let tensorCount: Int
    let weightCount: Int
    let sizeBytes: Int
    let bitsPerWeight: Double
    /// Of the weights that were converted; nil where all were copied.
    let meanSquaredError: Double?
    /// Root of the squared error over the root of the squares.
    let relativeError: Double?
  }
  struct Fallback: Encodable {
    let tensor: String
    let wanted: String
    let type: String
  }
  let type: String
  let inputBytes: Int
  let outputBytes: Int
  let weightCount: Int
  /// Of all tensors, without what stands in front of them; nil in a file without any.
  let bitsPerWeight: Double?
  let groups: [Group]
  let fallbacks: [Fallback]
  /// Weights that were NaN or infinite.
  let nonFiniteCount: Int

  init(type: QuantizationType, inputBytes: Int, outputBytes: Int, tensors: [QuantizedTensor]) {
    self.type = type.rawValue
    self.inputBytes = inputBytes
    self.outputBytes = outputBytes
    weightCount = tensors.reduce(0) { $0 + $1.entry.tensor.elementCount }
    let bytes = tensors.reduce(0) { $0 + $1.entry.byteCount }
    bitsPerWeight = weightCount > 0 ? Double(bytes * 8) / Double(weightCount) : nil
    let names = Set(tensors.map(\.entry.type)).sorted { $0.rawValue < $1.rawValue }
    groups = names.map { name in Self.group(name, tensors.filter { $0.entry.type == name }) }
    fallbacks = tensors.compactMap { tensor in
      tensor.entry.fallbackFrom.map {
        Fallback(
          tensor: tensor.entry.tensor.name, wanted: $0.name, type: tensor.entry.type.name)
      }
    }
    nonFiniteCount = tensors.reduce(0) { $0 + $1.nonFiniteCount }
  }

  private static func group(_ type: GGMLType, _ tensors: [QuantizedTensor]) -> Group {
    let weights = tensors.reduce(0) { $0 + $1.entry.tensor.elementCount }
    let bytes = tensors.reduce(0) { $0 + $1.entry.byteCount }
    let converted = tensors.filter { !$0.entry.isCopied }
    let count = converted.reduce(0) { $0 + $1.entry.tensor.elementCount - $1.nonFiniteCount }
    let error = converted.reduce(0) { $0 + $1.squaredError }
    let squares = converted.reduce(0) { $0 + $1.squares }
    return Group(
      type: type.name, tensorCount: tensors.count, weightCount: weights, sizeBytes: bytes,
      bitsPerWeight: Double(bytes * 8) / Double(weights),
      meanSquaredError: count > 0 ? error / Double(count) : nil,
      relativeError: squares > 0 ? (error / squares).squareRoot() : nil)
  }

  var table: String {
    var lines = [
      ["type", "tensors", "weights", "bytes", "bits/weight", "mean squared error", "relative"]
    ]
    for group in groups {
      lines.append([
        group.type, "\(group.tensorCount)", "\(group.weightCount)", "\(group.sizeBytes)",
        significant(group.bitsPerWeight), group.meanSquaredError.map(significant) ?? "copied",
        group.relativeError.map { "\(significant($0 * 100)) %" } ?? "",
      ])
    }
    let widths = lines[0].indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
    var output = ""
    for line in lines {
      let cells = line.indices.map { padded(line[$0], widths[$0]) }.joined(separator: "  ")
      output += cells.trimmingSuffix { $0 == " " } + "\n"
    }
    if !fallbacks.isEmpty {
      output += "\(fallbacks.count) of these tensors are of a type that fits their rows "
      output += "instead of the one wanted\n"
    }
    let share = inputBytes > 0 ? Double(outputBytes) * 100 / Double(inputBytes) : 100
    output += "\(inputBytes) bytes to \(outputBytes) (\(significant(share)) %)"
    let bits = bitsPerWeight.map { ", \(significant($0)) bits per weight" } ?? ""
    return output + bits + "\n"
  }
}

/// Four significant digits.
private func significant(_ number: Double) -> String {
  guard number != 0, number.isFinite else { return "\(number)" }
  let magnitude = pow(10, log10(abs(number)).rounded(.down))
  let digits = (number / magnitude * 1000).rounded()
  // Division by a power of ten, unlike multiplication by its inverse, keeps the digits short.
  let scale = 1000 / magnitude
  return scale >= 1 ? "\(digits / scale)" : "\(digits * (magnitude / 1000))"
}

extension String {
  fileprivate func trimmingSuffix(while isTrimmed: (Character) -> Bool) -> String {
    var text = self
    while let last = text.last, isTrimmed(last) { text.removeLast() }
    return text
  }
}

import ArgumentParser
import Engine
import Foundation
import GGUF
import InferenceTypes

/// `slipstream logits`.
struct LogitsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logits", abstract: "Print the largest logits at each position of a token list.")

  @OptionGroup var model: ModelOptions

  @Option(help: "Token ids separated by commas.")
  var tokens: String

  @Option(help: "Logits printed for each position.")
  var top = 10

  @Flag(help: "Print a JSON array.")
  var json = false

  func validate() throws {
    guard (1...256).contains(top) else {
      throw ValidationError("--top \(top): expected 1 to 256")
    }
  }

  func run() throws {
    let ids = try tokens.split(separator: ",", omittingEmptySubsequences: false).map { part in
      guard let id = UInt32(part.trimmingPrefix(" ")) else {
        throw ValidationError("--tokens: \"\(part)\" is not a token id")
      }
      return TokenID(id)
    }
    let engine = try ModelLoading.engine(model, file: try ModelLoading.file(model.model))
    let cache = try engine.makeCache()
    var positions: [PositionLogits] = []
    var start = 0
    while start < ids.count {
      let chunk = Array(ids[start..<min(ids.count, start + 64)])
      try engine.forward(ForwardBatch(chain: chunk, logits: .all), cache: cache)
      cache.commit(Array(chunk.indices))
      let largest = engine.topLogits(top)
      let width = largest.count / chunk.count
      let sums = logSums(engine: engine, rowCount: chunk.count)
      for row in chunk.indices {
        positions.append(
          PositionLogits(
            top: largest[row * width..<(row + 1) * width].map {
              PositionLogits.Entry(id: $0.token.rawValue, logit: $0.logit)
            }, logsumexp: sums[row]))
      }
      start += chunk.count
    }
    try show(positions)
  }

  private func logSums(engine: InferenceEngine, rowCount: Int) -> [Double] {
    let vocabulary = engine.model.shape.vocabularyCount
    return engine.withLogits { logits in
      (0..<rowCount).map { row in
        var largest = -Double.infinity
        for index in 0..<vocabulary {
          largest = max(largest, Double(logits[row * vocabulary + index]))
        }
        var sum = 0.0
        for index in 0..<vocabulary {
          sum += exp(Double(logits[row * vocabulary + index]) - largest)
        }
        return largest + log(sum)
      }
    }
  }

  private func show(_ positions: [PositionLogits]) throws {
    guard !json else {
      try printJSON(positions)
      return
    }
    for (index, position) in positions.enumerated() {
      let entries = position.top.map { "\($0.id):\($0.logit)" }.joined(separator: " ")
      FileHandleStream.standardOutput.write(
        "\(index) logsumexp \(position.logsumexp) top \(entries)\n")
    }
  }
}

/// One element of the array that `slipstream logits --json` prints.
struct PositionLogits: Encodable {
  struct Entry: Encodable {
    let id: UInt32
    let logit: Float
  }
  let top: [Entry]
  let logsumexp: Double
}

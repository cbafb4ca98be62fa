import ArgumentParser
import Benchmarks
import Engine
import Foundation
import GGUF

/// `slipstream bench memory`.
struct MemoryBenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "memory",
    abstract: "Peak resident memory of a process that loads a model and decodes, as JSON.")

  /// Tokens that are decoded.
  static let tokenCount = 64

  @OptionGroup var model: ModelOptions

  func run() throws {
    let file = try ModelLoading.file(model.model)
    let engine = try ModelLoading.engine(model, file: file)
    let keyValueBytes = try PeakMemory.decode(Self.tokenCount, engine: engine)
    let attributes = try FileManager.default.attributesOfItem(
      atPath: URL(filePath: model.model).resolvingSymlinksInPath().path(percentEncoded: false))
    guard let fileBytes = attributes[.size] as? Int else {
      throw CommandFailure(description: "\(model.model): the size of the file is unknown")
    }
    try printJSON(
      PeakMemoryReport(
        peakBytes: try PeakMemory.bytes(), fileBytes: fileBytes, keyValueBytes: keyValueBytes))
  }
}

/// Peak resident memory of a process that loaded a model and decoded.
struct PeakMemoryReport: Codable {
  let peakBytes: Int
  let fileBytes: Int
  /// Blocks of keys and values that the decoded tokens fill.
  let keyValueBytes: Int
  var peerPeakBytes: Int?
  /// What the peer's interpreter and libraries took before it loaded the model.
  var peerBytesBeforeLoading: Int?

  init(peakBytes: Int, fileBytes: Int, keyValueBytes: Int) {
    self.peakBytes = peakBytes
    self.fileBytes = fileBytes
    self.keyValueBytes = keyValueBytes
  }

  mutating func add(_ peer: (bytes: Int, beforeLoading: Int)) {
    peerPeakBytes = peer.bytes
    peerBytesBeforeLoading = peer.beforeLoading
  }

  var line: String {
    func megabytes(_ bytes: Int) -> String { rounded(Double(bytes) / 1e6) + " MB" }
    var line =
      "peak memory \(megabytes(peakBytes)), of which keys and values \(megabytes(keyValueBytes)); "
      + "file \(megabytes(fileBytes))"
    if let peer = peerPeakBytes, let before = peerBytesBeforeLoading {
      line += "; peer \(megabytes(peer)), \(megabytes(before)) of it before loading"
    }
    return line
  }
}

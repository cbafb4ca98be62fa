package import Engine
import Foundation

/// The most memory that this process had resident.
package enum PeakMemory {
  /// The system does not say.
  package struct Failure: Error, CustomStringConvertible {
    package var description: String { "/proc/self/status has no line VmHWM in kB" }
  }

  /// Bytes that were resident at the worst moment so far.
  /// - Throws: ``Failure``.
  package static func bytes() throws -> Int {
    let text = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    let words = line?.split(whereSeparator: \.isWhitespace) ?? []
    guard words.count == 3, words[2] == "kB", let kilobytes = Int(words[1]) else {
      throw Failure()
    }
    return kilobytes << 10
  }

  /// Decodes `count` tokens, as many as the context takes, so that all memory that decoding needs is
  /// resident.
  /// - Returns: bytes of the blocks of keys and values that they fill.
  /// - Throws: ``EngineError``.
  package static func decode(_ count: Int, engine: InferenceEngine) throws -> Int {
    let cache = try engine.makeCache()
    try EngineBenchmark.feed(0..<1, engine: engine, cache: cache)
    for index in 1..<max(1, min(count, engine.contextLength)) {
      try EngineBenchmark.feed(index..<index + 1, engine: engine, cache: cache)
    }
    return cache.blockCount * engine.pool.layout.blockBytes
  }
}

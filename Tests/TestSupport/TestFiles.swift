package import Foundation

/// Files that tests read.
package enum TestFiles {
  /// The repository's top folder.
  package static let repository: URL =
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// A file of `Tests/Golden`.
  package static func golden(_ name: String) -> URL {
    repository.appending(path: "Tests/Golden/\(name)")
  }

  /// Path of the default model: `SLIPSTREAM_MODEL`, else where `deploy/setup.sh` puts it.
  /// - Throws: ``MissingModel`` when it is not there.
  package static func modelPath() throws -> String {
    let environment = ProcessInfo.processInfo.environment
    let cache =
      environment["SLIPSTREAM_CACHE"] ?? "\(environment["HOME"] ?? "/root")/.cache/slipstream"
    let path =
      environment["SLIPSTREAM_MODEL"] ?? "\(cache)/models/SmolLM2-135M-Instruct.Q4_1.gguf"
    guard FileManager.default.isReadableFile(atPath: path) else { throw MissingModel(path: path) }
    return path
  }
}

/// The default model is not on this machine.
package struct MissingModel: Error, CustomStringConvertible {
  package let path: String
  package var description: String {
    "no model at \(path); deploy/setup.sh fetches it, SLIPSTREAM_MODEL names another place"
  }
}

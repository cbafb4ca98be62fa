import Engine
import Foundation
import GGUF
import TestSupport
import Testing

/// Resident memory is counted for a whole process, so the test has one of its own.
@Suite struct ResidentMemoryTests {
  /// What was packed, or only sampled for the fingerprint, does not stay in the file's form as well.
  @Test func aLoadedModelKeepsLittleOfItsFileInMemory() async throws {
    await #expect(processExitsWith: .success) {
      let path = try TestFiles.modelPath()
      let before = try residentFileBytes()
      let file = try GGUFFile(path: path)
      let model = try Model(file: file)
      #expect(model.fingerprint == file.fingerprint)
      let size = try #require(
        FileManager.default.attributesOfItem(
          atPath: URL(filePath: path).resolvingSymlinksInPath().path())[.size] as? Int)
      #expect(try residentFileBytes() - before < size / 4)
    }
  }
}

/// Bytes of mapped files that this process has resident.
private func residentFileBytes() throws -> Int {
  let text = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
  let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("RssFile:") })
  return try #require(Int(line.split(whereSeparator: \.isWhitespace)[1])) << 10
}

import ArgumentParser
import GGUF
import InferenceTypes
import Tokenizer

#if canImport(Glibc)
  import Glibc
#endif

/// `slipstream tokenize`.
struct TokenizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tokenize", abstract: "Print the token ids of a text.",
    discussion: "The bytes of standard input are taken as they are, line ends included.")

  @Option(name: [.customShort("m"), .long], help: "Model file (GGUF).")
  var model: String

  @Flag(help: "Take special tokens written in the text for what they are.")
  var parseSpecial = false

  @Flag(help: "Print {\"tokens\": [...]}.")
  var json = false

  @Argument(help: "The text; standard input unless given.")
  var text: String?

  func run() throws {
    let tokenizer = try BytePairTokenizer(file: try ModelLoading.file(model))
    let bytes = try text.map { Array($0.utf8) } ?? standardInput()
    let tokens = tokenizer.encode(bytes: bytes, parseSpecial: parseSpecial)
    guard !json else {
      try printJSON(["tokens": tokens.map(\.rawValue)])
      return
    }
    let lines = tokens.map { token in
      let piece = String(decoding: tokenizer.bytes(of: token, includeSpecial: true), as: UTF8.self)
      return "\(token) \(piece.debugDescription)\n"
    }
    FileHandleStream.standardOutput.write(lines.joined())
  }

  private func standardInput() throws -> [UInt8] {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(0, $0.baseAddress, $0.count) }
      if count == 0 { return all }
      guard count > 0 else {
        if errno == EINTR { continue }
        throw CommandFailure(description: "standard input cannot be read (error \(errno))")
      }
      all.append(contentsOf: buffer[..<count])
    }
  }
}

import Foundation
import GGUF
import InferenceTypes
import Testing
import Tokenizer

/// The model that the tests need; a missing one fails the test that asks.
func openTestModel() throws -> GGUFFile {
  let environment = ProcessInfo.processInfo.environment
  let path =
    environment["SLIPSTREAM_MODEL"]
    ?? "\(NSHomeDirectory())/.cache/slipstream/models/SmolLM2-135M-Instruct.Q4_1.gguf"
  try #require(
    FileManager.default.isReadableFile(atPath: path),
    "no model at \(path); download it or set SLIPSTREAM_MODEL")
  return try GGUFFile(path: path)
}

/// The model's tokenizer, loaded once.
func testTokenizer() throws -> BytePairTokenizer { try loadedTokenizer.get() }

private let loadedTokenizer = Result { try BytePairTokenizer(file: openTestModel()) }

/// The bytes of a file in Tests/Golden.
func golden(_ name: String) throws -> Data {
  let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent()
  return try Data(contentsOf: tests.appendingPathComponent("Golden/\(name)"))
}

/// A vocabulary small enough to know by heart: all bytes, then what merges give, then the rest.
struct TinyVocabulary {
  var model = "gpt2"
  var pre = "gpt-2"
  var merges: [String] = []
  var extra: [(text: String, type: Int32)] = []
  /// Added or replaced metadata; nil removes.
  var metadata: [String: GGUFValue?] = [:]

  /// Bytes in the order of the alphabet: printable ones as themselves.
  static let alphabet: [String] = {
    var unprintableCount: UInt32 = 0
    return (UInt8.min...UInt8.max).map { byte in
      var value = UInt32(byte)
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: break
      default:
        value = 256 + unprintableCount
        unprintableCount += 1
      }
      return Unicode.Scalar(value).map { String($0) } ?? ""
    }
  }()

  func file() throws -> GGUFFile {
    let merged = merges.map { $0.replacing(" ", with: "") }
    let tokens = Self.alphabet + merged + extra.map(\.text)
    let types =
      [Int32](repeating: 1, count: Self.alphabet.count + merged.count) + extra.map(\.type)
    var entries: [String: GGUFValue?] = [
      "tokenizer.ggml.model": .string(model), "tokenizer.ggml.pre": .string(pre),
      "tokenizer.ggml.tokens": .array(.string(tokens)),
      "tokenizer.ggml.token_type": .array(.int32(types)),
      "tokenizer.ggml.merges": .array(.string(merges)),
    ]
    entries.merge(metadata) { $1 }
    var writer = GGUFWriter()
    for (key, value) in entries.sorted(by: { $0.key < $1.key }) {
      if let value { writer.add(key, value) }
    }
    return try GGUFFile(bytes: writer.serialized())
  }

  func tokenizer() throws -> BytePairTokenizer { try BytePairTokenizer(file: file()) }
}

/// A fixed sequence of pseudo-random numbers.
struct TestRandom: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}

extension BytePairTokenizer {
  /// The bytes of all `tokens`.
  func bytes(of tokens: [TokenID]) -> [UInt8] {
    tokens.flatMap { bytes(of: $0, includeSpecial: false) }
  }
}

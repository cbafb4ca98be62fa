import Foundation
import GGUF
import InferenceTypes
import Testing
import Tokenizer

/// Comparison with the public packages `tokenizers` and `sentencepiece`: see
/// Tests/Golden/tokenizers/generate.py, which also explains the environment variable.
private enum Reference {
  static let folder =
    ProcessInfo.processInfo.environment["SLIPSTREAM_TOKENIZER_GOLDEN"].map {
      URL(fileURLWithPath: $0)
    } ?? goldenFolder

  static let goldenFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Golden/tokenizers")

  static let strings = Result {
    try JSONDecoder().decode(
      [String].self, from: Data(contentsOf: folder.appendingPathComponent("strings.json")))
  }

  static func cases<Cases: Decodable>(_ name: String) throws -> Cases {
    try JSONDecoder().decode(
      Cases.self, from: Data(contentsOf: folder.appendingPathComponent("\(name).json")))
  }

  static func vocabulary(_ name: String) throws -> TrainedVocabulary {
    let file = "\(name).vocabulary.json"
    let own = folder.appendingPathComponent(file)
    let hasOwn = FileManager.default.fileExists(atPath: own.path)
    let url = hasOwn ? own : goldenFolder.appendingPathComponent(file)
    return try JSONDecoder().decode(TrainedVocabulary.self, from: Data(contentsOf: url))
  }
}

/// A vocabulary of Tests/Golden/tokenizers.
func trainedVocabulary(_ name: String) throws -> TrainedVocabulary {
  let data = try golden("tokenizers/\(name).vocabulary.json")
  return try JSONDecoder().decode(TrainedVocabulary.self, from: data)
}

private struct ByteLevelCases: Decodable {
  var pre: String
  var lengths: [[Int]]
  var ids: [[UInt32]]
}

private struct PieceCases: Decodable {
  var ids: [[UInt32]]
  /// What decoding gives where that is not the string.
  var texts: [String?]
}

struct ReferenceTests {
  @Test(arguments: PreTokenizer.allCases)
  func everyRuleSplitsAndEncodesAsItsRegularExpressions(kind: PreTokenizer) throws {
    let strings = try Reference.strings.get()
    // Rules that differ in more than the splitting have the same file of splits.
    let cases: ByteLevelCases = try Reference.cases(kind.names[0])
    #expect(strings.count >= 400 || Reference.folder != Reference.goldenFolder)
    try #require(cases.ids.count == strings.count && cases.lengths.count == strings.count)
    let tokenizer = try Reference.vocabulary("byte-level").byteLevel(pre: cases.pre)
    for (index, text) in strings.enumerated() {
      let bytes = Array(text.utf8)
      let lengths = preTokens(of: bytes, kind: kind).map(\.count)
      #expect(lengths == cases.lengths[index], "\(text.debugDescription)")
      let tokens = tokenizer.encode(text, parseSpecial: false)
      #expect(tokens.map(\.rawValue) == cases.ids[index], "\(text.debugDescription)")
      #expect(tokenizer.bytes(of: tokens) == bytes)
    }
  }

  @Test(arguments: ["llama", "gemma", "unknown", "phrases", "unused"])
  func everyPieceVocabularyEncodesAsSentencePiece(name: String) throws {
    let strings = try Reference.strings.get()
    let cases: PieceCases = try Reference.cases(name)
    try #require(cases.ids.count == strings.count && cases.texts.count == strings.count)
    let vocabulary = try Reference.vocabulary(name)
    let tokenizer = try vocabulary.pieces()
    for (index, text) in strings.enumerated() {
      let tokens = tokenizer.encode(text, parseSpecial: false)
      #expect(tokens.map(\.rawValue) == cases.ids[index], "\(text.debugDescription)")
      // The unknown token is hidden here; SentencePiece decodes it to a sign of its own.
      guard vocabulary.byteFallback == true else { continue }
      let decoded = String(decoding: tokenizer.bytes(ofText: tokens), as: UTF8.self)
      let expected = cases.texts[index] ?? text
      #expect(Array(decoded.utf8) == Array(expected.utf8), "\(text.debugDescription)")
    }
  }

  @Test(arguments: ["llama", "gemma", "phrases", "unused"])
  func streamedTextIsTheWholeText(name: String) throws {
    let tokenizer = try Reference.vocabulary(name).pieces()
    for text in try Reference.strings.get() {
      let tokens = tokenizer.encode(text, parseSpecial: false)
      var detokenizer = StreamingDetokenizer(tokenizer: tokenizer)
      var streamed = ""
      for token in tokens {
        let piece = detokenizer.append(token)
        let isHalf = piece.unicodeScalars.contains("\u{FFFD}")
        #expect(!isHalf || text.unicodeScalars.contains("\u{FFFD}"))
        streamed += piece
      }
      streamed += detokenizer.finish()
      #expect(Array(streamed.utf8) == tokenizer.bytes(ofText: tokens))
    }
  }
}

/// A vocabulary that generate.py trained.
struct TrainedVocabulary: Decodable {
  var tokens: [String]
  var types: [Int32]?
  var merges: [String]?
  var scores: [Float]?
  var addSpacePrefix: Bool?
  var unknown: UInt32?
  var byteFallback: Bool?

  func byteLevel(pre: String) throws -> BytePairTokenizer {
    try tokenizer([
      "tokenizer.ggml.model": .string("gpt2"), "tokenizer.ggml.pre": .string(pre),
      "tokenizer.ggml.merges": .array(.string(merges ?? [])),
    ])
  }

  /// The vocabulary as a model of SentencePiece; `metadata` are added or replaced.
  func pieces(_ metadata: [String: GGUFValue] = [:]) throws -> BytePairTokenizer {
    var entries: [String: GGUFValue] = [
      "tokenizer.ggml.model": .string("llama"), "tokenizer.ggml.pre": .string("default"),
      "tokenizer.ggml.scores": .array(.float32(scores ?? [])),
      "tokenizer.ggml.token_type": .array(.int32(types ?? [])),
      "tokenizer.ggml.add_space_prefix": .bool(addSpacePrefix ?? true),
      "tokenizer.ggml.unknown_token_id": .uint32(unknown ?? 0),
    ]
    entries.merge(metadata) { $1 }
    return try tokenizer(entries)
  }

  private func tokenizer(_ metadata: [String: GGUFValue]) throws -> BytePairTokenizer {
    var writer = GGUFWriter()
    writer.add("tokenizer.ggml.tokens", .array(.string(tokens)))
    for (key, value) in metadata.sorted(by: { $0.key < $1.key }) { writer.add(key, value) }
    return try BytePairTokenizer(file: GGUFFile(bytes: writer.serialized()))
  }
}

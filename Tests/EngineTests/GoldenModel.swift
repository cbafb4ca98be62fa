import Engine
import Foundation
import GGUF
import InferenceTypes
import TestSupport
import Testing

/// A tiny model of `Tests/Golden/architectures` with its text and float64 logits; see
/// `generate.py` there.
struct GoldenModel: CustomTestStringConvertible, Sendable {
  let name: String

  static let all = [
    "llama", "llama-linear-tied-biases", "llama-3.1", "llama-yarn", "mistral-window", "qwen2",
    "qwen3", "gemma2", "gemma3", "phi3-long", "phi3-short-window",
  ].map { GoldenModel(name: $0) }

  var testDescription: String { name }

  static var folder: URL { TestFiles.golden("architectures") }

  func file() throws -> GGUFFile {
    try GGUFFile(path: Self.folder.appending(path: "\(name).gguf").path)
  }

  func tokens() throws -> [TokenID] {
    try file().integerArray("golden.tokens").map { TokenID(UInt32($0)) }
  }

  /// One row for each token.
  func logits() throws -> [[Float]] {
    let values = try file().floatArray("golden.logits")
    let count = try tokens().count
    try #require(count > 0 && values.count.isMultiple(of: count))
    let width = values.count / count
    return (0..<count).map { Array(values[$0 * width..<($0 + 1) * width]) }
  }

  func engine(
    backend: Backend = .native, kernels: Kernels = .best, threadCount: Int = 1,
    contextLength: Int? = nil, cacheTypes: CacheTypes? = nil
  ) throws -> InferenceEngine {
    try InferenceEngine(
      model: Model(file: file(), backend: backend, kernels: kernels), threadCount: threadCount,
      contextLength: contextLength, cacheTypes: cacheTypes)
  }

  /// What a changed copy of the file says.
  struct Changes {
    /// New or replaced settings.
    var metadata: [String: GGUFValue] = [:]
    /// Tensors left out.
    var without: [String] = []
    /// New or replaced tensors, one row each.
    var vectors: [String: [Float]] = [:]
    /// Matrices in half precision that are stored in another format.
    var formats: [String: WeightFormat] = [:]
  }

  func file(_ changes: Changes) throws -> GGUFFile {
    let original = try file()
    var writer = GGUFWriter()
    for key in original.keys where changes.metadata[key] == nil {
      writer.add(key, try #require(original[key]))
    }
    for (key, value) in changes.metadata.sorted(by: { $0.key < $1.key }) { writer.add(key, value) }
    for tensor in original.tensors
    where !changes.without.contains(tensor.name) && changes.vectors[tensor.name] == nil {
      // safe: copied while the file is open.
      let bytes = unsafe original.withTensorBytes(tensor) { unsafe Array($0) }
      let format = changes.formats[tensor.name]
      // Formats are named as the types of files are.
      let type = format.flatMap { format in
        GGMLType.allCases.first { $0.name == format.rawValue }
      }
      writer.add(
        tensor: tensor.name, dimensions: tensor.dimensions,
        type: type ?? tensor.type,
        bytes: format?.quantize(WeightFormat.f16.dequantize(bytes, count: tensor.elementCount))
          ?? bytes)
    }
    for (name, values) in changes.vectors.sorted(by: { $0.key < $1.key }) {
      writer.add(
        tensor: name, dimensions: [values.count], type: .f32,
        bytes: WeightFormat.f32.quantize(values))
    }
    return try GGUFFile(bytes: writer.serialized())
  }

  /// The logits of every position of the golden text in a changed copy, as bit patterns.
  func rows(_ changes: Changes, contextLength: Int? = nil) throws -> [[UInt32]] {
    let engine = try InferenceEngine(
      model: Model(file: file(changes)), contextLength: contextLength)
    let tokens = try tokens().prefix(contextLength ?? .max)
    return try engine.rows(Array(tokens), pieces: [tokens.count])
  }
}

extension InferenceEngine {
  /// The logits of the latest pass, row after row.
  func logitRows() -> [[Float]] {
    let vocabulary = model.shape.vocabularyCount
    return withLogits { logits in
      (0..<logits.count / vocabulary).map { row in
        (0..<vocabulary).map { logits[row * vocabulary + $0] }
      }
    }
  }

  /// Logits of every token as bit patterns, the text fed in pieces of these sizes.
  func rows(_ tokens: [TokenID], pieces: [Int]) throws -> [[UInt32]] {
    let cache = try makeCache()
    var result: [[UInt32]] = []
    var start = 0
    var turn = 0
    while start < tokens.count {
      let count = min(pieces[turn % pieces.count], tokens.count - start)
      turn += 1
      let piece = Array(tokens[start..<start + count])
      try forward(ForwardBatch(chain: piece, logits: .all), cache: cache)
      result += logitRows().map { $0.map(\.bitPattern) }
      cache.commit(Array(0..<count))
      start += count
    }
    return result
  }
}

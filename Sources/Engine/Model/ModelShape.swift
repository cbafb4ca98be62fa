package import GGUF

/// Sizes and constants of a transformer, read from the model file and checked.
package struct ModelShape: Sendable, Equatable {
  package let architecture: String
  package let layerCount: Int
  /// Most positions the model was made for, tokens.
  package let contextLength: Int
  package let embeddingLength: Int
  package let feedForwardLength: Int
  package let headCount: Int
  package let keyValueHeadCount: Int
  package let headLength: Int
  /// Leading dimensions of each head that are rotated.
  package let rotaryLength: Int
  package let rotaryBase: Double
  package let normEpsilon: Float
  package let vocabularyCount: Int

  package static let supportedArchitectures = ["llama"]

  /// Length of all key heads together.
  package var keyValueLength: Int { keyValueHeadCount * headLength }
  /// Length of all query heads together.
  package var queryLength: Int { headCount * headLength }
  package var attentionScale: Float { 1 / Float(headLength).squareRoot() }
}

extension ModelShape {
  /// - Throws: ``EngineError`` naming the key, its value and what is supported.
  package init(file: GGUFFile) throws(EngineError) {
    let reader = ShapeReader(file: file)
    architecture = try reader.text("general.architecture")
    guard Self.supportedArchitectures.contains(architecture) else {
      throw .unsupportedArchitecture(architecture, supported: Self.supportedArchitectures)
    }
    let prefix = architecture
    layerCount = try reader.number("\(prefix).block_count", in: 1...4096)
    contextLength = try reader.number("\(prefix).context_length", in: 1...(1 << 24))
    embeddingLength = try reader.number("\(prefix).embedding_length", in: 1...(1 << 20))
    feedForwardLength = try reader.number("\(prefix).feed_forward_length", in: 1...(1 << 22))
    headCount = try reader.number("\(prefix).attention.head_count", in: 1...4096)
    keyValueHeadCount = try reader.number(
      "\(prefix).attention.head_count_kv", in: 1...4096, default: headCount)
    guard headCount.isMultiple(of: keyValueHeadCount) else {
      throw .invalidSetting(
        key: "\(prefix).attention.head_count_kv", value: keyValueHeadCount,
        expected: "a divisor of the \(headCount) heads")
    }
    headLength = try reader.number(
      "\(prefix).attention.key_length", in: 1...4096,
      default: max(1, embeddingLength / headCount))
    let valueLength = try reader.number(
      "\(prefix).attention.value_length", in: 1...4096, default: headLength)
    guard valueLength == headLength else {
      throw .unsupportedSetting(
        key: "\(prefix).attention.value_length", value: "\(valueLength)",
        supported: "\(headLength), the length of keys")
    }
    rotaryLength = try reader.number(
      "\(prefix).rope.dimension_count", in: 2...4096, default: headLength)
    guard rotaryLength <= headLength, rotaryLength.isMultiple(of: 2) else {
      throw .invalidSetting(
        key: "\(prefix).rope.dimension_count", value: rotaryLength,
        expected: "an even number up to \(headLength)")
    }
    rotaryBase = Double(try reader.real("\(prefix).rope.freq_base", default: 10_000))
    guard rotaryBase.isFinite, rotaryBase > 1 else {
      throw .unsupportedSetting(
        key: "\(prefix).rope.freq_base", value: "\(rotaryBase)", supported: "numbers above 1")
    }
    let scaling = try reader.text("\(prefix).rope.scaling.type", default: "none")
    guard scaling == "none" else {
      throw .unsupportedSetting(
        key: "\(prefix).rope.scaling.type", value: scaling, supported: "none")
    }
    normEpsilon = try reader.real("\(prefix).attention.layer_norm_rms_epsilon", default: nil)
    guard normEpsilon.isFinite, normEpsilon >= 0 else {
      throw .unsupportedSetting(
        key: "\(prefix).attention.layer_norm_rms_epsilon", value: "\(normEpsilon)",
        supported: "numbers from 0")
    }
    guard let embedding = file.tensor(named: "token_embd.weight") else {
      throw .missingTensor("token_embd.weight")
    }
    vocabularyCount = embedding.rowCount
  }
}

/// Metadata with the engine's errors.
private struct ShapeReader {
  let file: GGUFFile

  func number(_ key: String, in range: ClosedRange<Int>, default fallback: Int? = nil)
    throws(EngineError) -> Int
  {
    let value: Int
    do { value = try file.integer(key, default: fallback) } catch { throw .file("\(error)") }
    guard range.contains(value) else {
      throw .invalidSetting(
        key: key, value: value, expected: "\(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  func real(_ key: String, default fallback: Float?) throws(EngineError) -> Float {
    do { return try file.float(key, default: fallback) } catch { throw .file("\(error)") }
  }

  func text(_ key: String, default fallback: String? = nil) throws(EngineError) -> String {
    do { return try file.string(key, default: fallback) } catch { throw .file("\(error)") }
  }
}

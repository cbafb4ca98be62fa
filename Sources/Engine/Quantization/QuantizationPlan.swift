package import GGUF

/// Which tensor of a model becomes which type.
///
/// The rules are llama.cpp's, so that a file is what people expect under its name:
///
/// - Vectors, and a few small matrices that are not multiplied as such, stay what they are.
/// - The output matrix, or the token embedding where it serves as the output too, is Q6_K; in a
///   Q8_0 file Q8_0; or what the caller wants.
/// - Q4_K_M: Q6_K for the value and down projections of the first and the last eighth of the layers
///   and of every third one between, and for joined attention projections; Q4_K elsewhere.
///
/// They depart from llama.cpp's where that asks for a type we do not write: joined projections are
/// Q5_K there, and rows that are no whole number of Q4_K blocks become Q5_0 there and Q4_1 here.
/// Its exceptions for mixtures of eight experts and for models of 70 billion weights are left out.
package struct QuantizationPlan: Sendable {
  /// One tensor's fate.
  package struct Entry: Sendable, Equatable {
    /// The tensor as it is.
    package let tensor: GGUFTensor
    /// What it becomes.
    package let type: GGMLType
    /// What it would have become if its rows were whole blocks of that type.
    package let fallbackFrom: GGMLType?

    /// Whether the bytes stay.
    package var isCopied: Bool { type == tensor.type }
    /// Bytes of the tensor in its new type.
    package var byteCount: Int { tensor.elementCount / type.blockSize * type.blockBytes }
  }

  package let type: QuantizationType
  /// In file order.
  package let entries: [Entry]

  /// - Parameters:
  ///   - file: the model.
  ///   - type: of most matrices.
  ///   - outputType: of the output matrix; `nil` follows the rules.
  /// - Throws: ``EngineError/unsupportedSetting(key:value:supported:)`` for a part of a model that
  ///   is split over several files, ``EngineError/unsupportedTensorType(tensor:type:supported:)``
  ///   for a tensor that would have to be converted from a type that cannot be read.
  package init(
    file: GGUFFile, type: QuantizationType, outputType: QuantizationType? = nil
  ) throws(EngineError) {
    let parts: Int
    do { parts = try file.integer("split.count", default: 1) } catch { throw .file("\(error)") }
    guard parts <= 1 else {
      throw .unsupportedSetting(
        key: "split.count", value: "\(parts)", supported: "1: merge the parts first")
    }
    self.type = type
    let rules = Rules(tensors: file.tensors, type: type, outputType: outputType)
    var entries: [Entry] = []
    for tensor in file.tensors {
      let wanted = rules.type(of: tensor)
      let fitting = Self.fitting(wanted, rowLength: tensor.dimensions[0])
      let entry = Entry(
        tensor: tensor, type: fitting, fallbackFrom: fitting == wanted ? nil : wanted)
      if !entry.isCopied, WeightFormat(rawValue: tensor.type.name) == nil {
        throw .unsupportedTensorType(
          tensor: tensor.name, type: tensor.type.name,
          supported: GGMLType.allCases.map(\.name).filter { WeightFormat(rawValue: $0) != nil })
      }
      entries.append(entry)
    }
    self.entries = entries
  }

  /// `type`, or the nearest of our types whose blocks divide the row.
  private static func fitting(_ type: GGMLType, rowLength: Int) -> GGMLType {
    if rowLength.isMultiple(of: type.blockSize) { return type }
    switch type {
    case .q4_K: return fitting(.q4_1, rowLength: rowLength)
    case .q6_K: return fitting(.q8_0, rowLength: rowLength)
    default: return .f16
    }
  }
}

/// The rules, for the tensors of one model.
private struct Rules {
  /// Parts of the names of matrices that stay: gates, positions, convolutions.
  private static let keptNames = [
    "_norm.weight", "ffn_gate_inp.weight", "position_embd.weight", "token_types.weight",
    "ssm_conv1d.weight", "shortconv.conv.weight", "attn_rel_b.weight", "time_mix_",
  ]

  private let type: QuantizationType
  private let outputType: GGMLType
  private let isTied: Bool
  private let layerCount: Int
  /// Layers with a value projection, ascending.
  private let valueLayers: [Int]

  init(tensors: [GGUFTensor], type: QuantizationType, outputType: QuantizationType?) {
    self.type = type
    self.outputType = outputType?.tensorType ?? (type == .q8_0 ? .q8_0 : .q6_K)
    isTied = !tensors.contains { $0.name == "output.weight" }
    layerCount = (tensors.compactMap { Self.layer(of: $0.name) }.max() ?? -1) + 1
    valueLayers =
      tensors.filter { $0.name.contains("attn_v.weight") }
      .compactMap { Self.layer(of: $0.name) }.sorted()
  }

  func type(of tensor: GGUFTensor) -> GGMLType {
    let name = tensor.name
    let rank = (tensor.dimensions.lastIndex { $0 > 1 } ?? 0) + 1
    guard rank >= 2, name.hasSuffix("weight"), !Self.keptNames.contains(where: name.contains)
    else { return tensor.type }
    if name == "output.weight" || (isTied && name == "token_embd.weight") {
      return outputType
    }
    return type == .q4_K_M && isSensitive(name) ? .q6_K : type.tensorType
  }

  /// Whether Q4_K_M gives the matrix more bits.
  private func isSensitive(_ name: String) -> Bool {
    if name.contains("attn_qkv.weight") { return true }
    guard let layer = Self.layer(of: name) else { return false }
    if name.contains("attn_v.weight") {
      guard let place = valueLayers.firstIndex(of: layer) else { return false }
      return Self.hasMoreBits(place, of: valueLayers.count)
    }
    return name.contains("ffn_down") && Self.hasMoreBits(layer, of: layerCount)
  }

  private static func hasMoreBits(_ layer: Int, of count: Int) -> Bool {
    layer < count / 8 || layer >= 7 * count / 8 || (layer - count / 8) % 3 == 2
  }

  /// The number in `blk.NUMBER.…`.
  private static func layer(of name: String) -> Int? {
    let parts = name.split(separator: ".", maxSplits: 2)
    guard parts.count == 3, parts[0] == "blk", let layer = Int(parts[1]),
      (0..<1 << 20).contains(layer)
    else { return nil }
    return layer
  }
}

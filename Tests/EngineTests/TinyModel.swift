import Engine
import GGUF

/// A small random llama model, made here so that no weights need be stored.
struct TinyModel {
  var architecture = "llama"
  var layerCount = 2
  var embeddingLength = 64
  var feedForwardLength = 96
  var headCount = 4
  var keyValueHeadCount = 2
  var vocabularyCount = 61
  var contextLength = 64
  var format = WeightFormat.q4_1
  /// Changes to the file before it is written.
  var edit: (inout [Tensor]) -> Void = { _ in }
  var metadata: [(String, GGUFValue)] = []

  struct Tensor {
    var name: String
    var dimensions: [Int]
    var format: WeightFormat
  }

  /// The model file.
  func file() throws -> GGUFFile { try GGUFFile(bytes: bytes()) }

  func bytes() -> [UInt8] {
    var writer = GGUFWriter()
    var values: [(String, GGUFValue)] = [
      ("general.architecture", .string(architecture)),
      ("\(architecture).block_count", .uint32(UInt32(layerCount))),
      ("\(architecture).context_length", .uint32(UInt32(contextLength))),
      ("\(architecture).embedding_length", .uint32(UInt32(embeddingLength))),
      ("\(architecture).feed_forward_length", .uint32(UInt32(feedForwardLength))),
      ("\(architecture).attention.head_count", .uint32(UInt32(headCount))),
      ("\(architecture).attention.head_count_kv", .uint32(UInt32(keyValueHeadCount))),
      ("\(architecture).attention.layer_norm_rms_epsilon", .float32(1e-5)),
    ]
    for (key, value) in metadata {
      values.removeAll { $0.0 == key }
      values.append((key, value))
    }
    for (key, value) in values { writer.add(key, value) }
    var random = Random(state: 42)
    for tensor in tensors {
      let count = tensor.dimensions.reduce(1, *)
      let isNorm = tensor.dimensions.count == 1
      let data = (0..<count).map { _ in isNorm ? 1 + random.next() * 0.1 : random.next() * 0.2 }
      let rowLength = tensor.dimensions[0]
      var stored: [UInt8] = []
      for row in 0..<count / rowLength {
        stored += tensor.format.quantize(Array(data[row * rowLength..<(row + 1) * rowLength]))
      }
      writer.add(
        tensor: tensor.name, dimensions: tensor.dimensions, type: type(tensor.format), bytes: stored
      )
    }
    return writer.serialized()
  }

  private var tensors: [Tensor] {
    let width = embeddingLength
    let keyValue = width / headCount * keyValueHeadCount
    var all = [
      Tensor(name: "token_embd.weight", dimensions: [width, vocabularyCount], format: format),
      Tensor(name: "output_norm.weight", dimensions: [width], format: .f32),
    ]
    for layer in 0..<layerCount {
      let block = "blk.\(layer)"
      all += [
        Tensor(name: "\(block).attn_norm.weight", dimensions: [width], format: .f32),
        Tensor(name: "\(block).attn_q.weight", dimensions: [width, width], format: format),
        Tensor(name: "\(block).attn_k.weight", dimensions: [width, keyValue], format: format),
        Tensor(name: "\(block).attn_v.weight", dimensions: [width, keyValue], format: format),
        Tensor(name: "\(block).attn_output.weight", dimensions: [width, width], format: format),
        Tensor(name: "\(block).ffn_norm.weight", dimensions: [width], format: .f32),
        Tensor(
          name: "\(block).ffn_gate.weight", dimensions: [width, feedForwardLength], format: format),
        Tensor(
          name: "\(block).ffn_up.weight", dimensions: [width, feedForwardLength], format: format),
        Tensor(
          name: "\(block).ffn_down.weight", dimensions: [feedForwardLength, width], format: format),
      ]
    }
    edit(&all)
    return all
  }

  private func type(_ format: WeightFormat) -> GGMLType {
    switch format {
    case .f32: .f32
    case .f16: .f16
    case .bf16: .bf16
    case .q8_0: .q8_0
    case .q4_0: .q4_0
    case .q4_1: .q4_1
    case .q4_K: .q4_K
    case .q6_K: .q6_K
    }
  }
}

/// SplitMix64, to numbers in -1 ..< 1.
struct Random {
  var state: UInt64

  mutating func next() -> Float {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return Float((mixed ^ mixed >> 31) >> 40) / Float(1 << 23) - 1
  }
}

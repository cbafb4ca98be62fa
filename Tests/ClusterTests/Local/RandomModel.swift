import Engine
import GGUF

/// A random llama model of a few thousand weights, for tests that need many texts.
///
/// Models of one seed are alike, and more so the smaller their `deviation`.
struct RandomModel {
  var seed: UInt64 = 1
  var deviation: Float = 0

  static let vocabularyCount = 24
  static let contextLength = 64
  private static let width = 32

  func engine() throws -> InferenceEngine {
    try InferenceEngine(model: try Model(file: try GGUFFile(bytes: bytes())))
  }

  private func bytes() -> [UInt8] {
    var writer = GGUFWriter()
    let settings: [(String, UInt32)] = [
      ("block_count", 1), ("context_length", UInt32(Self.contextLength)),
      ("embedding_length", UInt32(Self.width)), ("feed_forward_length", 32),
      ("attention.head_count", 2), ("attention.head_count_kv", 1),
    ]
    writer.add("general.architecture", .string("llama"))
    for (key, value) in settings { writer.add("llama.\(key)", .uint32(value)) }
    writer.add("llama.attention.layer_norm_rms_epsilon", .float32(1e-5))
    var state = seed
    var other = ~seed
    for (name, rowCount) in Self.tensors {
      let isNorm = rowCount == 0
      let numbers = (0..<Self.width * max(1, rowCount)).map { _ in
        isNorm ? 1 : 0.4 * (Self.number(&state) + deviation * Self.number(&other))
      }
      writer.add(
        tensor: name, dimensions: isNorm ? [Self.width] : [Self.width, rowCount], type: .f32,
        bytes: numbers.flatMap { number in
          (0..<4).map { UInt8(truncatingIfNeeded: number.bitPattern >> (8 * UInt32($0))) }
        })
    }
    return writer.serialized()
  }

  /// Names and rows; 0 rows is a vector of ones.
  private static let tensors: [(String, Int)] = [
    ("token_embd.weight", vocabularyCount), ("output_norm.weight", 0),
    // With the embeddings in its place, texts repeat one token.
    ("output.weight", vocabularyCount),
    ("blk.0.attn_norm.weight", 0), ("blk.0.attn_q.weight", width),
    ("blk.0.attn_k.weight", width / 2), ("blk.0.attn_v.weight", width / 2),
    ("blk.0.attn_output.weight", width), ("blk.0.ffn_norm.weight", 0),
    ("blk.0.ffn_gate.weight", 32), ("blk.0.ffn_up.weight", 32), ("blk.0.ffn_down.weight", width),
  ]

  /// SplitMix64, to numbers in -1 ..< 1.
  private static func number(_ state: inout UInt64) -> Float {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return Float((mixed ^ mixed >> 31) >> 40) / Float(1 << 23) - 1
  }
}

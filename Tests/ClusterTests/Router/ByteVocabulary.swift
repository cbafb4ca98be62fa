import GGUF
import InferenceTypes
import Tokenizer
import Wire

/// A vocabulary whose token ids below 256 are bytes, for texts cut in any way; 256 ends a text.
enum ByteVocabulary {
  static let end = TokenID(256)
  static let count = 257

  static func tokenizer() throws -> BytePairTokenizer {
    var unprintableCount: UInt32 = 0
    let alphabet = (UInt8.min...UInt8.max).map { byte -> String in
      var value = UInt32(byte)
      switch byte {
      case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: break
      default:
        value = 256 + unprintableCount
        unprintableCount += 1
      }
      return Unicode.Scalar(value).map { String($0) } ?? ""
    }
    var writer = GGUFWriter()
    writer.add("tokenizer.ggml.eos_token_id", .uint32(256))
    writer.add("tokenizer.ggml.merges", .array(.string([])))
    writer.add("tokenizer.ggml.model", .string("gpt2"))
    writer.add("tokenizer.ggml.pre", .string("gpt-2"))
    writer.add(
      "tokenizer.ggml.token_type", .array(.int32([Int32](repeating: 1, count: 256) + [3])))
    writer.add("tokenizer.ggml.tokens", .array(.string(alphabet + ["<|im_end|>"])))
    return try BytePairTokenizer(file: GGUFFile(bytes: writer.serialized()))
  }

  /// One token for each byte.
  static func tokens(_ text: String) -> [TokenID] { text.utf8.map { TokenID(UInt32($0)) } }
}

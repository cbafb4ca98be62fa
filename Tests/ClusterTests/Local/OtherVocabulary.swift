import GGUF

/// A copy of a model of bytes whose tokens have other numbers and, with fewer merges, other ends:
/// what another family does to a text, without other weights. The tokens are turned by `shift`.
func modelWithOtherTokens(
  of file: GGUFFile, shift: Int, mergeCount: Int, hasTensors: Bool = true
) throws -> GGUFFile {
  let texts = try file.stringArray("tokenizer.ggml.tokens")
  let count = texts.count
  func turned<Element>(_ elements: [Element]) -> [Element] {
    elements.indices.map { elements[($0 + shift) % count] }
  }
  var writer = GGUFWriter()
  for key in file.keys {
    guard var value = file[key] else { continue }
    switch (key, value) {
    case ("tokenizer.ggml.tokens", _): value = .array(.string(turned(texts)))
    case ("tokenizer.ggml.token_type", .array(.int32(let types))):
      value = .array(.int32(turned(types)))
    case ("tokenizer.ggml.merges", .array(.string(let merges))):
      value = .array(.string(Array(merges.prefix(mergeCount))))
    case (_, .uint32(let token)) where key.hasSuffix("_token_id"):
      value = .uint32(UInt32((Int(token) + count - shift) % count))
    default: break
    }
    writer.add(key, value)
  }
  for tensor in file.tensors where hasTensors {
    var bytes = unsafe file.withTensorBytes(tensor) { unsafe Array($0) }
    if tensor.dimensions.last == count {
      let row = bytes.count / count
      bytes = Array(bytes[(shift * row)...] + bytes[..<(shift * row)])
    }
    writer.add(
      tensor: tensor.name, dimensions: tensor.dimensions, type: tensor.type, bytes: bytes)
  }
  return try GGUFFile(bytes: writer.serialized())
}

import Engine
import GGUF

/// A copy of a llama model without some of its blocks: the same vocabulary, faster, and worse.
func modelWithoutBlocks(_ dropped: Range<Int>, of file: GGUFFile) throws -> GGUFFile {
  let count = try file.integer("llama.block_count")
  let kept = (0..<count).filter { !dropped.contains($0) }
  var writer = GGUFWriter()
  for key in file.keys where key.hasPrefix("llama.") || key == "general.architecture" {
    guard let value = file[key] else { continue }
    writer.add(key, key == "llama.block_count" ? .uint32(UInt32(kept.count)) : value)
  }
  for tensor in file.tensors {
    guard let name = newName(tensor.name, kept: kept) else { continue }
    let bytes = unsafe file.withTensorBytes(tensor) { unsafe Array($0) }
    writer.add(tensor: name, dimensions: tensor.dimensions, type: tensor.type, bytes: bytes)
  }
  return try GGUFFile(bytes: writer.serialized())
}

/// `nil` for tensors of dropped blocks.
private func newName(_ name: String, kept: [Int]) -> String? {
  let parts = name.split(separator: ".", maxSplits: 2)
  guard parts.count == 3, parts[0] == "blk", let block = Int(parts[1]) else { return name }
  return kept.firstIndex(of: block).map { "blk.\($0).\(parts[2])" }
}

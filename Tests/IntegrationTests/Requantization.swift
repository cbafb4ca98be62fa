import Engine
import GGUF

/// Rewrites a model file with other weight formats.
enum Requantization {
  static func write(
    from file: GGUFFile, replacing old: WeightFormat, with new: WeightFormat, to path: String
  ) throws {
    var writer = GGUFWriter()
    for key in file.keys { if let value = file[key] { writer.add(key, value) } }
    for tensor in file.tensors {
      let bytes = unsafe file.withTensorBytes(tensor) { unsafe Array($0) }
      guard tensor.type.name == old.rawValue, tensor.dimensions.count == 2 else {
        writer.add(
          tensor: tensor.name, dimensions: tensor.dimensions, type: tensor.type, bytes: bytes)
        continue
      }
      let cols = tensor.dimensions[0]
      var converted: [UInt8] = []
      converted.reserveCapacity(tensor.rowCount * new.rowBytes(cols))
      for row in 0..<tensor.rowCount {
        let source = Array(bytes[row * tensor.rowBytes..<(row + 1) * tensor.rowBytes])
        converted += new.quantize(old.dequantize(source, count: cols))
      }
      writer.add(
        tensor: tensor.name, dimensions: tensor.dimensions, type: .q4_0, bytes: converted)
    }
    try writer.write(to: path)
  }
}

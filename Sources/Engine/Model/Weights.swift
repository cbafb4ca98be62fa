internal import GGUF

/// One matrix of the model in the form its backend multiplies with.
enum LinearLayer: Sendable {
  /// Own kernels: quantised weights, activations rounded to int8 blocks.
  case packed(PackedMatrix)
  /// OpenBLAS: weights as floats, activations not rounded.
  case dense(DenseMatrix)

  var rows: Int {
    switch self {
    case .packed(let matrix): matrix.rows
    case .dense(let matrix): matrix.rows
    }
  }

  var cols: Int {
    switch self {
    case .packed(let matrix): matrix.cols
    case .dense(let matrix): matrix.cols
    }
  }
}

/// The weights of one transformer block.
struct LayerWeights: Sendable {
  let attentionNorm: MemoryView<Float>
  /// Query, key and value: share their input, outputs side by side.
  let queryKeyValue: [LinearLayer]
  let attentionOutput: LinearLayer
  let feedForwardNorm: MemoryView<Float>
  /// Gate and up: share their input, outputs side by side.
  let gateUp: [LinearLayer]
  let down: LinearLayer
}

/// All weights of a model; read-only once loaded.
final class Weights: Sendable {
  let layers: [LayerWeights]
  let outputNorm: MemoryView<Float>
  let output: LinearLayer
  private let norms: AlignedBuffer
  private let file: GGUFFile
  private let embedding: GGUFTensor
  private let embeddingFormat: WeightFormat

  /// Calls `progress` with the share of layers done, 0...1.
  init(
    file: GGUFFile, shape: ModelShape, backend: Backend, progress: (Double) -> Void
  ) throws(EngineError) {
    var loader = try WeightLoader(file: file, shape: shape, backend: backend)
    var layers: [LayerWeights] = []
    let width = shape.embeddingLength
    for index in 0..<shape.layerCount {
      let block = "blk.\(index)"
      layers.append(
        LayerWeights(
          attentionNorm: try loader.norm("\(block).attn_norm.weight"),
          queryKeyValue: try loader.stacked(
            [
              ("\(block).attn_q.weight", shape.queryLength),
              ("\(block).attn_k.weight", shape.keyValueLength),
              ("\(block).attn_v.weight", shape.keyValueLength),
            ], cols: width),
          attentionOutput: try loader.linear(
            "\(block).attn_output.weight", rows: width, cols: shape.queryLength),
          feedForwardNorm: try loader.norm("\(block).ffn_norm.weight"),
          gateUp: try loader.stacked(
            [
              ("\(block).ffn_gate.weight", shape.feedForwardLength),
              ("\(block).ffn_up.weight", shape.feedForwardLength),
            ], cols: width),
          down: try loader.linear(
            "\(block).ffn_down.weight", rows: width, cols: shape.feedForwardLength)))
      progress(Double(index + 1) / Double(shape.layerCount + 1))
    }
    self.layers = layers
    outputNorm = try loader.norm("output_norm.weight")
    let isTied = file.tensor(named: "output.weight") == nil
    output = try loader.linear(
      isTied ? "token_embd.weight" : "output.weight", rows: shape.vocabularyCount, cols: width)
    (embedding, embeddingFormat) = try loader.tensor(
      "token_embd.weight", rows: shape.vocabularyCount, cols: width)
    try loader.refuseUnused()
    norms = loader.norms
    self.file = file
    progress(1)
  }

  /// Row `token` of the embedding matrix; read from the mapped file.
  func embed(_ token: Int, into out: MemoryView<Float>) {
    unsafe file.withTensorBytes(embedding) { bytes in
      let rowBytes = embedding.rowBytes
      unsafe embeddingFormat.dequantize(
        UnsafeRawBufferPointer(rebasing: bytes[token * rowBytes..<(token + 1) * rowBytes]),
        into: out)
    }
  }

  /// Bytes of the rewritten matrices.
  var sizeBytes: Int {
    var total = size(output)
    for layer in layers {
      let matrices =
        layer.queryKeyValue + layer.gateUp + [layer.attentionOutput, layer.down]
      total += matrices.reduce(0) { $0 + size($1) }
    }
    return total
  }

  private func size(_ layer: LinearLayer) -> Int {
    switch layer {
    case .packed(let matrix): matrix.sizeBytes
    case .dense(let matrix): matrix.rows * matrix.cols * MemoryLayout<Float>.stride
    }
  }
}

/// Takes tensors out of the file by name, checks them, and notices those nobody asked for.
private struct WeightLoader {
  private let file: GGUFFile
  private let backend: Backend
  private let width: Int
  private var unused: Set<String>
  let norms: AlignedBuffer
  private var normCount = 0

  init(file: GGUFFile, shape: ModelShape, backend: Backend) throws(EngineError) {
    self.file = file
    self.backend = backend
    width = shape.embeddingLength
    unused = Set(file.tensors.map(\.name))
    norms = try AlignedBuffer(
      sizeBytes: (2 * shape.layerCount + 1) * width * MemoryLayout<Float>.stride, for: "weights")
  }

  mutating func tensor(_ name: String, rows: Int, cols: Int)
    throws(EngineError) -> (GGUFTensor, WeightFormat)
  {
    guard let tensor = file.tensor(named: name) else { throw .missingTensor(name) }
    unused.remove(name)
    let expected = rows == 1 ? [cols] : [cols, rows]
    let found = tensor.dimensions
    guard found == expected || (rows == 1 && found == [cols, 1]) else {
      throw .wrongShape(tensor: name, found: found, expected: expected)
    }
    guard let format = WeightFormat(rawValue: tensor.type.name),
      WeightFormat.allCases.contains(format)
    else {
      throw .unsupportedTensorType(
        tensor: name, type: tensor.type.name, supported: WeightFormat.allCases.map(\.rawValue))
    }
    guard format.rowBytes(cols) == tensor.rowBytes else {
      throw .wrongShape(tensor: name, found: found, expected: expected)
    }
    return (tensor, format)
  }

  mutating func norm(_ name: String) throws(EngineError) -> MemoryView<Float> {
    let (tensor, format) = try tensor(name, rows: 1, cols: width)
    let view = norms.view(as: Float.self).range(normCount * width, width)
    normCount += 1
    unsafe file.withTensorBytes(tensor) { unsafe format.dequantize($0, into: view) }
    return view
  }

  mutating func linear(_ name: String, rows: Int, cols: Int) throws(EngineError) -> LinearLayer {
    let (tensor, format) = try tensor(name, rows: rows, cols: cols)
    return try linear([tensor], format: format, cols: cols)
  }

  /// Matrices that share an input: one product where their formats agree.
  mutating func stacked(_ parts: [(name: String, rows: Int)], cols: Int)
    throws(EngineError) -> [LinearLayer]
  {
    var tensors: [(GGUFTensor, WeightFormat)] = []
    for part in parts { tensors.append(try tensor(part.name, rows: part.rows, cols: cols)) }
    let format = tensors[0].1
    if tensors.allSatisfy({ $0.1 == format }) {
      return [try linear(tensors.map(\.0), format: format, cols: cols)]
    }
    var layers: [LinearLayer] = []
    for (tensor, format) in tensors {
      layers.append(try linear([tensor], format: format, cols: cols))
    }
    return layers
  }

  private func linear(_ tensors: [GGUFTensor], format: WeightFormat, cols: Int)
    throws(EngineError) -> LinearLayer
  {
    var buffers: [UnsafeRawBufferPointer] = unsafe []
    for tensor in tensors {
      // safe: the mapping lives as long as `file`, which outlives this call.
      unsafe buffers.append(file.withTensorBytes(tensor) { unsafe $0 })
    }
    switch backend {
    case .native:
      return .packed(try unsafe PackedMatrix(parts: buffers, format: format, cols: cols))
    case .openBLAS:
      return .dense(try unsafe DenseMatrix(parts: buffers, format: format, cols: cols))
    }
  }

  /// A tensor that the forward pass ignores (a bias, say) would give a plausible but wrong text.
  func refuseUnused() throws(EngineError) {
    if let name = unused.sorted().first { throw .unexpectedTensor(name) }
  }
}

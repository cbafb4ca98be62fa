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

/// The weights of one transformer block. What an architecture does not have is nil.
struct LayerWeights: Sendable {
  let attentionNorm: MemoryView<Float>
  /// Query, key and value: share their input, outputs side by side.
  let queryKeyValue: [LinearLayer]
  let queryKeyValueBias: MemoryView<Float>?
  /// Of each head, `[headLength]`.
  let queryNorm: MemoryView<Float>?
  let keyNorm: MemoryView<Float>?
  let attentionOutput: LinearLayer
  let attentionOutputBias: MemoryView<Float>?
  /// Of what attention adds to the residual stream.
  let postAttentionNorm: MemoryView<Float>?
  let feedForwardNorm: MemoryView<Float>
  /// Gate and up: share their input, outputs side by side.
  let gateUp: [LinearLayer]
  let gateUpBias: MemoryView<Float>?
  let down: LinearLayer
  let downBias: MemoryView<Float>?
  /// Of what the feed-forward block adds to the residual stream.
  let postFeedForwardNorm: MemoryView<Float>?
}

/// All weights of a model; read-only once loaded.
final class Weights: Sendable {
  let layers: [LayerWeights]
  let outputNorm: MemoryView<Float>
  let output: LinearLayer
  let rotaryDivisors: RotaryDivisors
  /// What the views of norms and biases point into.
  private let vectors: [AlignedBuffer]
  private let file: GGUFFile
  private let embedding: GGUFTensor
  private let embeddingFormat: WeightFormat

  /// Calls `progress` with the share of layers done, 0...1.
  init(
    file: GGUFFile, shape: ModelShape, backend: Backend, threads: WorkerThreads,
    panels: PanelSource = .repacked, progress: (Double) -> Void
  ) throws(EngineError) {
    var loader = WeightLoader(
      file: file, shape: shape, backend: backend, threads: threads, panels: panels)
    var layers: [LayerWeights] = []
    for index in 0..<shape.layerCount {
      layers.append(try loader.layer(index))
      progress(Double(index + 1) / Double(shape.layerCount + 1))
    }
    self.layers = layers
    let width = shape.embeddingLength
    outputNorm = try loader.vector("output_norm.weight", count: width)
    output = try loader.output()
    (embedding, embeddingFormat) = try loader.tensor(
      "token_embd.weight", rows: shape.vocabularyCount, cols: width)
    rotaryDivisors = try loader.rotaryDivisors()
    try loader.refuseUnused()
    vectors = loader.vectors
    self.file = file
    progress(1)
  }

  /// Rewrites all matrices, in the order in which loading asks for them, without keeping more than
  /// those of one layer. Calls `progress` with the share of layers done, 0...1.
  static func write(
    to writer: PackedFileWriter, file: GGUFFile, shape: ModelShape, threads: WorkerThreads,
    progress: (Double) -> Void
  ) throws(EngineError) {
    var loader = WeightLoader(
      file: file, shape: shape, backend: .native, threads: threads, panels: .written(writer))
    for index in 0..<shape.layerCount {
      _ = try loader.layer(index)
      progress(Double(index + 1) / Double(shape.layerCount + 1))
    }
    _ = try loader.output()
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

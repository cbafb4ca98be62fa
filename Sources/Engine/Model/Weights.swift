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

/// One to three matrices that share an input; their outputs stand side by side.
struct LinearStack: Sendable {
  static let countMax = 3
  // An array would be counted by every worker that looks at it.
  private var layers: InlineArray<3, LinearLayer?> = .init(repeating: nil)
  private(set) var count = 0
  /// Rows of all.
  private(set) var rows = 0
  /// Panels of those that have any.
  private(set) var panelCount = 0
  /// See ``PackedMatrix/panelGrain``.
  private(set) var panelGrain = 1
  /// Panels are handed out in so many strands: panel `p` of one comes with panel `p` of the others.
  private(set) var strandCount = 1
  private var activationForms: UInt8 = 0

  /// With two `strands`, whoever computes rows of the first half of the outputs computes those that
  /// stand opposite in the second, where panels allow that.
  init(_ layers: [LinearLayer], strands: Int = 1) {
    precondition((1...Self.countMax).contains(layers.count), "\(layers.count) matrices")
    for layer in layers {
      self.layers[count] = layer
      count += 1
      rows += layer.rows
      guard case .packed(let matrix) = layer else { continue }
      panelCount += matrix.panelCount
      panelGrain = max(panelGrain, matrix.panelGrain)
      activationForms |= matrix.activations.rawValue
    }
    if panelCount.isMultiple(of: strands) { strandCount = strands }
  }

  /// Panels of one strand.
  var strandLength: Int { panelCount / strandCount }

  /// Whether any matrix takes activations in this form.
  func wants(_ form: ActivationForm) -> Bool { activationForms & form.rawValue != 0 }

  subscript(index: Int) -> LinearLayer {
    guard index < count, let layer = layers[index] else {
      preconditionFailure("matrix \(index) of \(count)")
    }
    return layer
  }
}

/// The weights of one transformer block. What an architecture does not have is nil.
struct LayerWeights: Sendable {
  let attentionNorm: MemoryView<Float>
  /// Query, key and value: share their input, outputs side by side.
  let queryKeyValue: LinearStack
  let queryKeyValueBias: MemoryView<Float>?
  /// Of each head, `[headLength]`.
  let queryNorm: MemoryView<Float>?
  let keyNorm: MemoryView<Float>?
  let attentionOutput: LinearStack
  let attentionOutputBias: MemoryView<Float>?
  /// Of what attention adds to the residual stream.
  let postAttentionNorm: MemoryView<Float>?
  let feedForwardNorm: MemoryView<Float>
  /// Gate and up: share their input, outputs side by side.
  let gateUp: LinearStack
  let gateUpBias: MemoryView<Float>?
  let down: LinearStack
  let downBias: MemoryView<Float>?
  /// Of what the feed-forward block adds to the residual stream.
  let postFeedForwardNorm: MemoryView<Float>?
}

/// All weights of a model; read-only once loaded.
final class Weights: Sendable {
  let layers: [LayerWeights]
  let outputNorm: MemoryView<Float>
  let output: LinearStack
  let rotaryDivisors: RotaryDivisors
  /// What the matrices, norms and biases are views of, and the mapped file of matrices.
  private let memory: OwnedMemory
  private let panelFile: PackedFile?
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
    memory = loader.memory
    panelFile = loader.panelFile
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
      loader.forget()
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
      total += size(layer.queryKeyValue) + size(layer.attentionOutput)
      total += size(layer.gateUp) + size(layer.down)
    }
    return total
  }

  private func size(_ stack: LinearStack) -> Int {
    (0..<stack.count).reduce(0) { total, index in
      switch stack[index] {
      case .packed(let matrix): total + matrix.sizeBytes
      case .dense: total + stack[index].rows * stack[index].cols * MemoryLayout<Float>.stride
      }
    }
  }
}

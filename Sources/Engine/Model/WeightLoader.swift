internal import GGUF

/// Takes tensors out of the file by name, checks them, and notices those nobody asked for.
struct WeightLoader {
  private let file: GGUFFile
  private let shape: ModelShape
  private let backend: Backend
  private let threads: WorkerThreads
  private let panels: PanelSource
  private var unused: Set<String>
  /// What is loaded lies here, but for matrices of ``panelFile``.
  private(set) var memory = OwnedMemory()

  /// The mapped file that matrices are taken from.
  var panelFile: PackedFile? {
    if case .mapped(let reader) = panels { reader.file } else { nil }
  }

  init(
    file: GGUFFile, shape: ModelShape, backend: Backend, threads: WorkerThreads,
    panels: PanelSource
  ) {
    self.file = file
    self.panels = panels
    self.threads = threads
    self.shape = shape
    self.backend = backend
    unused = Set(file.tensors.map(\.name))
  }

  /// Gives back the memory of what was loaded so far, which nobody may use any more.
  mutating func forget() { memory = OwnedMemory() }

  mutating func layer(_ index: Int) throws(EngineError) -> LayerWeights {
    let block = "blk.\(index)."
    let width = shape.embeddingLength
    let inner = shape.feedForwardLength
    let architecture = shape.architecture
    let inputs: [Part] =
      architecture.hasFusedInputs
      ? [Part(block + "attn_qkv", shape.queryLength + 2 * shape.keyValueLength)]
      : [
        Part(block + "attn_q", shape.queryLength), Part(block + "attn_k", shape.keyValueLength),
        Part(block + "attn_v", shape.keyValueLength),
      ]
    let gates: [Part] =
      architecture.hasFusedInputs
      ? [Part(block + "ffn_up", 2 * inner)]
      : [Part(block + "ffn_gate", inner), Part(block + "ffn_up", inner)]
    let output = Part(block + "attn_output", width)
    let down = Part(block + "ffn_down", width)
    return LayerWeights(
      attentionNorm: try vector(block + "attn_norm.weight", count: width),
      queryKeyValue: try stacked(inputs, cols: width),
      queryKeyValueBias: try bias(inputs, isNeeded: architecture.needsInputBiases),
      queryNorm: architecture.hasHeadNorms
        ? try vector(block + "attn_q_norm.weight", count: shape.headLength) : nil,
      keyNorm: architecture.hasHeadNorms
        ? try vector(block + "attn_k_norm.weight", count: shape.headLength) : nil,
      attentionOutput: try linear(output.weight, rows: width, cols: shape.queryLength),
      attentionOutputBias: try bias([output]),
      postAttentionNorm: architecture.hasPostNorms
        ? try vector(block + "post_attention_norm.weight", count: width) : nil,
      feedForwardNorm: try vector(block + "ffn_norm.weight", count: width),
      gateUp: try stacked(gates, cols: width, strands: 2),
      gateUpBias: try bias(gates),
      down: try linear(down.weight, rows: width, cols: inner),
      downBias: try bias([down]),
      postFeedForwardNorm: architecture.hasPostNorms
        ? try vector(block + "post_ffw_norm.weight", count: width) : nil)
  }

  /// One of the matrices that share an input.
  private struct Part {
    let name: String
    let rows: Int
    var weight: String { name + ".weight" }
    var bias: String { name + ".bias" }

    init(_ name: String, _ rows: Int) {
      self.name = name
      self.rows = rows
    }
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
    guard let format = WeightFormat(rawValue: tensor.type.name) else {
      throw .unsupportedTensorType(
        tensor: name, type: tensor.type.name, supported: WeightFormat.allCases.map(\.rawValue))
    }
    guard format.rowBytes(cols) == tensor.rowBytes else {
      throw .wrongShape(tensor: name, found: found, expected: expected)
    }
    return (tensor, format)
  }

  private mutating func room(_ count: Int) throws(EngineError) -> MemoryView<Float> {
    try memory.room(Float.self, count, for: "weights")
  }

  private mutating func read(_ name: String, into view: MemoryView<Float>) throws(EngineError) {
    let (tensor, format) = try tensor(name, rows: 1, cols: view.count)
    unsafe file.withTensorBytes(tensor) { unsafe format.dequantize($0, into: view) }
  }

  mutating func vector(_ name: String, count: Int) throws(EngineError) -> MemoryView<Float> {
    // Before the room is taken: a file of lies must not cost memory.
    _ = try tensor(name, rows: 1, cols: count)
    let view = try room(count)
    try read(name, into: view)
    return view
  }

  /// The biases of matrices whose outputs stand side by side; nil where none has one, zero for
  /// those that have none.
  private mutating func bias(_ parts: [Part], isNeeded: Bool = false)
    throws(EngineError) -> MemoryView<Float>?
  {
    guard isNeeded || parts.contains(where: { file.tensor(named: $0.bias) != nil }) else {
      return nil
    }
    let view = try room(parts.reduce(0) { $0 + $1.rows })
    var start = 0
    for part in parts {
      if isNeeded || file.tensor(named: part.bias) != nil {
        try read(part.bias, into: view.range(start, part.rows))
      }
      start += part.rows
    }
    return view
  }

  /// What the file divides rotary frequencies by.
  mutating func rotaryDivisors() throws(EngineError) -> RotaryDivisors {
    guard shape.architecture.hasRotaryDivisors else { return .none }
    if file.tensor(named: "rope_freqs.weight") != nil {
      return .fixed(try divisors("rope_freqs.weight"))
    }
    let names = ["rope_factors_short.weight", "rope_factors_long.weight"]
    guard names.contains(where: { file.tensor(named: $0) != nil }) else { return .none }
    return .byContext(
      short: try divisors(names[0]), long: try divisors(names[1]),
      limit: shape.originalContextLength)
  }

  private mutating func divisors(_ name: String) throws(EngineError) -> [Float] {
    let view = try vector(name, count: shape.rotaryLength / 2)
    let values = (0..<view.count).map { view[$0] }
    let range: ClosedRange<Float> = 1e-3...1e9
    if let value = values.first(where: { !range.contains($0) }) {
      throw .unsupportedSetting(
        key: name, value: "\(value)",
        supported: "numbers from \(range.lowerBound) to \(range.upperBound)")
    }
    return values
  }

  /// The matrix that makes logits; the embedding where the file has no other.
  mutating func output() throws(EngineError) -> LinearStack {
    let isTied = file.tensor(named: "output.weight") == nil
    return try linear(
      isTied ? "token_embd.weight" : "output.weight", rows: shape.vocabularyCount,
      cols: shape.embeddingLength)
  }

  mutating func linear(_ name: String, rows: Int, cols: Int) throws(EngineError) -> LinearStack {
    let (tensor, format) = try tensor(name, rows: rows, cols: cols)
    return LinearStack([try linear([tensor], format: format, cols: cols)])
  }

  /// Matrices that share an input: one product where their formats agree.
  /// See ``LinearStack/init(_:strands:)`` for `strands`.
  private mutating func stacked(_ parts: [Part], cols: Int, strands: Int = 1)
    throws(EngineError) -> LinearStack
  {
    var tensors: [(GGUFTensor, WeightFormat)] = []
    for part in parts { tensors.append(try tensor(part.weight, rows: part.rows, cols: cols)) }
    let format = tensors[0].1
    if tensors.allSatisfy({ $0.1 == format }) {
      return LinearStack(
        [try linear(tensors.map(\.0), format: format, cols: cols)], strands: strands)
    }
    var layers: [LinearLayer] = []
    for (tensor, format) in tensors {
      layers.append(try linear([tensor], format: format, cols: cols))
    }
    return LinearStack(layers, strands: strands)
  }

  private mutating func linear(_ tensors: [GGUFTensor], format: WeightFormat, cols: Int)
    throws(EngineError) -> LinearLayer
  {
    if case .mapped(let reader) = panels {
      let rows = tensors.reduce(0) { $0 + $1.rowCount }
      return .packed(try reader.matrix(format: format, rows: rows, cols: cols))
    }
    var buffers: [UnsafeRawBufferPointer] = unsafe []
    for tensor in tensors {
      // safe: the mapping lives as long as `file`, which outlives this call.
      unsafe buffers.append(file.withTensorBytes(tensor) { unsafe $0 })
    }
    // What is packed need not stay in memory in the file's form as well.
    defer { for tensor in tensors { file.releaseMemory(of: tensor) } }
    switch backend {
    case .native:
      let matrix = try unsafe PackedMatrix(
        parts: buffers, format: format, cols: cols, threads: threads, memory: &memory)
      if case .written(let writer) = panels { try writer.append(matrix) }
      return .packed(matrix)
    case .openBLAS:
      return .dense(
        try unsafe DenseMatrix(parts: buffers, format: format, cols: cols, memory: &memory))
    }
  }

  /// A tensor that the forward pass ignores would give a plausible but wrong text.
  func refuseUnused() throws(EngineError) {
    if let name = unused.sorted().first { throw .unexpectedTensor(name) }
  }
}

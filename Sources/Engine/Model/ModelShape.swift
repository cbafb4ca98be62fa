package import GGUF

/// Sizes and constants of a transformer, read from the model file and checked.
package struct ModelShape: Sendable, Equatable {
  package let architecture: Architecture
  package let layerCount: Int
  /// Most positions the model was made for, tokens.
  package let contextLength: Int
  package let embeddingLength: Int
  package let feedForwardLength: Int
  package let headCount: Int
  package let keyValueHeadCount: Int
  package let headLength: Int
  /// Leading dimensions of each head that are rotated.
  package let rotaryLength: Int
  package let rotary: RotarySettings
  /// Settings of the layers with a window, where they differ.
  package let windowRotary: RotarySettings?
  /// Positions the model was first trained on, before its context was stretched.
  package let originalContextLength: Int
  package let normEpsilon: Float
  package let vocabularyCount: Int
  /// What scores are multiplied by.
  package let attentionScale: Float
  /// Scores s become cap tanh(s / cap); 0 leaves them.
  package let attentionSoftCap: Float
  /// The same for logits.
  package let logitSoftCap: Float
  /// Positions that a layer with a window sees, its own included; 0 where no layer has one.
  package let windowLength: Int
  /// All but the last of each group of so many layers have the window; 0: all layers.
  package let windowPeriod: Int

  /// Longest head of any supported model.
  package static let headLengthMax = BlockLayout.headLengthMax
  package static let supportedArchitectures = Architecture.allCases.map(\.rawValue)

  /// Length of all key heads together.
  package var keyValueLength: Int { keyValueHeadCount * headLength }
  /// Length of all query heads together.
  package var queryLength: Int { headCount * headLength }
  /// What the elements of embeddings are multiplied by.
  package var embeddingScale: Float {
    architecture.scalesEmbedding ? Float(embeddingLength).squareRoot() : 1
  }

  /// Whether a layer sees the latest ``windowLength`` positions only.
  package func hasWindow(layer: Int) -> Bool {
    guard windowLength > 0 else { return false }
    return windowPeriod == 0 || layer % windowPeriod < windowPeriod - 1
  }

  /// The first position that the node at `position` sees in a layer.
  package func firstVisible(from position: Int, layer: Int) -> Int {
    hasWindow(layer: layer) ? max(0, position + 1 - windowLength) : 0
  }
}

extension ModelShape {
  /// - Throws: ``EngineError`` naming the key, its value and what is supported.
  package init(file: GGUFFile) throws(EngineError) {
    let name: String
    do { name = try file.string("general.architecture") } catch { throw .file("\(error)") }
    guard let architecture = Architecture(rawValue: name) else {
      throw .unsupportedArchitecture(name, supported: Self.supportedArchitectures)
    }
    let reader = ShapeReader(file: file, prefix: name)
    self.architecture = architecture
    try Self.refuseUnknownArithmetic(reader)
    layerCount = try reader.number("block_count", in: 1...4096)
    contextLength = try reader.number("context_length", in: 1...(1 << 24))
    embeddingLength = try reader.number("embedding_length", in: 1...(1 << 20))
    feedForwardLength = try reader.number("feed_forward_length", in: 1...(1 << 22))
    headCount = try reader.number("attention.head_count", in: 1...4096)
    keyValueHeadCount = try reader.number(
      "attention.head_count_kv", in: 1...4096, default: headCount)
    guard headCount.isMultiple(of: keyValueHeadCount) else {
      throw .invalidSetting(
        key: reader.key("attention.head_count_kv"), value: keyValueHeadCount,
        expected: "a divisor of the \(headCount) heads")
    }
    (headLength, rotaryLength) = try Self.headLengths(
      reader, default: max(1, embeddingLength / headCount))
    originalContextLength = try reader.number(
      "rope.scaling.original_context_length", in: 1...(1 << 24), default: contextLength)
    rotary = try RotarySettings(reader: reader, originalLength: originalContextLength)
    windowRotary =
      architecture == .gemma3
      ? RotarySettings(base: try reader.rotaryBase("rope.freq_base_swa", default: 10_000)) : nil
    normEpsilon = try reader.real("attention.layer_norm_rms_epsilon", in: 0...1)
    (windowLength, windowPeriod) = try Self.window(
      reader, architecture.windowRule, contextLength: contextLength)
    (attentionSoftCap, logitSoftCap) = try Self.softCaps(reader, architecture)
    // The largest Gemmas scale by the width of the model; their files do not say so.
    let isScaledByWidth =
      architecture == .gemma2 && layerCount == 46 || architecture == .gemma3 && layerCount == 62
    let scaleLength = isScaledByWidth ? max(1, embeddingLength / headCount) : headLength
    attentionScale = 1 / Float(scaleLength).squareRoot()
    guard let embedding = file.tensor(named: "token_embd.weight") else {
      throw .missingTensor("token_embd.weight")
    }
    vocabularyCount = embedding.rowCount
  }

  private static func headLengths(_ reader: ShapeReader, default fallback: Int)
    throws(EngineError) -> (head: Int, rotary: Int)
  {
    let head = try reader.number(
      "attention.key_length", in: 1...headLengthMax, default: fallback)
    let value = try reader.number("attention.value_length", in: 1...headLengthMax, default: head)
    guard value == head else {
      throw .unsupportedSetting(
        key: reader.key("attention.value_length"), value: "\(value)",
        supported: "\(head), the length of keys")
    }
    let rotary = try reader.number("rope.dimension_count", in: 2...4096, default: head)
    guard rotary <= head, rotary.isMultiple(of: 2) else {
      throw .invalidSetting(
        key: reader.key("rope.dimension_count"), value: rotary,
        expected: "an even number up to \(head)")
    }
    try reader.requireNeutral("rope.dimension_count_swa", [Double(rotary)])
    return (head, rotary)
  }

  private static func window(
    _ reader: ShapeReader, _ rule: Architecture.WindowRule, contextLength: Int
  ) throws(EngineError) -> (length: Int, period: Int) {
    let key = "attention.sliding_window"
    let lengths = 0...(1 << 31)
    switch rule {
    case .none:
      let length = try reader.number(key, in: lengths, default: 0)
      guard length == 0 || length >= contextLength else {
        throw .unsupportedSetting(
          key: reader.key(key), value: "\(length)",
          supported: "0 or at least the \(contextLength) positions of the context")
      }
      return (0, 0)
    case .everyLayer:
      try reader.requireNeutral("attention.sliding_window_pattern", [0])
      return (try reader.number(key, in: lengths, default: 0), 0)
    case .allButEach(let period):
      // Files of Gemma 2 may leave its window out.
      let isGemma2 = reader.prefix == Architecture.gemma2.rawValue
      return (
        try reader.number(key, in: lengths, default: isGemma2 ? 4096 : 0),
        try reader.number("attention.sliding_window_pattern", in: 1...4096, default: period)
      )
    }
  }

  private static func softCaps(_ reader: ShapeReader, _ architecture: Architecture)
    throws(EngineError) -> (attention: Float, logits: Float)
  {
    let caps: ClosedRange<Float> = 0...1e6
    let (attentionKey, logitKey) = ("attn_logit_softcapping", "final_logit_softcapping")
    switch architecture {
    case .gemma2:
      return (
        try reader.real(attentionKey, in: caps, default: 50),
        try reader.real(logitKey, in: caps, default: 30)
      )
    case .gemma3:
      try reader.requireNeutral(attentionKey, [0])
      return (0, try reader.real(logitKey, in: caps, default: 0))
    case .llama, .qwen2, .qwen3, .phi3:
      try reader.requireNeutral(attentionKey, [0])
      try reader.requireNeutral(logitKey, [0])
      return (0, 0)
    }
  }

  /// Settings of other families: ignoring them would give a plausible but wrong text.
  private static func refuseUnknownArithmetic(_ reader: ShapeReader) throws(EngineError) {
    let neutral: [(name: String, values: [Double])] = [
      ("expert_count", [0]), ("attention.causal", [1]), ("attention.clamp_kqv", [0]),
      ("attention.max_alibi_bias", [0]), ("attention.scale", [0]),
      ("attention.temperature_scale", [0]), ("attention.output_scale", [0, 1]),
      ("logit_scale", [0, 1]), ("residual_scale", [0, 1]), ("embedding_scale", [0, 1]),
      ("use_parallel_residual", [0]),
    ]
    for (name, values) in neutral { try reader.requireNeutral(name, values) }
  }
}

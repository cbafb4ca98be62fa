import Engine
import GGUF
import InferenceTypes
import Testing

/// What the settings of the architectures mean, and what is refused by name.
@Suite struct ArchitectureSettingsTests {
  private func shape(_ name: String, _ metadata: [String: GGUFValue] = [:]) throws -> ModelShape {
    try ModelShape(file: GoldenModel(name: name).file(.init(metadata: metadata)))
  }

  private func windows(_ shape: ModelShape) -> String {
    (0..<shape.layerCount).map { shape.hasWindow(layer: $0) ? "w" : "-" }.joined()
  }

  @Test func windowsAlternateAsTheArchitectureSays() throws {
    #expect(try windows(shape("llama")) == "--")
    #expect(try windows(shape("mistral-window")) == "ww")
    #expect(try windows(shape("phi3-short-window")) == "ww")
    #expect(try windows(shape("gemma2")) == "w-w")
    #expect(try windows(shape("gemma3")) == "wwwww-w")
    let pattern: [String: GGUFValue] = ["gemma3.attention.sliding_window_pattern": .uint32(3)]
    #expect(try windows(shape("gemma3", pattern)) == "ww-ww-w")
    let none: [String: GGUFValue] = ["gemma3.attention.sliding_window": .uint32(0)]
    #expect(try windows(shape("gemma3", none)) == "-------")
    let seen = try shape("gemma2")
    #expect(seen.firstVisible(from: 7, layer: 0) == 0)
    #expect(seen.firstVisible(from: 8, layer: 0) == 1)
    #expect(seen.firstVisible(from: 30, layer: 1) == 0)
  }

  @Test func scalesAndCapsFollowTheArchitecture() throws {
    let gemma2 = try shape("gemma2")
    #expect(gemma2.attentionScale == 1 / Float(24).squareRoot())
    #expect(gemma2.embeddingScale == 8)
    #expect(gemma2.attentionSoftCap == 5 && gemma2.logitSoftCap == 10)
    #expect(
      try shape("gemma2", ["gemma2.block_count": .uint32(46)]).attentionScale
        == 1 / Float(16).squareRoot())
    #expect(
      try shape("gemma3", ["gemma3.block_count": .uint32(62)]).attentionScale
        == 1 / Float(32).squareRoot())
    let gemma3 = try shape("gemma3")
    #expect(gemma3.attentionSoftCap == 0 && gemma3.logitSoftCap == 0)
    #expect(gemma3.windowRotary != nil && gemma3.windowRotary != gemma3.rotary)
    let llama = try shape("llama")
    #expect(llama.embeddingScale == 1 && llama.windowRotary == nil)
  }

  @Test func oldAndNewKeysOfLinearScalingMeanTheSame() throws {
    let llama = GoldenModel(name: "llama")
    let plain = try llama.rows(.init())
    let named = try llama.rows(
      .init(metadata: [
        "llama.rope.scaling.type": .string("linear"), "llama.rope.scaling.factor": .float32(4),
      ]))
    #expect(!sameRows(named, plain))
    let untyped = try llama.rows(.init(metadata: ["llama.rope.scaling.factor": .float32(4)]))
    #expect(sameRows(untyped, named))
    let old = try llama.rows(.init(metadata: ["llama.rope.scale_linear": .float32(4)]))
    #expect(sameRows(old, named))
    let unset = try llama.rows(.init(metadata: ["llama.rope.scaling.factor": .float32(0)]))
    #expect(sameRows(unset, plain))
    let none = try llama.rows(
      .init(metadata: [
        "llama.rope.scaling.type": .string("none"), "llama.rope.scaling.factor": .float32(4),
      ]))
    #expect(sameRows(none, plain))
  }

  /// LongRoPE: the engine's context decides, not the model's.
  @Test func shortContextsTakeTheShortFactors() throws {
    let phi3 = GoldenModel(name: "phi3-long")
    let short = try phi3.floats("rope_factors_short.weight")
    let onlyShort = GoldenModel.Changes(vectors: ["rope_factors_long.weight": short])
    #expect(
      try sameRows(phi3.rows(.init(), contextLength: 16), phi3.rows(onlyShort, contextLength: 16)))
    #expect(
      try sameRows(
        phi3.rows(.init(), contextLength: 16),
        phi3.rows(onlyShort, contextLength: 17)
          .dropLast()))
    #expect(
      try !sameRows(phi3.rows(.init(), contextLength: 17), phi3.rows(onlyShort, contextLength: 17)))
  }

  @Test func missingOptionalBiasesAreZero() throws {
    let model = GoldenModel(name: "llama-linear-tied-biases")
    let left = try model.rows(.init(without: ["blk.0.attn_k.bias", "blk.1.ffn_gate.bias"]))
    let zeros = try model.rows(
      .init(vectors: [
        "blk.0.attn_k.bias": [Float](repeating: 0, count: 32),
        "blk.1.ffn_gate.bias": [Float](repeating: 0, count: 32),
      ]))
    #expect(sameRows(left, zeros))
    #expect(try !sameRows(left, model.rows(.init())))
    let fused = GoldenModel(name: "phi3-long")
    let biased = try fused.rows(
      .init(vectors: ["blk.0.attn_qkv.bias": (0..<128).map { Float($0 % 5) * 0.3 }]))
    #expect(try !sameRows(biased, fused.rows(.init())))
  }

  /// Values in another format than queries and keys are a product of their own; outputs and biases
  /// still stand side by side.
  @Test func mixedFormatsOfOneProductKeepTheirPlaces() throws {
    let model = GoldenModel(name: "qwen2")
    let changes = GoldenModel.Changes(
      formats: ["blk.0.attn_v.weight": .q8_0, "blk.1.attn_v.weight": .q8_0])
    let tokens = try model.tokens()
    let engine = try InferenceEngine(model: Model(file: model.file(changes)))
    let alone = try engine.rows(tokens, pieces: [1])
    #expect(try sameRows(engine.rows(tokens, pieces: [32]), alone))
    let golden = try model.logits()
    let scale = golden.joined().map(abs).max() ?? 0
    for (mine, theirs) in zip(alone, golden) {
      for (left, right) in zip(mine, theirs) {
        #expect(abs(Float(bitPattern: left) - right) <= 0.05 * scale)
      }
    }
  }

  @Test(arguments: [
    ("llama", "llama.expert_count", GGUFValue.uint32(8)),
    ("llama", "llama.rope.scaling.type", .string("longrope")),
    ("llama", "llama.rope.scaling.factor", .float32(-2)),
    ("llama", "llama.rope.scaling.factor", .float32(.infinity)),
    ("llama", "llama.rope.scaling.attn_factor", .float32(0)),
    ("llama", "llama.attention.causal", .bool(false)),
    ("llama", "llama.attention.clamp_kqv", .float32(8)),
    ("llama", "llama.attn_logit_softcapping", .float32(50)),
    ("llama", "llama.logit_scale", .float32(0.0625)),
    ("llama", "llama.attention.sliding_window", .int32(-1)),
    ("llama", "llama.attention.sliding_window", .string("8")),
    ("llama", "llama.attention.layer_norm_rms_epsilon", .float32(.nan)),
    ("llama-yarn", "llama.rope.scaling.factor", .float32(0.5)),
    ("llama-yarn", "llama.rope.scaling.yarn_beta_fast", .float32(0)),
    ("llama-yarn", "llama.rope.scaling.yarn_ext_factor", .float32(0.5)),
    ("llama-yarn", "llama.rope.scaling.yarn_log_multiplier", .float32(0.1)),
    ("llama-yarn", "llama.rope.scaling.original_context_length", .uint32(0)),
    ("qwen2", "qwen2.attention.sliding_window", .uint32(8)),
    ("qwen3", "qwen3.attention.key_length", .uint32(0)),
    ("qwen3", "qwen3.attention.key_length", .uint32(512)),
    ("gemma2", "gemma2.attn_logit_softcapping", .float32(-1)),
    ("gemma2", "gemma2.final_logit_softcapping", .float32(.nan)),
    ("gemma3", "gemma3.attn_logit_softcapping", .float32(50)),
    ("gemma3", "gemma3.rope.freq_base_swa", .float32(0)),
    ("gemma3", "gemma3.attention.sliding_window_pattern", .uint32(0)),
    ("gemma3", "gemma3.attention.sliding_window_pattern", .array(.bool([true, false]))),
    ("phi3-long", "phi3.rope.dimension_count", .uint32(18)),
  ])
  func settingsThatAreNotImplementedAreRefused(name: String, key: String, value: GGUFValue) throws {
    let file = try GoldenModel(name: name).file(.init(metadata: [key: value]))
    let error = try #require(throws: EngineError.self) { try Model(file: file) }
    #expect("\(error)".contains(key), "\(error)")
  }

  @Test(arguments: [
    ("qwen2", "blk.1.attn_v.bias"), ("qwen3", "blk.0.attn_k_norm.weight"),
    ("gemma2", "blk.2.post_ffw_norm.weight"), ("gemma3", "blk.6.post_attention_norm.weight"),
    ("phi3-long", "rope_factors_short.weight"), ("phi3-long", "blk.0.attn_qkv.weight"),
  ])
  func neededTensorsAreNamed(name: String, tensor: String) throws {
    let file = try GoldenModel(name: name).file(.init(without: [tensor]))
    #expect(throws: EngineError.missingTensor(tensor)) { try Model(file: file) }
  }

  @Test(arguments: [
    ("llama", "blk.0.attn_q_norm.weight"), ("llama", "blk.0.ffn_gate_inp.weight"),
    ("llama", "output.bias"), ("qwen2", "blk.0.attn_k_norm.weight"),
    ("qwen3", "rope_freqs.weight"), ("gemma2", "blk.0.attn_q_norm.weight"),
    ("gemma3", "blk.0.attn_sinks.weight"), ("phi3-long", "blk.1.post_ffw_norm.weight"),
  ])
  func tensorsOfOtherArchitecturesAreRefused(name: String, tensor: String) throws {
    let file = try GoldenModel(name: name).file(.init(vectors: [tensor: [1, 2, 3]]))
    #expect(throws: EngineError.unexpectedTensor(tensor)) { try Model(file: file) }
  }

  @Test func rotaryDivisorsAreChecked() throws {
    let llama = GoldenModel(name: "llama-3.1")
    let name = "rope_freqs.weight"
    for value in [0, -1, Float.nan, .infinity] {
      let file = try llama.file(.init(vectors: [name: [1, 1, 1, 1, value, 1, 1, 1]]))
      let error = try #require(throws: EngineError.self) { try Model(file: file) }
      #expect("\(error)".contains(name))
    }
    let short = try llama.file(.init(vectors: [name: [1, 1, 1, 1]]))
    #expect(throws: EngineError.wrongShape(tensor: name, found: [4], expected: [8])) {
      try Model(file: short)
    }
  }
}

/// Equality that prints no thousands of numbers when it fails.
private func sameRows<Rows: Sequence, Others: Sequence>(_ left: Rows, _ right: Others) -> Bool
where Rows.Element == [UInt32], Others.Element == [UInt32] {
  left.elementsEqual(right)
}

extension GoldenModel {
  /// A tensor of floats.
  fileprivate func floats(_ name: String) throws -> [Float] {
    let file = try file()
    let tensor = try #require(file.tensor(named: name))
    // safe: copied while the file is open.
    let bytes = unsafe file.withTensorBytes(tensor) { unsafe Array($0) }
    return WeightFormat.f32.dequantize(bytes, count: tensor.elementCount)
  }
}

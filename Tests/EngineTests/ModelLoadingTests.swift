import Engine
import GGUF
import InferenceTypes
import Testing

/// What the engine loads, and what it refuses by name.
@Suite struct ModelLoadingTests {
  private func logits(_ model: Model, tokens: [TokenID]) throws -> [Float] {
    // Unrounded keys and values, so that only the products differ.
    let engine = try InferenceEngine(
      model: model, cacheTypes: CacheTypes(keys: .f32, values: .f32))
    let cache = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: tokens, logits: .last), cache: cache)
    return engine.withLogits { logits in logits.indices.map { logits[$0] } }
  }

  /// Own kernels against OpenBLAS on the same weights: only the rounding of activations differs,
  /// to BF16 or to int8, and there is none for the other float weights.
  @Test(arguments: WeightFormat.allCases)
  func everyFormatComputesWhatTheFloatBackendComputes(format: WeightFormat) throws {
    let file = try TinyModel.storing(format).file()
    let tokens: [TokenID] = [1, 60, 7, 33, 2, 2, 19]
    let own = try logits(Model(file: file), tokens: tokens)
    let reference = try logits(Model(file: file, backend: .openBLAS), tokens: tokens)
    let scale = reference.map(abs).max() ?? 0
    try #require(scale > 0.1)
    let tolerance: Float =
      switch format {
      case .f32, .f16: 1e-5
      case .bf16: 1e-2
      default: 3e-2
      }
    for (mine, theirs) in zip(own, reference) {
      #expect(abs(mine - theirs) <= tolerance * scale)
    }
  }

  @Test func unknownArchitecturesAreRefusedByName() throws {
    var tiny = TinyModel()
    tiny.architecture = "mamba"
    #expect(
      throws: EngineError.unsupportedArchitecture(
        "mamba", supported: ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"])
    ) {
      try Model(file: tiny.file())
    }
  }

  @Test func missingTensorsAreNamed() throws {
    var tiny = TinyModel()
    tiny.edit = { $0.removeAll { $0.name == "blk.1.ffn_up.weight" } }
    #expect(throws: EngineError.missingTensor("blk.1.ffn_up.weight")) {
      try Model(file: tiny.file())
    }
  }

  @Test func tensorsThatWouldBeIgnoredAreRefused() throws {
    var tiny = TinyModel()
    tiny.edit = {
      $0.append(.init(name: "blk.0.attn_q_norm.weight", dimensions: [16], format: .f32))
    }
    #expect(throws: EngineError.unexpectedTensor("blk.0.attn_q_norm.weight")) {
      try Model(file: tiny.file())
    }
  }

  @Test func wrongShapesAreNamed() throws {
    var tiny = TinyModel()
    tiny.edit = { tensors in
      for index in tensors.indices where tensors[index].name == "blk.0.attn_k.weight" {
        tensors[index].dimensions = [64, 64]
      }
    }
    #expect(
      throws: EngineError.wrongShape(
        tensor: "blk.0.attn_k.weight", found: [64, 64], expected: [64, 32])
    ) { try Model(file: tiny.file()) }
  }

  @Test(arguments: [
    ("llama.rope.scaling.type", GGUFValue.string("dynamic")),
    ("llama.attention.head_count_kv", .uint32(3)),
    ("llama.attention.head_count", .uint32(0)),
    ("llama.block_count", .uint32(0)),
    ("llama.block_count", .uint32(4_000_000)),
    ("llama.embedding_length", .string("64")),
    ("llama.rope.dimension_count", .uint32(15)),
    ("llama.attention.value_length", .uint32(8)),
    ("llama.rope.freq_base", .float32(.nan)),
  ])
  func settingsOutOfRangeAreRefused(key: String, value: GGUFValue) throws {
    var tiny = TinyModel()
    tiny.metadata = [(key, value)]
    let error = try #require(throws: EngineError.self) { try Model(file: tiny.file()) }
    #expect("\(error)".contains(key))
  }

  @Test func batchesAreChecked() throws {
    let engine = try InferenceEngine(model: Model(file: TinyModel().file()))
    let cache = try engine.makeCache()
    #expect(throws: EngineError.unknownToken(id: 61, vocabularyCount: 61)) {
      try engine.forward(ForwardBatch(chain: [61], logits: .last), cache: cache)
    }
    #expect(throws: EngineError.batchTooLarge(count: 0, limit: 128)) {
      try engine.forward(ForwardBatch(), cache: cache)
    }
    var cyclic = ForwardBatch(chain: [1, 2], logits: .all)
    cyclic.parents = [1, 0]
    #expect(throws: EngineError.invalidParent(node: 0, parent: 1)) {
      try engine.forward(cyclic, cache: cache)
    }
    try engine.forward(
      ForwardBatch(chain: [TokenID](repeating: 3, count: 64), logits: .last), cache: cache)
    cache.commit(Array(0..<64))
    #expect(throws: EngineError.contextFull(used: 64, wanted: 1, capacity: 64)) {
      try engine.forward(ForwardBatch(chain: [1], logits: .last), cache: cache)
    }
    #expect(throws: EngineError.invalidThreadCount(0, limit: 256)) {
      try InferenceEngine(model: engine.model, threadCount: 0)
    }
    #expect(throws: EngineError.self) {
      try InferenceEngine(model: engine.model, contextLength: 65)
    }
  }

  @Test func unknownInstructionSetsAreRefused() throws {
    let error = try #require(throws: EngineError.self) { try Kernels.named("mmx") }
    #expect("\(error)".contains("scalar"))
  }

  @Test func topLogitsAreSortedAndTiesGoToTheSmallerID() throws {
    let engine = try InferenceEngine(model: Model(file: TinyModel().file()))
    let cache = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: [5, 9], logits: .all), cache: cache)
    let top = engine.topLogits(61)
    try #require(top.count == 122)
    for row in 0..<2 {
      let entries = top[row * 61..<(row + 1) * 61]
      for (first, second) in zip(entries, entries.dropFirst()) {
        #expect(
          first.logit > second.logit
            || first.logit == second.logit && first.token < second.token)
      }
    }
  }
}

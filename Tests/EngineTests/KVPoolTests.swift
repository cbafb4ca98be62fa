import Engine
import InferenceTypes
import Testing

@Suite struct KVPoolTests {
  @Test func aFullPoolRefusesAndGoesOnOnceBlocksAreFree() throws {
    let model = try CacheModel()
    let engine = try model.engine(blockCount: 6)
    let blockBytes = engine.pool.layout.blockBytes
    let text = CacheModel.text(100, seed: 1)
    let plain = try model.engine()
    let expected = try plain.append(text, to: plain.makeCache(), pieces: [1])
    let cache = try engine.makeCache()
    var other: KVCache? = try engine.makeCache()
    try engine.append(Array(text[..<40]), to: cache)
    if let other { try engine.append(Array(text[..<33]), to: other) }
    #expect(engine.pool.freeCount == 0)
    let batch = ForwardBatch(chain: Array(text[40..<60]), logits: .last)
    for _ in 0..<2 {
      #expect(
        throws: EngineError.keyValueMemoryFull(wanted: 1, free: 0, blockBytes: blockBytes)
      ) { try engine.forward(batch, cache: cache) }
      #expect(engine.pool.usedCount == 6 && cache.committedCount == 40)
    }
    #expect(throws: EngineError.keyValueMemoryFull(wanted: 1, free: 0, blockBytes: blockBytes)) {
      try engine.makeCache()
    }
    // What fits goes on.
    let rows = try engine.append(Array(text[40..<48]), to: cache)
    #expect(same(rows, Array(expected[40..<48])))
    // A partly filled block that is shared needs a copy.
    if let other {
      let fork = other.fork()
      #expect(throws: EngineError.keyValueMemoryFull(wanted: 1, free: 0, blockBytes: blockBytes)) {
        try engine.append([1], to: fork)
      }
    }
    other = nil
    #expect(engine.pool.usedCount == 3)
    #expect(try same(engine.append(Array(text[48..<96]), to: cache), Array(expected[48..<96])))
    #expect(engine.pool.freeCount == 0)
    let error = EngineError.keyValueMemoryFull(wanted: 1, free: 0, blockBytes: blockBytes)
    #expect("\(error)".contains("\(blockBytes)") && "\(error)".contains("end other sequences"))
  }

  /// All blocks of a batch are taken or none.
  @Test func aRefusedTreeTakesNothing() throws {
    let engine = try CacheModel().engine(blockCount: 4)
    let cache = try engine.makeCache()
    try engine.append(CacheModel.text(20, seed: 2), to: cache)
    var batch = ForwardBatch(chain: CacheModel.text(60, seed: 3), logits: .none)
    for node in 20..<60 { batch.parents[node] = -1 }
    #expect(
      throws: EngineError.keyValueMemoryFull(
        wanted: 4, free: 2, blockBytes: engine.pool.layout.blockBytes)
    ) { try engine.forward(batch, cache: cache) }
    #expect(engine.pool.usedCount == 2)
    try engine.append([1, 2, 3], to: cache)
    #expect(cache.committedCount == 23)
  }

  @Test func memoryForLessThanABlockIsRefused() throws {
    let model = try CacheModel().model
    let error = try #require(throws: EngineError.self) {
      try InferenceEngine(model: model, keyValueMemoryBytes: 100)
    }
    #expect("\(error)".contains("key/value memory is 100, expected at least"))
    let layout = BlockLayout(
      layerCount: 2, headCount: 2, headLength: 32, types: CacheTypes(keys: .f32, values: .f16))
    #expect(layout.blockBytes == 2 * 2 * 16 * 32 * (4 + 2))
    #expect(
      InferenceEngine.defaultKeyValueMemory(layout: layout, contextLength: 100)
        >= 7 * layout.blockBytes)
  }

  @Test func aBatchBesideAFullContextFits() throws {
    let model = try CacheModel(contextLength: 64)
    let engine = try InferenceEngine(model: model.model)
    let cache = try engine.makeCache()
    try engine.append(CacheModel.text(63, seed: 4), to: cache)
    var batch = ForwardBatch(chain: CacheModel.text(128, seed: 5), logits: .none)
    for node in batch.parents.indices { batch.parents[node] = -1 }
    try engine.forward(batch, cache: cache)
    cache.commit([127])
    #expect(cache.committedCount == 64)
  }
}

import Engine
import InferenceTypes
import Testing

@Suite struct PrefixCacheTests {
  /// Runs a prompt as a server does: what is known, then the rest; its last row of logits.
  private func run(_ prompt: [TokenID], _ engine: InferenceEngine) throws -> (
    row: LogitBits?, cachedCount: Int, cache: KVCache
  ) {
    let (cache, count) = engine.prefixes.adopt(prompt: prompt)
    let rows = try engine.append(Array(prompt[count...]), to: cache, pieces: [24])
    engine.prefixes.insert(cache, tokens: prompt)
    return (rows.last, count, cache)
  }

  @Test(arguments: PagedAttentionTests.types)
  func aHitChangesNoBit(types: CacheTypes) throws {
    let model = try CacheModel()
    let engine = try model.engine(types, threadCount: 2)
    let plain = try model.engine(types)
    let text = CacheModel.text(100, seed: 1)
    let expected = try plain.append(text, to: plain.makeCache(), pieces: [1])
    for (length, known) in [(50, 0), (50, 48), (48, 32), (49, 48), (100, 48), (100, 96), (16, 0)] {
      let (row, count, cache) = try run(Array(text[..<length]), engine)
      #expect(count == known && cache.committedCount == length)
      #expect(same(row, expected[length - 1]), "\(length) tokens, \(known) known")
    }
    // A tree after a hit; all prefixes gone in between.
    let (cache, count) = engine.prefixes.adopt(prompt: Array(text[..<70]))
    #expect(count == 64)
    engine.prefixes.removeAll()
    #expect(engine.prefixes.blockCount == 4)
    var tree = ForwardBatch(chain: [1, text[64], text[65], 2], logits: .all)
    tree.parents = [-1, -1, 1, 1]
    try engine.forward(tree, cache: cache)
    #expect(same(engine.bitRows()[2], expected[65]))
    cache.commit([1, 2])
    let rows = try engine.append(Array(text[66...]), to: cache)
    #expect(same(rows, Array(expected[66...])))
  }

  @Test func onlyEqualBeginningsAreFound() throws {
    let engine = try CacheModel().engine()
    let text = CacheModel.text(64, seed: 2)
    _ = try run(text, engine)
    var late = text
    late[40] = TokenID((text[40].rawValue + 1) % 61)
    #expect(engine.prefixes.adopt(prompt: late + [1]).cachedCount == 32)
    var early = text
    early[0] = TokenID((text[0].rawValue + 1) % 61)
    #expect(engine.prefixes.adopt(prompt: early + [1]).cachedCount == 0)
    // The same tokens one block further on are another text.
    #expect(engine.prefixes.adopt(prompt: Array(text[16...])).cachedCount == 0)
    #expect(engine.prefixes.adopt(prompt: []).cachedCount == 0)
    #expect(engine.prefixes.adopt(prompt: text).cachedCount == 48)
    #expect(engine.prefixes.adopt(prompt: text + [1]).cachedCount == 64)
    let statistics = engine.prefixes.statistics
    #expect(statistics.lookups == 7 && statistics.hits == 3)
    #expect(statistics.cachedTokens == 32 + 48 + 64 && statistics.evictions == 0)
  }

  /// Two sequences that computed the same text keep it once.
  @Test func equalBlocksAreKeptOnce() throws {
    let engine = try CacheModel().engine()
    let text = CacheModel.text(40, seed: 3)
    let first = try engine.makeCache()
    let second = try engine.makeCache()
    try engine.append(text, to: first)
    try engine.append(text, to: second)
    #expect(engine.pool.usedCount == 6 && engine.pool.sharedCount == 0)
    engine.prefixes.insert(first, tokens: text)
    engine.prefixes.insert(second, tokens: text)
    #expect(engine.pool.usedCount == 4 && engine.pool.sharedCount == 2)
    #expect(first.committedBlocks[..<2] == second.committedBlocks[..<2])
    #expect(engine.pool.referenceCount(of: first.committedBlocks[0]) == 3)
    let rest = CacheModel.text(10, seed: 4)
    #expect(try same(engine.append(rest, to: first), engine.append(rest, to: second)))
  }

  @Test func theLeastRecentlyUsedLeaveFirstAndThoseInUseStay() throws {
    let engine = try CacheModel().engine(blockCount: 8)
    let texts = (0..<3).map { CacheModel.text(32, seed: 10 + $0) }
    for text in texts { _ = try run(text, engine) }
    #expect(engine.prefixes.blockCount == 6 && engine.pool.freeCount == 2)
    // Text 0 becomes the latest, text 1 the oldest, and text 2 is in use.
    #expect(engine.prefixes.adopt(prompt: texts[0] + [1]).cachedCount == 32)
    let used = engine.prefixes.adopt(prompt: texts[2] + [1]).cache
    _ = engine.prefixes.adopt(prompt: texts[0] + [1])
    // Three blocks: two free ones and the end of text 1.
    let cache = try engine.makeCache()
    try engine.append(CacheModel.text(48, seed: 20), to: cache)
    #expect(engine.prefixes.statistics.evictions == 1)
    #expect(engine.prefixes.adopt(prompt: texts[1] + [1]).cachedCount == 16)
    #expect(engine.prefixes.adopt(prompt: texts[0] + [1]).cachedCount == 32)
    // Three more: the rest of texts 1 and 0, but not what is in use.
    try engine.append(CacheModel.text(48, seed: 21), to: cache)
    #expect(engine.prefixes.statistics.evictions == 4 && engine.prefixes.blockCount == 2)
    #expect(engine.pool.freeCount == 0 && used.committedCount == 32)
    #expect(throws: EngineError.self) { try engine.append([1], to: cache) }
    #expect(engine.prefixes.adopt(prompt: texts[2] + [1]).cachedCount == 32)
  }

  @Test func nothingIsKeptOnceEverythingIsDropped() throws {
    let engine = try CacheModel().engine()
    for seed in 0..<5 { _ = try run(CacheModel.text(30 + seed * 16, seed: seed), engine) }
    #expect(engine.pool.usedCount == engine.prefixes.blockCount)
    engine.prefixes.removeAll()
    #expect(engine.pool.usedCount == 0 && engine.prefixes.blockCount == 0)
    #expect(engine.pool.sharedCount == 0)
  }
}

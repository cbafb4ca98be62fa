import Engine
import GGUF
import InferenceTypes
import TestSupport
import Testing

/// Passes over several sequences: every logit has the bits of its text alone.
@Suite struct SharedPassTests {
  /// A sequence of a test and its text so far.
  private struct Lane {
    var cache: KVCache
    var text: [TokenID]
  }

  /// Random work for random lanes of one engine, pass after pass: single tokens, trees, and
  /// stretches of prompts beside each other; then paths are accepted, sequences fork and are cut.
  /// Some nodes of every pass are compared with their texts decoded token by token elsewhere.
  private func check(_ types: CacheTypes, threadCount: Int, seed: Int) throws {
    let model = try CacheModel()
    let engine = try model.engine(types, threadCount: threadCount, blockCount: 512)
    let plain = try model.engine(types, blockCount: 128)
    var random = SmallRandom(seed)
    var lanes = try (0..<7).map { index in
      let text = CacheModel.text([0, 3, 15, 16, 33, 100, 230][index], seed: seed + index)
      let cache = try engine.makeCache()
      try engine.append(text, to: cache)
      return Lane(cache: cache, text: text)
    }
    for round in 0..<8 {
      var parts: [ForwardPart] = []
      var members: [Int] = []
      var room = InferenceEngine.batchLimit
      for index in lanes.indices.sorted(by: { ($0 * 5 + round) % 7 < ($1 * 5 + round) % 7 }) {
        let size = min(room, [1, 1, 9, 40, 2 + random.below(12)][random.below(5)])
        guard size > 0, random.below(5) > 0 else { continue }
        room -= size
        var batch = ForwardBatch.tree(size, random: &random)
        if random.below(3) == 0 {
          batch = ForwardBatch(chain: batch.tokens, logits: [.all, .last, .none][random.below(3)])
        }
        parts.append(ForwardPart(batch: batch, cache: lanes[index].cache))
        members.append(index)
      }
      guard !parts.isEmpty else { continue }
      try engine.forward(parts)
      let rows = engine.bitRows()
      #expect(rows.count == parts.reduce(0) { $0 + $1.batch.logitNodes.count })
      var first = 0
      for (part, index) in zip(parts, members) {
        let wanted = part.batch.logitNodes
        for row in Set([0, wanted.count / 2, wanted.count - 1]).filter(wanted.indices.contains) {
          let path = part.batch.path(to: wanted[row]).map { part.batch.tokens[$0] }
          let alone = try plain.append(lanes[index].text + path, to: plain.makeCache())
          #expect(same(rows[first + row], alone.last), "round \(round), lane \(index), row \(row)")
        }
        first += wanted.count
        let path = part.batch.path(to: random.below(part.batch.tokens.count))
        lanes[index].cache.commit(path)
        lanes[index].text += path.map { part.batch.tokens[$0] }
      }
      // Two sequences that share blocks, one of which is cut to the middle of one.
      let (left, right) = (random.below(7), random.below(7))
      guard left != right else { continue }
      lanes[left] = Lane(cache: lanes[right].cache.fork(), text: lanes[right].text)
      let cut = random.below(lanes[right].text.count + 1)
      lanes[right].cache.truncate(to: cut)
      lanes[right].text.removeLast(lanes[right].text.count - cut)
    }
    lanes.removeAll()
    #expect(engine.pool.usedCount == 0)
  }

  @Test(arguments: PagedAttentionTests.types)
  func mixedPassesGiveTheBitsOfEachTextAlone(types: CacheTypes) throws {
    for seed in 1...3 { try check(types, threadCount: seed, seed: seed * 100) }
  }

  /// The default model: a stretch of a prompt beside single tokens and trees of other sessions.
  @Test func promptsBesideDecodingGiveTheSameBits() throws {
    let file = try GGUFFile(path: TestFiles.modelPath())
    let engine = try InferenceEngine(model: Model(file: file), threadCount: 2, contextLength: 256)
    let texts = (0..<4).map { lane in
      (0..<70).map { (index: Int) -> TokenID in
        TokenID(UInt32((index * 7919 + lane * 3571 + 301) % 49_000))
      }
    }
    var expected: [[LogitBits]] = []
    for text in texts {
      expected.append(try engine.append(text, to: engine.makeCache(), pieces: [35]))
    }
    let caches = try texts.map { _ in try engine.makeCache() }
    // Lane 0 is decoding from the start; the others come with their prompts, one after the other.
    var done = [0, 0, 0, 0]
    var turn = 0
    while done.contains(where: { $0 < 70 }) {
      var parts: [ForwardPart] = []
      var members: [Int] = []
      for lane in 0..<4 where done[lane] < 70 && turn >= lane * 4 {
        let size = min(70 - done[lane], lane == 0 || done[lane] > 40 ? 1 : 17 + lane)
        let tokens = Array(texts[lane][done[lane]..<done[lane] + size])
        parts.append(
          ForwardPart(batch: ForwardBatch(chain: tokens, logits: .all), cache: caches[lane]))
        members.append(lane)
      }
      try engine.forward(parts)
      var rows = engine.bitRows()[...]
      for (part, lane) in zip(parts, members) {
        let size = part.batch.tokens.count
        let wanted = expected[lane][done[lane]..<done[lane] + size]
        let isSame = same(Array(rows.prefix(size)), Array(wanted))
        #expect(isSame, "turn \(turn), lane \(lane)")
        rows = rows.dropFirst(size)
        caches[lane].commit(Array(0..<size))
        done[lane] += size
      }
      turn += 1
    }
  }

  @Test func topLogitsOfSomeRowsAreThoseOfAll() throws {
    let engine = try CacheModel().engine()
    let parts = try [3, 1, 4].map { count in
      ForwardPart(
        batch: ForwardBatch(chain: CacheModel.text(count, seed: count), logits: .all),
        cache: try engine.makeCache())
    }
    try engine.forward(parts)
    let all = engine.topLogits(5)
    var some: [TokenLogit] = []
    engine.topLogits(5, rows: 3..<8, into: &some)
    #expect(some == Array(all[15...]))
  }

  /// The part at fault is named, nothing is evaluated, and no memory stays taken.
  @Test func aPassWithAnUnfitPartIsNotEvaluated() throws {
    let engine = try CacheModel(contextLength: 64).engine(blockCount: 7)
    func part(_ count: Int, committed: Int) throws -> ForwardPart {
      let cache = try engine.makeCache()
      try engine.append(CacheModel.text(committed, seed: 1), to: cache)
      return ForwardPart(
        batch: ForwardBatch(chain: CacheModel.text(count, seed: 2), logits: .last), cache: cache)
    }
    let good = try part(2, committed: 15)
    let other = try part(1, committed: 0)
    try engine.forward([other])
    let before = engine.bitRows()
    other.cache.dropScratch()
    let usedCount = engine.pool.usedCount
    func failure(_ parts: [ForwardPart]) throws -> ForwardFailure? {
      #expect(throws: ForwardFailure.self) { try engine.forward(parts) }
      #expect(engine.pool.usedCount == usedCount)
      #expect(good.cache.committedCount == 15)
      #expect(same(engine.bitRows(), before))
      do { try engine.forward(parts) } catch { return error }
      return nil
    }
    var bad = other
    bad.batch.tokens[0] = 61
    #expect(
      try failure([good, bad])
        == ForwardFailure(part: 1, error: .unknownToken(id: 61, vocabularyCount: 61)))
    bad = other
    bad.batch.parents[0] = 0
    #expect(
      try failure([bad, good])
        == ForwardFailure(part: 0, error: .invalidParent(node: 0, parent: 0)))
    bad.batch = ForwardBatch(chain: CacheModel.text(65, seed: 3), logits: .none)
    #expect(
      try failure([good, bad])
        == ForwardFailure(part: 1, error: .contextFull(used: 0, wanted: 65, capacity: 64)))
    bad.batch = ForwardBatch(chain: CacheModel.text(127, seed: 3), logits: .none)
    #expect(
      try failure([good, bad])
        == ForwardFailure(part: 1, error: .batchTooLarge(count: 129, limit: 128)))
    #expect(
      try failure([]) == ForwardFailure(part: 0, error: .batchTooLarge(count: 0, limit: 128)))
    // Each alone would fit.
    let large = try (0..<2).map { _ in
      var part = other
      part.cache = try engine.makeCache()
      part.batch = ForwardBatch(chain: CacheModel.text(62, seed: 3), logits: .none)
      return part
    }
    let error = try #require(try failure(large))
    guard case .keyValueMemoryFull = error.error else {
      Issue.record("\(error)")
      return
    }
    #expect(error.part == 1)
    try engine.forward([large[1], good])
  }
}

import Engine
import InferenceTypes
import Testing

/// What the pool should hold, kept the obvious way: numbered blocks in dictionaries.
private struct PoolModel {
  struct Sequence {
    var tokens: [TokenID] = []
    var blocks: [Int] = []
  }
  var sequences: [Int: Sequence] = [:]
  /// The block of every remembered text, by the whole text up to the block's end.
  var prefixes: [[TokenID]: Int] = [:]
  private var nextBlock = 0

  private func references() -> [Int: Int] {
    var counts: [Int: Int] = [:]
    for block in sequences.values.flatMap(\.blocks) + prefixes.values {
      counts[block, default: 0] += 1
    }
    return counts
  }

  var usedCount: Int { references().count }
  var sharedCount: Int { references().values.filter { $0 > 1 }.count }

  mutating func append(_ tokens: [TokenID], to name: Int) {
    guard var sequence = sequences[name], !tokens.isEmpty else { return }
    if sequence.tokens.count % 16 > 0, let last = sequence.blocks.last,
      references()[last, default: 0] > 1
    {
      sequence.blocks[sequence.blocks.count - 1] = newBlock()
    }
    sequence.tokens += tokens
    while sequence.blocks.count * 16 < sequence.tokens.count { sequence.blocks.append(newBlock()) }
    sequences[name] = sequence
  }

  mutating func truncate(_ name: Int, to end: Int) {
    sequences[name]?.tokens.removeSubrange(end...)
    sequences[name]?.blocks.removeSubrange(((end + 15) / 16)...)
  }

  mutating func insert(_ name: Int) {
    guard let sequence = sequences[name] else { return }
    for number in 0..<sequence.tokens.count / 16 {
      let text = Array(sequence.tokens[..<(number * 16 + 16)])
      let known = prefixes[text] ?? sequence.blocks[number]
      prefixes[text] = known
      sequences[name]?.blocks[number] = known
    }
  }

  mutating func adopt(_ prompt: [TokenID], as name: Int) {
    var sequence = Sequence()
    while let block = prefixes[Array(prompt.prefix(sequence.tokens.count + 16))],
      sequence.tokens.count + 16 < prompt.count
    {
      sequence.blocks.append(block)
      sequence.tokens = Array(prompt.prefix(sequence.tokens.count + 16))
    }
    sequences[name] = sequence
  }

  /// Every remembered block that no sequence uses and no remembered text goes on from.
  mutating func removeUnused() {
    while true {
      let counts = references()
      let unused = prefixes.filter { text, block in
        counts[block] == 1
          && !prefixes.keys.contains { $0.count == text.count + 16 && $0.starts(with: text) }
      }
      if unused.isEmpty { return }
      for text in unused.keys { prefixes[text] = nil }
    }
  }

  private mutating func newBlock() -> Int {
    nextBlock += 1
    return nextBlock
  }
}

/// Random operations on the real thing and on the model; after each of them the counts agree, and
/// the logits of every pass are those of its text.
private struct RandomUse {
  let engine: InferenceEngine
  let plain: InferenceEngine
  var model = PoolModel()
  var caches: [Int: KVCache] = [:]
  var random: SmallRandom
  private var nextName = 0
  private var known: [[TokenID]: LogitBits] = [:]

  init(_ types: CacheTypes, seed: Int) throws {
    let source = try CacheModel(contextLength: 128)
    engine = try source.engine(types, threadCount: 1 + seed % 2, blockCount: 512)
    plain = try source.engine(types)
    random = SmallRandom(seed)
  }

  /// Logits of the last token of a text, computed alone.
  private mutating func expected(_ text: [TokenID]) throws -> LogitBits? {
    if let row = known[text] { return row }
    let row = try plain.append(text, to: plain.makeCache()).last
    known[text] = row
    return row
  }

  private mutating func newName(_ cache: KVCache) -> Int {
    nextName += 1
    caches[nextName] = cache
    return nextName
  }

  private mutating func anySequence() -> (Int, KVCache)? {
    let names = caches.keys.sorted()
    guard !names.isEmpty else { return nil }
    let name = names[random.below(names.count)]
    return caches[name].map { (name, $0) }
  }

  /// Few different tokens, so that texts meet again.
  private mutating func text(_ count: Int) -> [TokenID] {
    let start = random.below(2)
    return (0..<count).map { TokenID(UInt32(start + $0 / 16)) }
  }

  mutating func step() throws {
    guard caches.count < 8, let (name, cache) = anySequence() else {
      if caches.count >= 8 {
        let name = caches.keys.sorted()[random.below(8)]
        caches[name] = nil
        model.sequences[name] = nil
      } else {
        model.sequences[newName(try engine.makeCache())] = .init()
      }
      return
    }
    let room = 100 - cache.committedCount
    switch random.below(9) {
    case 0, 1: try append(min(room, 1 + random.below(40)), to: name, cache)
    case 2, 3: try accept(1 + random.below(min(max(room, 1), 24)), name, cache)
    case 4:
      let end = random.below(cache.committedCount + 1)
      cache.truncate(to: end)
      model.truncate(name, to: end)
    case 5:
      let fork = newName(cache.fork())
      model.sequences[fork] = model.sequences[name]
    case 6:
      engine.prefixes.insert(cache, tokens: model.sequences[name]?.tokens ?? [])
      model.insert(name)
    case 7:
      let prompt = text(random.below(90))
      let adopted = newName(engine.prefixes.adopt(prompt: prompt).cache)
      model.adopt(prompt, as: adopted)
      #expect(caches[adopted]?.committedCount == model.sequences[adopted]?.tokens.count)
    default:
      if random.below(4) == 0 {
        engine.prefixes.removeAll()
        model.removeUnused()
      }
    }
  }

  private mutating func append(_ count: Int, to name: Int, _ cache: KVCache) throws {
    guard count > 0, let before = model.sequences[name]?.tokens else { return }
    let tokens = before.isEmpty ? text(count) : Array(text(before.count + count).suffix(count))
    let rows = try engine.append(tokens, to: cache, pieces: [1 + random.below(30)])
    model.append(tokens, to: name)
    #expect(try same(rows.last, expected(before + tokens)))
  }

  private mutating func accept(_ count: Int, _ name: Int, _ cache: KVCache) throws {
    guard let before = model.sequences[name]?.tokens, before.count + count <= 100 else { return }
    let tree = ForwardBatch.tree(count, random: &random)
    try engine.forward(tree, cache: cache)
    let node = random.below(count)
    let path = tree.path(to: node)
    let tokens = path.map { tree.tokens[$0] }
    #expect(try same(engine.bitRows()[node], expected(before + tokens)))
    if random.below(4) == 0 {
      cache.dropScratch()
      // A batch that is dropped has still made the last block its own.
      model.append([0], to: name)
      model.truncate(name, to: before.count)
    } else {
      cache.commit(path)
      model.append(tokens, to: name)
    }
  }

  func check(_ turn: Int) {
    #expect(engine.pool.usedCount == model.usedCount, "turn \(turn)")
    #expect(engine.pool.sharedCount == model.sharedCount, "turn \(turn)")
    #expect(engine.pool.freeCount == 512 - model.usedCount, "turn \(turn)")
    #expect(engine.prefixes.blockCount == model.prefixes.count, "turn \(turn)")
    for (name, cache) in caches {
      #expect(cache.committedCount == model.sequences[name]?.tokens.count, "turn \(turn)")
      #expect(cache.blockCount == model.sequences[name]?.blocks.count, "turn \(turn)")
    }
  }
}

@Suite struct CacheAccountingTests {
  @Test(arguments: 0..<10)
  func everyBlockIsAccountedFor(seed: Int) throws {
    let types = PagedAttentionTests.types[seed % PagedAttentionTests.types.count]
    var use = try RandomUse(types, seed: seed)
    for turn in 0..<250 {
      try use.step()
      use.check(turn)
    }
    use.caches = [:]
    use.engine.prefixes.removeAll()
    #expect(use.engine.pool.usedCount == 0)
  }
}

import Engine
import InferenceTypes
import Testing

/// Whatever the cache stores and wherever a token stands in blocks, trees and batches, its logits
/// are those of its text alone, bit by bit.
@Suite struct PagedAttentionTests {
  static let types: [CacheTypes] = [
    CacheTypes(keys: .f32, values: .f32), CacheTypes(), CacheTypes(keys: .f16, values: .f16),
    CacheTypes(keys: .q8_0, values: .q8_0), CacheTypes(keys: .q8_0, values: .f16),
    CacheTypes(keys: .f32, values: .q8_0), CacheTypes(keys: .f16, values: .i16),
  ]

  @Test(arguments: types)
  func everyChunkingAndThreadCountGivesTheSameBits(types: CacheTypes) throws {
    let model = try CacheModel()
    let text = CacheModel.text(200, seed: 1)
    let engine = try model.engine(types)
    let alone = try engine.append(text, to: engine.makeCache(), pieces: [1])
    for pieces in [[2], [7], [16], [64], [128], [3, 17, 1, 33]] {
      #expect(try same(engine.append(text, to: engine.makeCache(), pieces: pieces), alone))
    }
    for threadCount in 2...5 {
      let engine = try model.engine(types, threadCount: threadCount)
      for pieces in [[1, 1, 30], [64]] {
        #expect(try same(engine.append(text, to: engine.makeCache(), pieces: pieces), alone))
      }
    }
  }

  @Test(arguments: types)
  func everyInstructionSetGivesTheSameBits(types: CacheTypes) throws {
    let text = CacheModel.text(90, seed: 2)
    var results: [[LogitBits]] = []
    for kernels in Kernels.available {
      let engine = try CacheModel(kernels: kernels).engine(types)
      results.append(try engine.append(text, to: engine.makeCache(), pieces: [40, 1, 6]))
    }
    for result in results { #expect(same(result, results[0])) }
  }

  /// Heads that fill no whole vectors, and more of them to a key/value head than a tile holds.
  @Test(arguments: [(80, 1, 2), (96, 3, 1), (256, 1, 1), (32, 17, 1), (8, 4, 2), (48, 2, 1)])
  func everyHeadShapeGivesTheSameBits(headLength: Int, group: Int, headCount: Int) throws {
    let model = try CacheModel(
      headLength: headLength, group: group, keyValueHeadCount: headCount)
    let text = CacheModel.text(70, seed: headLength)
    for types in Self.types {
      let engine = try model.engine(types)
      let alone = try engine.append(text, to: engine.makeCache(), pieces: [1])
      let others = try model.engine(types, threadCount: 3)
      #expect(try same(others.append(text, to: others.makeCache(), pieces: [35, 1, 7]), alone))
    }
  }

  /// Trees of every size after every sort of committed length; then a random path is accepted, and
  /// the text that goes on from it is that of plain decoding.
  @Test(arguments: types)
  func treeNodesAndAcceptedPathsEqualTheirTextAlone(types: CacheTypes) throws {
    let model = try CacheModel()
    let engine = try model.engine(types, threadCount: 2)
    let plain = try model.engine(types)
    var random = SmallRandom(3)
    for (count, committed) in [
      (2, 0), (7, 15), (16, 16), (16, 33), (64, 5), (64, 48), (128, 30), (40, 101),
    ] {
      let text = CacheModel.text(committed, seed: count)
      let cache = try engine.makeCache()
      try engine.append(text, to: cache)
      let tree = ForwardBatch.tree(count, random: &random)
      try engine.forward(tree, cache: cache)
      let rows = engine.bitRows()
      let some = (0..<6).map { _ in random.below(count) }
      for node in some + [0, 1, count / 2, count - 2, count - 1] {
        let tokens = text + tree.path(to: node).map { tree.tokens[$0] }
        let alone = try plain.append(tokens, to: plain.makeCache(), pieces: [1])
        #expect(same(rows[node], alone.last), "node \(node) of \(count) after \(committed)")
      }
      let path = tree.path(to: random.below(count))
      cache.commit(path)
      let accepted = text + path.map { tree.tokens[$0] }
      #expect(cache.committedCount == accepted.count)
      let rest = CacheModel.text(20, seed: count + 1)
      let after = try engine.append(rest, to: cache, pieces: [3, 1])
      let expected = try plain.append(accepted + rest, to: plain.makeCache(), pieces: [1])
      #expect(same(after, Array(expected.suffix(20))), "\(count) nodes after \(committed)")
    }
    #expect(engine.pool.usedCount == 0)
  }

  /// Both sides of a fork write into the block that they shared.
  @Test(arguments: types)
  func forksDoNotSeeEachOther(types: CacheTypes) throws {
    let engine = try CacheModel().engine(types)
    let text = CacheModel.text(39, seed: 4)
    let other = CacheModel.text(39, seed: 5)
    let expected = try engine.append(text, to: engine.makeCache(), pieces: [1])
    let cache = try engine.makeCache()
    for cut in [1, 8, 16, 17, 31, 32, 38] {
      cache.truncate(to: 0)
      try engine.append(Array(text[..<cut]), to: cache)
      let fork = cache.fork()
      let forkOfFork = fork.fork()
      try engine.append(other, to: fork, pieces: [5])
      #expect(try same(engine.append(Array(text[cut...]), to: cache), Array(expected[cut...])))
      try engine.append(other, to: cache)
      #expect(try same(engine.append(Array(text[cut...]), to: forkOfFork), Array(expected[cut...])))
    }
  }

  /// A fork is taken while a batch waits; afterwards the batch is accepted in the original.
  @Test func aWaitingBatchMayBeAcceptedAfterAFork() throws {
    let engine = try CacheModel().engine()
    let text = CacheModel.text(30, seed: 6)
    let expected = try engine.append(text, to: engine.makeCache(), pieces: [1])
    let cache = try engine.makeCache()
    try engine.append(Array(text[..<20]), to: cache)
    var batch = ForwardBatch(chain: [1, 2, 3, text[20], text[21]], logits: .none)
    batch.parents = [-1, 0, 1, -1, 3]
    try engine.forward(batch, cache: cache)
    let fork = cache.fork()
    cache.commit([3, 4])
    #expect(try same(engine.append(Array(text[20...]), to: fork), Array(expected[20...])))
    #expect(try same(engine.append(Array(text[22...]), to: cache), Array(expected[22...])))
  }

  @Test func truncatedSequencesGoOnAsIfNothingHadBeenThere() throws {
    let engine = try CacheModel().engine()
    let text = CacheModel.text(70, seed: 7)
    let expected = try engine.append(text, to: engine.makeCache(), pieces: [1])
    let cache = try engine.makeCache()
    try engine.append(text, to: cache)
    for end in [69, 64, 50, 33, 32, 16, 3, 0] {
      try engine.append(CacheModel.text(20, seed: end), to: cache)
      cache.truncate(to: end)
      #expect(engine.pool.usedCount == BlockLayout.blocks(for: end))
      #expect(try same(engine.append(Array(text[end...]), to: cache), Array(expected[end...])))
    }
  }

  /// Rounding keys and values moves logits by little, and by more the coarser the type.
  @Test func coarserTypesStayNear() throws {
    // Float weights: nothing else is rounded.
    let model = try CacheModel(format: .f32)
    let text = CacheModel.text(120, seed: 8)
    func logits(_ type: CacheType) throws -> [Float] {
      let engine = try model.engine(CacheTypes(keys: type, values: type))
      return try engine.append(text, to: engine.makeCache())[119].map { Float(bitPattern: $0) }
    }
    let exact = try logits(.f32)
    let scale = exact.map(abs).max() ?? 0
    for (type, bound) in [(CacheType.f16, Float(0.001)), (.i16, 0.001), (.q8_0, 0.04)] {
      let difference = zip(try logits(type), exact).map { abs($0 - $1) }.max() ?? .infinity
      #expect(difference > 0 && difference < bound * scale, "\(type): \(difference) of \(scale)")
    }
  }
}

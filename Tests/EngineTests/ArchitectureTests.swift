import Engine
import Foundation
import GGUF
import InferenceTypes
import Testing

private func largestIndex(_ row: [Float]) -> Int {
  row.indices.max { (row[$0], $1) < (row[$1], $0) } ?? 0
}

/// Every architecture against float64 logits, and bit by bit against itself.
@Suite struct ArchitectureTests {
  @Test func everyFileOfTheFolderIsTested() throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: GoldenModel.folder.path)
    let models = files.filter { $0.hasSuffix(".gguf") }.sorted()
    #expect(models == GoldenModel.all.map { "\($0.name).gguf" }.sorted())
    let architectures = try GoldenModel.all.map { try ModelShape(file: $0.file()).architecture }
    #expect(Set(architectures) == Set(Architecture.allCases))
  }

  /// Weights and the KV cache are stored as floats, so nothing but the order of single-precision additions differs.
  private func checkGolden(_ model: GoldenModel, backend: Backend) throws {
    let engine = try model.engine(
      backend: backend, cacheTypes: CacheTypes(keys: .f32, values: .f32))
    let tokens = try model.tokens()
    let golden = try model.logits()
    let cache = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: tokens, logits: .all), cache: cache)
    let rows = engine.logitRows()
    try #require(rows.count == golden.count && rows.allSatisfy { $0.count == golden[0].count })
    let scale = golden.joined().map(abs).max() ?? 0
    try #require(scale > 1)
    var largest: Float = 0
    for (position, (mine, theirs)) in zip(rows, golden).enumerated() {
      #expect(largestIndex(mine) == largestIndex(theirs), "position \(position)")
      for (left, right) in zip(mine, theirs) { largest = max(largest, abs(left - right)) }
    }
    print("\(model.name), \(backend.rawValue): largest difference \(largest) of \(scale)")
    #expect(largest <= 2e-5 * scale)
  }

  @Test(arguments: GoldenModel.all)
  func floatBackendMatchesFloat64(model: GoldenModel) throws {
    try checkGolden(model, backend: .openBLAS)
  }

  @Test(arguments: GoldenModel.all)
  func nativeBackendMatchesFloat64(model: GoldenModel) throws {
    try checkGolden(model, backend: .native)
  }

  @Test(arguments: GoldenModel.all)
  func everyChunkingAndThreadCountGivesTheSameBits(model: GoldenModel) throws {
    let tokens = try model.tokens()
    let engine = try model.engine()
    let alone = try engine.rows(tokens, pieces: [1])
    for pieces in [[2], [7], [16], [32], [3, 17, 1, 9]] {
      #expect(try same(engine.rows(tokens, pieces: pieces), alone), "pieces of \(pieces)")
    }
    for threadCount in [2, 3] {
      let threads = try model.engine(threadCount: threadCount)
      #expect(try same(threads.rows(tokens, pieces: [32]), alone), "\(threadCount) threads")
      #expect(try same(threads.rows(tokens, pieces: [5]), alone), "\(threadCount) threads")
    }
  }

  @Test(arguments: GoldenModel.all)
  func everyInstructionSetGivesTheSameBits(model: GoldenModel) throws {
    let tokens = try model.tokens()
    let best = try model.engine().rows(tokens, pieces: [9])
    for kernels in Kernels.available {
      let rows = try model.engine(kernels: kernels).rows(tokens, pieces: [9])
      #expect(same(rows, best), "\(kernels.name)")
    }
  }

  /// A branching tree after a text longer than the windows: every node equals its path decoded
  /// token by token, and accepting a path leaves what decoding it would have left.
  @Test(arguments: GoldenModel.all)
  func treeNodesEqualTheirPathsAlone(model: GoldenModel) throws {
    let tokens = try model.tokens()
    let engine = try model.engine()
    for contextCount in [3, 13] {
      let context = Array(tokens[..<contextCount])
      var tree = ForwardBatch()
      tree.tokens = (0..<14).map { TokenID(UInt32(($0 * 37 + 5) % 96)) }
      tree.parents = [-1, 0, 0, 1, 2, -1, 5, 3, 3, 6, 4, 10, 11, 12]
      tree.logitNodes = Array(tree.tokens.indices)
      let cache = try engine.makeCache()
      try engine.forward(ForwardBatch(chain: context, logits: .none), cache: cache)
      cache.commit(Array(context.indices))
      try engine.forward(tree, cache: cache)
      let nodes = engine.logitRows().map { $0.map(\.bitPattern) }
      for node in tree.tokens.indices {
        var path = [node]
        while let first = path.first, tree.parents[first] >= 0 {
          path.insert(tree.parents[first], at: 0)
        }
        let text = context + path.map { tree.tokens[$0] }
        let alone = try engine.rows(text, pieces: [1])
        #expect(same(nodes[node], alone.last), "node \(node) after \(contextCount) tokens")
      }
      try engine.forward(tree, cache: cache)
      let path = [0, 2, 4, 10, 11]
      cache.commit(path)
      let next = Array(tokens[..<4])
      try engine.forward(ForwardBatch(chain: next, logits: .all), cache: cache)
      let after = engine.logitRows().map { $0.map(\.bitPattern) }
      let whole = try engine.rows(context + path.map { tree.tokens[$0] } + next, pieces: [1])
      #expect(same(after, Array(whole.suffix(4))), "after \(contextCount) tokens")
    }
  }

  /// Two layers with a window of 8 look back 14 positions, no further.
  @Test func windowsHideWhatIsOlder() throws {
    let model = GoldenModel(name: "mistral-window")
    let engine = try model.engine()
    var tokens = try model.tokens()
    let before = try engine.rows(tokens, pieces: [32])
    tokens[3] = TokenID((tokens[3].rawValue + 1) % 96)
    let after = try engine.rows(tokens, pieces: [32])
    for position in tokens.indices {
      #expect(
        same(before[position], after[position]) == !(3...3 + 14 ~= position), "\(position)")
    }
    let wide = try model.rows(.init(metadata: ["llama.attention.sliding_window": .uint32(1 << 20)]))
    let none = try model.rows(.init(metadata: ["llama.attention.sliding_window": .uint32(0)]))
    #expect(same(wide, none))
    #expect(!same(wide, before))
  }
}

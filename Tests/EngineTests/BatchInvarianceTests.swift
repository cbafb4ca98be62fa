import Engine
import GGUF
import InferenceTypes
import TestSupport
import Testing

/// The logits of a position depend on the tokens up to it and on nothing else: compared bit by bit
/// on the default model.
@Suite struct BatchInvarianceTests {
  /// A text long enough to cross several attention blocks.
  private let tokens: [TokenID] = (0..<80).map { TokenID(UInt32(($0 * 7919 + 301) % 49_000)) }

  private func makeEngine(threadCount: Int = 1) throws -> InferenceEngine {
    let file = try GGUFFile(path: TestFiles.modelPath())
    return try InferenceEngine(
      model: Model(file: file), threadCount: threadCount, contextLength: 256)
  }

  /// Logit rows as bit patterns, one for each token, the text fed in pieces of these sizes.
  private func rows(_ tokens: [TokenID], pieces: [Int], engine: InferenceEngine) throws
    -> [[UInt32]]
  {
    let cache = try engine.makeCache()
    var result: [[UInt32]] = []
    var start = 0
    var turn = 0
    while start < tokens.count {
      let count = min(pieces[turn % pieces.count], tokens.count - start)
      turn += 1
      let batch = ForwardBatch(chain: Array(tokens[start..<start + count]), logits: .all)
      try engine.forward(batch, cache: cache)
      result += bitRows(engine)
      cache.commit(Array(0..<count))
      start += count
    }
    return result
  }

  private func bitRows(_ engine: InferenceEngine) -> [[UInt32]] {
    let vocabulary = engine.model.shape.vocabularyCount
    return engine.withLogits { logits in
      (0..<logits.count / vocabulary).map { row in
        (0..<vocabulary).map { logits[row * vocabulary + $0].bitPattern }
      }
    }
  }

  @Test func everyChunkingGivesTheSameBits() throws {
    let engine = try makeEngine()
    let alone = try rows(tokens, pieces: [1], engine: engine)
    for pieces in [[2], [7], [16], [64], [80], [3, 17, 1, 33]] {
      let together = try rows(tokens, pieces: pieces, engine: engine)
      #expect(same(together, alone), "pieces of \(pieces)")
    }
  }

  @Test func everyThreadCountGivesTheSameBits() throws {
    let single = try rows(tokens, pieces: [80], engine: makeEngine())
    let double = try makeEngine(threadCount: 2)
    #expect(try same(rows(tokens, pieces: [80], engine: double), single))
    #expect(try same(rows(tokens, pieces: [5], engine: double), single))
    let triple = try makeEngine(threadCount: 3)
    #expect(try same(rows(tokens, pieces: [16], engine: triple), single))
  }

  /// A branching tree: every node equals the same path decoded token by token.
  @Test func treeNodesEqualTheirPathsAlone() throws {
    let engine = try makeEngine()
    let context = Array(tokens[..<21])
    var tree = ForwardBatch()
    tree.tokens = (0..<11).map { TokenID(UInt32(100 + $0 * 37)) }
    tree.parents = [-1, 0, 0, 1, 2, -1, 5, 3, 3, 6, 4]
    tree.logitNodes = Array(0..<11)
    let cache = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: context, logits: .none), cache: cache)
    cache.commit(Array(context.indices))
    try engine.forward(tree, cache: cache)
    let nodes = bitRows(engine)
    for node in tree.tokens.indices {
      var path = [node]
      while let first = path.first, tree.parents[first] >= 0 {
        path.insert(tree.parents[first], at: 0)
      }
      let text = context + path.map { tree.tokens[$0] }
      let alone = try rows(text, pieces: [text.count - 1, 1], engine: engine)
      #expect(same(nodes[node], alone.last), "node \(node)")
    }
  }

  /// What stays after an accepted path is what decoding that path would have left.
  @Test func acceptedPathsLeaveTheCacheOfPlainDecoding() throws {
    let engine = try makeEngine()
    let plain = try rows(Array(tokens[..<20]), pieces: [1], engine: engine)
    let cache = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: Array(tokens[..<9]), logits: .none), cache: cache)
    cache.commit(Array(0..<9))
    var tree = ForwardBatch()
    tree.tokens = [tokens[9], 77, tokens[10], 78, tokens[11], 79]
    tree.parents = [-1, 0, 0, 1, 2, 4]
    tree.logitNodes = [0]
    try engine.forward(tree, cache: cache)
    cache.commit([0, 2, 4])
    #expect(cache.committedCount == 12)
    try engine.forward(ForwardBatch(chain: Array(tokens[12..<20]), logits: .all), cache: cache)
    #expect(same(bitRows(engine), Array(plain[12...])))
    cache.truncate(to: 5)
    try engine.forward(ForwardBatch(chain: Array(tokens[5..<8]), logits: .all), cache: cache)
    #expect(same(bitRows(engine), Array(plain[5..<8])))
  }

  @Test func forksGoOnAlone() throws {
    let engine = try makeEngine()
    let plain = try rows(Array(tokens[..<16]), pieces: [1], engine: engine)
    let cache = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: Array(tokens[..<10]), logits: .none), cache: cache)
    cache.commit(Array(0..<10))
    let fork = cache.fork()
    try engine.forward(ForwardBatch(chain: [1, 2, 3], logits: .none), cache: cache)
    cache.commit([0, 1, 2])
    try engine.forward(ForwardBatch(chain: Array(tokens[10..<16]), logits: .all), cache: fork)
    #expect(same(bitRows(engine), Array(plain[10..<16])))
  }

  /// All instruction sets of this machine write the same text: every logit equal, bit by bit.
  @Test func everyInstructionSetGivesTheSameBits() throws {
    let file = try GGUFFile(path: TestFiles.modelPath())
    var results: [[[UInt32]]] = []
    for kernels in Kernels.available {
      let model = try Model(file: file, kernels: kernels)
      let engine = try InferenceEngine(model: model, contextLength: 64)
      results.append(try rows(Array(tokens[..<12]), pieces: [12], engine: engine))
    }
    for (index, result) in results.enumerated() {
      #expect(same(result, results[0]), "\(Kernels.available[index].name)")
    }
  }
}

import Engine
import GGUF
import InferenceTypes
import Testing

/// Trees that grow in the cache level by level, lose branches and move their root.
@Suite struct GrowingTreeTests {
  private func makeEngine(memoryBlocks: Int? = nil) throws -> InferenceEngine {
    var tiny = TinyModel()
    tiny.contextLength = 512
    let model = try Model(file: try tiny.file())
    guard let memoryBlocks else { return try InferenceEngine(model: model, threadCount: 2) }
    let probe = try InferenceEngine(model: model)
    return try InferenceEngine(
      model: model, keyValueMemoryBytes: memoryBlocks * probe.pool.layout.blockBytes)
  }

  private func lastRow(_ text: [TokenID], engine: InferenceEngine) throws -> [UInt32] {
    let cache = try engine.makeCache()
    var start = 0
    while start < text.count {
      let chunk = Array(text[start..<min(text.count, start + 100)])
      start += chunk.count
      let batch = ForwardBatch(chain: chunk, logits: start == text.count ? .last : .none)
      try engine.forward(batch, cache: cache)
      cache.commit(Array(chunk.indices))
    }
    return engine.withLogits { logits in logits.indices.map { logits[$0].bitPattern } }
  }

  /// Any sequence of levels, re-rootings and prunings leaves the bits of the paths alone.
  @Test(arguments: 0..<6 as Range<UInt64>)
  func grownNodesEqualTheirPathsAlone(seed: UInt64) throws {
    let engine = try makeEngine()
    let cache = try engine.makeCache()
    var random = Random(state: seed)
    func below(_ bound: Int) -> Int {
      min(bound - 1, Int((random.next() + 1) / 2 * Float(bound)))
    }
    func token() -> TokenID { TokenID(UInt32(below(61))) }
    var truth: [TokenID] = []
    var nodes: [(token: TokenID, parent: Int)] = []
    func path(_ node: Int) -> [Int] {
      var path: [Int] = []
      var index = node
      while index >= 0 {
        path.insert(index, at: 0)
        index = nodes[index].parent
      }
      return path
    }
    var compared = 0
    while truth.count < 150 {
      var batch = ForwardBatch()
      batch.joinsScratch = true
      for index in 0..<1 + below(nodes.isEmpty ? 30 : 9) where nodes.count < 100 {
        // Chains first, so that there is something on the sequence's own blocks.
        let parent =
          nodes.isEmpty ? -1 : below(3) == 0 ? nodes.count - 1 : below(nodes.count + 1) - 1
        batch.tokens.append(token())
        batch.parents.append(parent)
        batch.logitNodes.append(index)
        nodes.append((batch.tokens[index], parent))
      }
      if !batch.tokens.isEmpty {
        try engine.forward(batch, cache: cache)
        let first = nodes.count - batch.tokens.count
        let rows = engine.withLogits { logits in
          batch.tokens.indices.map { row in
            (0..<61).map { logits[row * 61 + $0].bitPattern }
          }
        }
        for index in batch.tokens.indices where below(3) == 0 {
          let text = truth + path(first + index).map { nodes[$0].token }
          #expect(try lastRow(text, engine: engine) == rows[index], "node \(first + index)")
          compared += 1
        }
      }
      guard below(3) == 0 else { continue }
      let committed = below(4) == 0 ? [] : path(below(nodes.count + 1) - 1)
      let end = committed.last ?? -1
      var kept: [Int] = []
      for index in nodes.indices where !committed.contains(index) {
        let parent = nodes[index].parent
        if parent == end || kept.contains(parent), below(5) > 0 { kept.append(index) }
      }
      cache.commit(committed, keeping: kept)
      truth += committed.map { nodes[$0].token }
      nodes = kept.map { index in
        let parent = nodes[index].parent
        return (nodes[index].token, parent == end ? -1 : kept.firstIndex(of: parent) ?? -1)
      }
      #expect(cache.committedCount == truth.count)
    }
    #expect(compared > 20)
    let blocks = BlockLayout.blocks(for: truth.count)
    cache.dropScratch()
    #expect(cache.blockCount == blocks, "what grew beside the text was given back")
  }

  @Test func aForkIsUntouchedByWhatGrowsAfterIt() throws {
    let engine = try makeEngine()
    let cache = try engine.makeCache()
    let text: [TokenID] = (0..<21).map { TokenID($0) }
    try engine.forward(ForwardBatch(chain: text, logits: .none), cache: cache)
    cache.commit(Array(text.indices))
    let fork = cache.fork()
    for level in 0..<3 as Range<UInt32> {
      var batch = ForwardBatch()
      batch.joinsScratch = true
      batch.tokens = [TokenID(level + 30), TokenID(level + 40)]
      batch.parents = level == 0 ? [-1, -1] : [2 * Int(level) - 2, 2 * Int(level) - 1]
      try engine.forward(batch, cache: cache)
    }
    cache.commit([1, 3, 5])
    try engine.forward(ForwardBatch(chain: [50], logits: .last), cache: fork)
    let forked = engine.withLogits { logits in logits.indices.map { logits[$0].bitPattern } }
    #expect(try lastRow(text + [50], engine: engine) == forked)
    try engine.forward(ForwardBatch(chain: [51], logits: .last), cache: cache)
    let grown = engine.withLogits { logits in logits.indices.map { logits[$0].bitPattern } }
    #expect(try lastRow(text + [40, 41, 42, 51], engine: engine) == grown)
  }

  @Test func aLevelWithoutMemoryLeavesTheTreeAsItWas() throws {
    let engine = try makeEngine(memoryBlocks: 3)
    let cache = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: [1, 2, 3], logits: .none), cache: cache)
    var wide = ForwardBatch()
    wide.joinsScratch = true
    wide.tokens = (0..<60).map { TokenID($0) }
    wide.parents = [Int](repeating: 2, count: 60)
    #expect(throws: EngineError.self) { try engine.forward(wide, cache: cache) }
    var narrow = ForwardBatch()
    narrow.joinsScratch = true
    narrow.tokens = [4, 5]
    narrow.parents = [2, 3]
    narrow.logitNodes = [1]
    try engine.forward(narrow, cache: cache)
    let bits = engine.withLogits { logits in logits.indices.map { logits[$0].bitPattern } }
    #expect(try lastRow([1, 2, 3, 4, 5], engine: makeEngine()) == bits)
    narrow.parents = [5, 6]
    #expect(throws: EngineError.invalidParent(node: 0, parent: 5)) {
      try engine.forward(narrow, cache: cache)
    }
    wide.tokens = (0..<128).map { _ in 1 }
    wide.parents = (0..<128).map { _ in -1 }
    #expect(throws: EngineError.batchTooLarge(count: 133, limit: 128)) {
      try engine.forward(wide, cache: cache)
    }
  }

  /// Without any sublayer of its layers the model is the embedding and the output alone; without
  /// one, it is another model.
  @Test func sublayersAreLeftOut() throws {
    let engine = try makeEngine()
    func row(_ text: [TokenID], _ skipped: SublayerSet) throws -> [UInt32] {
      let cache = try engine.makeCache()
      var batch = ForwardBatch(chain: text, logits: .last)
      batch.skipped = skipped
      try engine.forward(batch, cache: cache)
      return engine.withLogits { logits in logits.indices.map { logits[$0].bitPattern } }
    }
    let all = try row([1, 2, 3], SublayerSet())
    #expect(try all == lastRow([1, 2, 3], engine: engine))
    for sublayer in 0..<4 { #expect(try row([1, 2, 3], SublayerSet([sublayer])) != all) }
    #expect(try row([1, 2, 3], SublayerSet(0..<4)) == row([9, 3], SublayerSet(0..<4)))
    // Attention alone sees the text.
    #expect(try row([1, 2, 3], SublayerSet([0, 2])) == row([3], SublayerSet([0, 2])))
    #expect(try row([1, 2, 3], SublayerSet([1, 3])) != row([3], SublayerSet([1, 3])))
    var set = SublayerSet([1, 70])
    #expect(set.count == 2 && set.contains(70) && !set.contains(2) && !set.contains(500))
    set.remove(70)
    #expect(set == SublayerSet([1]) && !set.isEmpty)
  }

  /// A level that is given up leaves the tree as it was, also where whole layers are left out.
  @Test(arguments: [SublayerSet(), SublayerSet([0, 1]), SublayerSet([2, 3])])
  func anAbortedLevelLeavesTheTree(skipped: SublayerSet) throws {
    let engine = try makeEngine()
    func level(_ tokens: [TokenID], below parents: [Int]) -> ForwardBatch {
      var batch = ForwardBatch()
      batch.joinsScratch = true
      batch.skipped = skipped
      batch.tokens = tokens
      batch.parents = parents
      batch.logitNodes = Array(tokens.indices)
      return batch
    }
    func bits() -> [UInt32] {
      engine.withLogits { logits in logits.indices.map { logits[$0].bitPattern } }
    }
    func grown(aborting: Bool) throws -> [UInt32] {
      let cache = try engine.makeCache()
      try engine.forward(ForwardBatch(chain: [1, 2, 3], logits: .none), cache: cache)
      cache.commit([0, 1, 2])
      try engine.forward(level([4, 5], below: [-1, -1]), cache: cache)
      if aborting {
        let isComplete = try engine.forward(
          level(Array(repeating: 9, count: 20), below: Array(repeating: 0, count: 20)),
          cache: cache
        ) { true }
        #expect(!isComplete && engine.withLogits { $0.count } == 0)
      }
      try engine.forward(level([6, 7], below: [0, 1]), cache: cache)
      return bits()
    }
    #expect(try grown(aborting: true) == grown(aborting: false))
  }

  /// Growing trees of two sequences and a text in one pass have the bits that each has alone; a pass
  /// that cannot be leaves every tree as it was.
  @Test func treesGrowSideBySide() throws {
    let engine = try makeEngine()
    func level(_ tokens: [TokenID], below parents: [Int]) -> ForwardBatch {
      var batch = ForwardBatch()
      batch.joinsScratch = true
      batch.tokens = tokens
      batch.parents = parents
      batch.logitNodes = Array(tokens.indices)
      return batch
    }
    let texts: [[TokenID]] = [[1, 2, 3], (0..<19).map { TokenID($0) }, [7, 8]]
    let caches = try texts.map { text in
      let cache = try engine.makeCache()
      try engine.forward(ForwardBatch(chain: text, logits: .none), cache: cache)
      cache.commit(Array(text.indices))
      return cache
    }
    for index in 0..<2 {
      try engine.forward(level([10, 11, 12], below: [-1, 0, -1]), cache: caches[index])
    }
    var parts = [
      ForwardPart(batch: level([20, 21], below: [1, 2]), cache: caches[0]),
      ForwardPart(batch: ForwardBatch(chain: [30, 31], logits: .last), cache: caches[2]),
      ForwardPart(batch: level([22, 23], below: [0, 9]), cache: caches[1]),
    ]
    #expect(throws: ForwardFailure(part: 2, error: .invalidParent(node: 1, parent: 9))) {
      try engine.forward(parts)
    }
    parts[2].batch.parents = [0, 3]
    try engine.forward(parts)
    let rows = engine.withLogits { logits in
      (0..<5).map { row in (0..<61).map { logits[row * 61 + $0].bitPattern } }
    }
    let paths: [[TokenID]] = [
      texts[0] + [10, 11, 20], texts[0] + [12, 21], texts[2] + [30, 31], texts[1] + [10, 22],
      texts[1] + [10, 22, 23],
    ]
    for (row, path) in zip(rows, paths) { #expect(try lastRow(path, engine: engine) == row) }
  }
}

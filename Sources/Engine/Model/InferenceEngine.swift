package import InferenceTypes

/// Runs forward passes of one model on a fixed set of threads.
///
/// Confined to one thread at a time. The logits of a node depend on its tokens 0...position only:
/// the same bits alone, in any batch, as a node of any tree, with any number of threads.
package final class InferenceEngine {
  /// Most nodes of one pass.
  package static let batchLimit = 128
  package let model: Model
  package let threadCount: Int
  /// Most positions of a sequence.
  package let contextLength: Int
  private let threads: WorkerThreads
  private let arena: ActivationArena
  private let rotary: RotaryTables
  private var logitRowCount = 0

  /// `threadCount` includes the caller's thread; `contextLength` is the most positions of a
  /// sequence, the model's own limit unless told.
  ///
  /// - Throws: ``EngineError`` for a thread count or context out of range, or too little memory.
  package init(
    model: Model, threadCount: Int = 1, contextLength: Int? = nil
  ) throws(EngineError) {
    let shape = model.shape
    let context = contextLength ?? shape.contextLength
    guard (1...shape.contextLength).contains(context) else {
      throw .invalidSetting(
        key: "context length", value: context, expected: "1 to \(shape.contextLength)")
    }
    self.model = model
    self.threadCount = threadCount
    self.contextLength = context
    threads = try WorkerThreads(count: threadCount)
    arena = try ActivationArena(
      shape: shape, batchLimit: Self.batchLimit, contextLength: context, workerCount: threadCount)
    rotary = try RotaryTables(model: model, positionCount: context)
  }

  /// An empty KV cache for one sequence.
  package func makeCache() throws(EngineError) -> KVCache {
    // Scratch rows of a tree may stand beside a full context.
    try KVCache(
      layerCount: model.shape.layerCount, rowLength: model.shape.keyValueLength,
      capacity: contextLength + Self.batchLimit)
  }

  /// Evaluates a batch after the committed positions of `cache`, leaving its keys and values in
  /// the cache's scratch rows and the wanted logits in ``withLogits(_:)``.
  ///
  /// - Throws: ``EngineError`` for a batch that is empty or too large, a token outside the
  ///   vocabulary, a parent that does not stand before its child, or a full cache.
  /// - Complexity: reads every weight once per 16 nodes or so; see docs/PERFORMANCE.md.
  package func forward(_ batch: ForwardBatch, cache: KVCache) throws(EngineError) {
    let pass = try prepare(batch, cache: cache)
    threads.run { worker in pass.run(worker) }
    logitRowCount = batch.logitNodes.count
  }

  /// Lends the logits of the latest pass.
  /// - Shape: `[logitNodes.count, vocabulary]`, row-major.
  package func withLogits<Result>(_ body: (Span<Float>) -> Result) -> Result {
    arena.logits.range(0, logitRowCount * model.shape.vocabularyCount).withSpan(body)
  }

  /// The `k` largest logits of every row of the latest pass, row after row, each row's largest
  /// first, equal ones by id.
  /// - Shape: `[logitNodes.count, min(k, vocabulary)]`.
  package func topLogits(_ k: Int) -> [TokenLogit] {
    let vocabulary = model.shape.vocabularyCount
    let count = min(k, vocabulary, ActivationArena.topLimit)
    let indices = arena.topIndices.range(0, count)
    let values = arena.topValues.range(0, count)
    var top: [TokenLogit] = []
    top.reserveCapacity(count * logitRowCount)
    for row in 0..<logitRowCount {
      let logits = arena.logits.range(row * vocabulary, vocabulary)
      let found = model.kernels.topK(logits, indices: indices, values: values)
      for entry in 0..<found {
        top.append(TokenLogit(token: TokenID(indices[entry]), logit: values[entry]))
      }
    }
    return top
  }

  private func prepare(_ batch: ForwardBatch, cache: KVCache) throws(EngineError) -> ForwardPass {
    let count = batch.tokens.count
    guard (1...Self.batchLimit).contains(count), batch.parents.count == count,
      batch.logitNodes.allSatisfy({ $0 >= 0 && $0 < count })
    else { throw .batchTooLarge(count: count, limit: Self.batchLimit) }
    var depths: [Int] = []
    for (node, parent) in batch.parents.enumerated() {
      guard parent >= -1, parent < node else { throw .invalidParent(node: node, parent: parent) }
      depths.append(parent < 0 ? 0 : depths[parent] + 1)
      let token = Int(batch.tokens[node].rawValue)
      guard token < model.shape.vocabularyCount else {
        throw .unknownToken(id: token, vocabularyCount: model.shape.vocabularyCount)
      }
    }
    let committed = cache.committedCount
    let deepest = depths.max() ?? 0
    guard committed + deepest < contextLength else {
      throw .contextFull(used: committed, wanted: deepest + 1, capacity: contextLength)
    }
    try cache.takeScratch(count)
    let slotLists = fillSlotLists(batch, cache: cache, depths: depths)
    return ForwardPass(
      model: model, arena: arena, rotary: rotary,
      tokens: batch.tokens.map { Int($0.rawValue) },
      positions: depths.map { committed + $0 }, slots: cache.scratch, slotLists: slotLists,
      cacheKeys: (0..<model.shape.layerCount).map { cache.layerKeys($0) },
      cacheValues: (0..<model.shape.layerCount).map { cache.layerValues($0) },
      logitNodes: batch.logitNodes)
  }

  /// The cache row of every logical position, for every node. Nodes of a chain share one list.
  private func fillSlotLists(
    _ batch: ForwardBatch, cache: KVCache, depths: [Int]
  ) -> [MemoryView<UInt32>] {
    let committed = cache.committedCount
    var lists: [MemoryView<UInt32>] = []
    var used = 0
    for (node, parent) in batch.parents.enumerated() {
      let length = committed + depths[node] + 1
      // The parent's list may be lengthened in place when nobody else has done so.
      if parent >= 0, parent == node - 1 {
        let start = used - (length - 1)
        arena.slotLists[used] = cache.scratch[node]
        used += 1
        lists.append(arena.slotLists.range(start, length))
        continue
      }
      let start = used
      let source = parent < 0 ? nil : lists[parent]
      for position in 0..<length - 1 {
        arena.slotLists[start + position] = source?[position] ?? cache.slots[position]
      }
      arena.slotLists[start + length - 1] = cache.scratch[node]
      used += length
      lists.append(arena.slotLists.range(start, length))
    }
    return lists
  }
}

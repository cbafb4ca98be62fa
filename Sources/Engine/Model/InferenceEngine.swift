package import InferenceTypes
internal import Synchronization

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
  /// Free for other work between passes.
  package let threads: WorkerThreads
  /// The memory of all KV caches of this engine.
  package let pool: KVPool
  /// Beginnings of texts whose keys and values are still there.
  package let prefixes: PrefixCache
  private let arena: ActivationArena
  private let attention: AttentionArena
  private let inputs: BatchInputs
  private let rotary: RotaryTables
  /// What these are views of.
  private let memory: OwnedMemory
  private let job = PassJob()
  /// The pass that is prepared, or the latest.
  private var plan: AttentionPlan
  private var rowCount = 0
  /// Of the latest pass.
  private var logitRowCount = 0

  /// `threadCount` includes the caller's thread; `contextLength` is the most positions of a
  /// sequence, the model's own limit unless told; `keyValueMemoryBytes` is what all KV caches
  /// together may take, ``defaultKeyValueMemory(layout:contextLength:)`` unless told; `cacheTypes`
  /// are those of the backend unless told.
  ///
  /// - Throws: ``EngineError`` for a thread count, context or memory out of range, or too little
  ///   memory.
  package init(
    model: Model, threadCount: Int = 1, contextLength: Int? = nil,
    keyValueMemoryBytes: Int? = nil, cacheTypes: CacheTypes? = nil
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
    let layout = BlockLayout(
      layerCount: shape.layerCount, headCount: shape.keyValueHeadCount,
      headLength: shape.headLength, types: cacheTypes ?? model.backend.defaultCacheTypes)
    threads = try WorkerThreads(count: threadCount)
    var memory = OwnedMemory()
    arena = try ActivationArena(shape: shape, batchLimit: Self.batchLimit, memory: &memory)
    attention = try AttentionArena(
      layout: layout, batchLimit: Self.batchLimit, contextLength: context,
      workerCount: threadCount, memory: &memory)
    plan = AttentionPlan(arena: attention)
    inputs = try BatchInputs(batchLimit: Self.batchLimit)
    pool = try KVPool(
      layout: layout,
      memoryBytes: keyValueMemoryBytes
        ?? Self.defaultKeyValueMemory(layout: layout, contextLength: context),
      sequenceBlocks: BlockLayout.blocks(for: context + Self.batchLimit))
    prefixes = PrefixCache(pool: pool)
    rotary = try RotaryTables(model: model, positionCount: context, memory: &memory)
    self.memory = memory
  }

  /// Bytes for eight full contexts, but no more than a quarter of the machine's memory, and never
  /// less than one full context with a batch beside it. Address space until it is used.
  package static func defaultKeyValueMemory(layout: BlockLayout, contextLength: Int) -> Int {
    let context = (BlockLayout.blocks(for: contextLength) + 1) * layout.blockBytes
    let batch = BlockLayout.blocks(for: batchLimit) * layout.blockBytes
    return max(context + batch, min(8 * (context + batch), AlignedBuffer.physicalBytes / 4))
  }

  /// An empty KV cache for one sequence. It takes memory as it grows.
  /// - Throws: ``EngineError/keyValueMemoryFull(wanted:free:blockBytes:)`` where there is none even
  ///   for its first tokens.
  package func makeCache() throws(EngineError) -> KVCache {
    try pool.reserve(1)
    return KVCache(pool: pool)
  }

  /// Evaluates a batch after the committed positions of `cache`, leaving its keys and values in
  /// the cache's scratch rows and the wanted logits in ``withLogits(_:)``. Where it joins the
  /// batches before, all of them together stay within ``batchLimit``.
  ///
  /// - Throws: ``EngineError`` for a batch that is empty or too large, a token outside the
  ///   vocabulary, a parent that does not stand before its child, a full context, or no free cache
  ///   memory. The committed positions stay, and the same call may succeed later.
  /// - Complexity: reads every weight once per 16 nodes or so; see docs/PERFORMANCE.md.
  package func forward(_ batch: ForwardBatch, cache: KVCache) throws(EngineError) {
    plan = AttentionPlan(arena: attention)
    rowCount = 0
    try append(batch, cache: cache)
    run(skipping: batch.skipped)
  }

  /// Evaluates batches of several sequences in one pass, each after the committed positions of its
  /// own cache. Every logit has the bits that ``forward(_:cache:)`` of its part alone gives; the
  /// rows of a part follow those of the parts before it. All parts leave out the same sublayers.
  ///
  /// - Throws: ``ForwardFailure`` with the first part that cannot be evaluated, as
  ///   ``forward(_:cache:)`` says; then nothing is evaluated, and no part has scratch rows but those
  ///   that it was to join.
  package func forward(_ parts: [ForwardPart]) throws(ForwardFailure) {
    plan = AttentionPlan(arena: attention)
    rowCount = 0
    for index in parts.indices {
      precondition(
        !parts[..<index].contains { $0.cache === parts[index].cache }, "one cache in two parts")
      do {
        try append(parts[index].batch, cache: parts[index].cache)
      } catch {
        for part in parts[..<index] { part.cache.dropLatest(part.batch.tokens.count) }
        if !parts[index].batch.joinsScratch { parts[index].cache.dropScratch() }
        throw ForwardFailure(part: index, error: error)
      }
    }
    guard let first = parts.first else {
      throw ForwardFailure(part: 0, error: .batchTooLarge(count: 0, limit: Self.batchLimit))
    }
    let skipped = first.batch.skipped
    precondition(parts.allSatisfy { $0.batch.skipped == skipped }, "one pass leaves out one set")
    run(skipping: skipped)
  }

  /// ``forward(_:cache:)`` that can be given up between two layers: there are no logits then, and
  /// the cache has its committed positions, the nodes that the batch joins, and nothing else.
  ///
  /// - Parameters:
  ///   - batch: what to evaluate.
  ///   - cache: of the sequence that it continues.
  ///   - shouldStop: asked before each layer, on the caller's thread.
  /// - Returns: whether the pass went to its end.
  /// - Throws: as ``forward(_:cache:)``.
  package func forward(
    _ batch: ForwardBatch, cache: KVCache, shouldStop: @escaping @Sendable () -> Bool
  ) throws(EngineError) -> Bool {
    plan = AttentionPlan(arena: attention)
    rowCount = 0
    try append(batch, cache: cache)
    let stop = PassStop(shouldStop)
    run(skipping: batch.skipped, stop: stop)
    // The question may hold what its asker owns.
    job.pass.withLock { $0?.stop = nil }
    guard !stop.hasStopped else {
      logitRowCount = 0
      cache.dropLatest(batch.tokens.count)
      return false
    }
    return true
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
    var top: [TokenLogit] = []
    topLogits(k, into: &top)
    return top
  }

  /// ``topLogits(_:)`` in the place of what `top` had; allocates nothing where there is room.
  package func topLogits(_ k: Int, into top: inout [TokenLogit]) {
    topLogits(k, rows: 0..<logitRowCount, into: &top)
  }

  /// ``topLogits(_:)`` of some rows only.
  package func topLogits(_ k: Int, rows: Range<Int>, into top: inout [TokenLogit]) {
    precondition(rows.lowerBound >= 0 && rows.upperBound <= logitRowCount, "rows \(rows)")
    let vocabulary = model.shape.vocabularyCount
    let count = min(k, vocabulary, ActivationArena.topLimit)
    let indices = arena.topIndices.range(0, count)
    let values = arena.topValues.range(0, count)
    top.removeAll(keepingCapacity: true)
    top.reserveCapacity(count * rows.count)
    for row in rows {
      let logits = arena.logits.range(row * vocabulary, vocabulary)
      let found = model.kernels.topK(logits, indices: indices, values: values)
      for entry in 0..<found {
        top.append(TokenLogit(token: TokenID(indices[entry]), logit: values[entry]))
      }
    }
  }

  /// Checks a batch and adds it to the pass that is prepared.
  private func append(_ batch: ForwardBatch, cache: KVCache) throws(EngineError) {
    precondition(cache.pool === pool, "a KV cache of another engine")
    let count = batch.tokens.count
    let start = plan.nodeCount
    guard count >= 1, start + count <= Self.batchLimit, batch.parents.count == count,
      rowCount + batch.logitNodes.count <= Self.batchLimit,
      batch.logitNodes.allSatisfy({ $0 >= 0 && $0 < count })
    else { throw .batchTooLarge(count: start + count, limit: Self.batchLimit) }
    let committed = cache.committedCount
    let joined = batch.joinsScratch ? cache.nodes.count : 0
    guard plan.placeCount + joined + count <= Self.batchLimit else {
      throw .batchTooLarge(count: plan.placeCount + joined + count, limit: Self.batchLimit)
    }
    var deepest = 0
    for node in 0..<count {
      let parent = batch.parents[node]
      guard parent >= -1, parent < joined + node else {
        throw .invalidParent(node: node, parent: parent)
      }
      let position =
        parent < 0
        ? committed
        : 1
          + (parent < joined
            ? cache.nodes[parent].position : inputs.positions[start + parent - joined])
      inputs.positions[start + node] = position
      deepest = max(deepest, position - committed)
      let token = Int(batch.tokens[node].rawValue)
      guard token < model.shape.vocabularyCount else {
        throw .unknownToken(id: token, vocabularyCount: model.shape.vocabularyCount)
      }
      inputs.tokens[start + node] = token
    }
    guard committed + deepest < contextLength else {
      throw .contextFull(used: committed, wanted: deepest + 1, capacity: contextLength)
    }
    try cache.takeScratch(batch.parents, isJoining: batch.joinsScratch)
    for node in batch.logitNodes {
      inputs.logitNodes[rowCount] = start + node
      rowCount += 1
    }
    plan.append(cache, count: count)
  }

  /// Evaluates what was prepared, without these sublayers.
  private func run(skipping skipped: SublayerSet, stop: PassStop? = nil) {
    let pass = ForwardPass(
      model: model, arena: arena, rotary: rotary, attention: attention, store: pool.store,
      plan: plan, tokens: inputs.tokens.range(0, plan.nodeCount),
      positions: inputs.positions.range(0, plan.nodeCount),
      logitNodes: inputs.logitNodes.range(0, rowCount), skipped: skipped, stop: stop)
    job.pass.withLock { $0 = pass }
    threads.run(job)
    logitRowCount = rowCount
  }
}

/// The latest pass, where the workers find it: a closure for every pass would be allocated.
private final class PassJob: WorkerJob {
  let pass = Mutex<ForwardPass?>(nil)

  func run(_ worker: WorkerContext) { pass.withLock { $0 }?.run(worker) }
}

/// Room for what describes a batch, so that passes allocate nothing.
private final class BatchInputs: Sendable {
  let tokens: MemoryView<Int>
  let positions: MemoryView<Int>
  let logitNodes: MemoryView<Int>
  private let storage: AlignedBuffer

  init(batchLimit: Int) throws(EngineError) {
    storage = try AlignedBuffer(
      sizeBytes: 3 * batchLimit * MemoryLayout<Int>.stride, for: "the batch")
    let view = storage.view(as: Int.self)
    tokens = view.range(0, batchLimit)
    positions = view.range(batchLimit, batchLimit)
    logitNodes = view.range(2 * batchLimit, batchLimit)
  }
}

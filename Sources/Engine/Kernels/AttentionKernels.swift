internal import CKernels

extension CacheType {
  var raw: ck_cache_type {
    switch self {
    case .f32: ck_cache_f32
    case .f16: ck_cache_f16
    case .q8_0: ck_cache_q8_0
    case .i16: ck_cache_i16
    }
  }

  /// Bytes of the keys of 16 positions of one head.
  func keyBytes(headLength: Int) -> Int { ck_cache_key_bytes(raw, headLength) }
  /// Bytes of the values of 16 positions of one head.
  func valueBytes(headLength: Int) -> Int { ck_cache_value_bytes(raw, headLength) }
}

extension BlockLayout {
  /// The longest head that the kernels take.
  static let headLengthMax = Int(ck_head_length_max)

  /// Copies the key of one position, bit for bit.
  func copyKey(
    from source: MemoryView<UInt8>, _ sourceLane: Int, to target: MemoryView<UInt8>,
    _ targetLane: Int
  ) {
    check(source, sourceLane, keyBytes)
    check(target, targetLane, keyBytes)
    unsafe ck_cache_copy_key(
      types.keys.raw, target.base, targetLane, source.base, sourceLane, headLength)
  }

  /// Copies the value of one position, bit for bit.
  func copyValue(
    from source: MemoryView<UInt8>, _ sourceLane: Int, to target: MemoryView<UInt8>,
    _ targetLane: Int
  ) {
    check(source, sourceLane, valueBytes)
    check(target, targetLane, valueBytes)
    unsafe ck_cache_copy_value(
      types.values.raw, target.base, targetLane, source.base, sourceLane, headLength)
  }

  func check(_ block: MemoryView<UInt8>, _ lane: Int, _ sizeBytes: Int) {
    precondition(block.count == sizeBytes && lane >= 0 && lane < Self.length)
  }
}

extension Kernels {
  /// Writes one key, rounded as the layout says, to one position of a block.
  func storeKey(_ x: MemoryView<Float>, layout: BlockLayout, to block: MemoryView<UInt8>, lane: Int)
  {
    layout.check(block, lane, layout.keyBytes)
    precondition(x.count == layout.headLength)
    unsafe table.pointee.store_key(block.base, layout.types.keys.raw, lane, x.base, x.count)
  }

  /// Writes one value, rounded as the layout says, to one position of a block.
  func storeValue(
    _ x: MemoryView<Float>, layout: BlockLayout, to block: MemoryView<UInt8>, lane: Int
  ) {
    layout.check(block, lane, layout.valueBytes)
    precondition(x.count == layout.headLength)
    unsafe table.pointee.store_value(block.base, layout.types.values.raw, lane, x.base, x.count)
  }
}

/// What the blocks' keys and values have in common for one key/value head.
struct AttentionSetting: Sendable {
  var scale: Float
  /// Scores become cap * tanh(score / cap); 0: they stay.
  var softCap: Float
}

/// Consecutive blocks of logical positions.
@safe struct CacheBlocks {
  fileprivate let raw: ck_cache_blocks

  /// Entry i of `indices` is the place of logical block `first` + i in `keys` and `values`. Whoever
  /// writes `indices` makes sure that the memory has that many blocks.
  init(
    keys: MemoryView<UInt8>, values: MemoryView<UInt8>, indices: MemoryView<UInt32>, first: Int
  ) {
    unsafe raw = ck_cache_blocks(
      keys: keys.base, values: values.base, indices: indices.base, first_block: first,
      count: indices.count)
  }
}

/// Query heads that one worker attends with together, all of one key/value head.
///
/// Score rows and queries live in the worker's scratch memory.
@safe struct AttentionTile {
  /// Most queries of one tile: enough to share the reading of keys and values.
  static let queryLimit = 16
  private let table: UnsafePointer<ck_kernels>
  private let queries: MemoryView<ck_attention_query>
  private let scores: MemoryView<Float>
  private var job: ck_attention
  private let queryRowCount: Int
  private let outRowCount: Int
  private(set) var count = 0
  private(set) var first = Int.max
  private(set) var end = 0
  private var headLength: Int { unsafe job.head_length }

  /// Floats of score memory that a tile over `contextLength` positions needs.
  static func scoreCount(contextLength: Int) -> Int {
    queryLimit * (BlockLayout.blocks(for: contextLength) + 1) * BlockLayout.length
  }

  init(
    kernels: Kernels, layout: BlockLayout, setting: AttentionSetting, query: MemoryView<Float>,
    out: MemoryView<Float>, scratch: AttentionScratch
  ) {
    precondition(layout.headLength <= BlockLayout.headLengthMax)
    unsafe table = kernels.table
    queries = scratch.queries
    scores = scratch.scores
    queryRowCount = query.count
    outRowCount = out.count
    unsafe job = ck_attention(
      query: query.base, out: out.base, queries: scratch.queries.base, scores: scratch.scores.base,
      inverses: scratch.inverses.base, score_stride: 0, origin: 0, head_length: layout.headLength,
      key_type: layout.types.keys.raw, value_type: layout.types.values.raw, scale: setting.scale,
      soft_cap: setting.softCap)
  }

  /// Adds a query that sees positions `first` ..< `end`; offsets count floats.
  mutating func append(queryOffset: Int, outOffset: Int, first: Int, end: Int) {
    precondition(first >= 0 && first < end && count < Self.queryLimit)
    precondition(queryOffset >= 0 && queryOffset + headLength <= queryRowCount)
    precondition(outOffset >= 0 && outOffset + headLength <= outRowCount)
    queries[count] = ck_attention_query(
      query: queryOffset, out: outOffset, first: first, end: end)
    count += 1
    self.first = min(self.first, first)
    self.end = max(self.end, end)
    unsafe job.origin = self.first / BlockLayout.length * BlockLayout.length
    let blocks = BlockLayout.blocks(for: self.end - (unsafe job.origin))
    // One block more, so that rows do not lie a power of two apart.
    unsafe job.score_stride = (blocks + 1) * BlockLayout.length
  }

  /// The first position that query `index` sees.
  func first(of index: Int) -> Int { queries[index].first }

  /// One past the last position that query `index` sees.
  func end(of index: Int) -> Int { queries[index].end }

  func score(_ range: Range<Int>, over blocks: CacheBlocks) {
    check(range, blocks)
    unsafe withUnsafePointers(blocks) { job, blocks in
      unsafe table.pointee.attention_scores(job, range.lowerBound, range.upperBound, blocks)
    }
  }

  func weigh() {
    unsafe withUnsafePointer(to: job) { unsafe table.pointee.attention_weights($0, 0, count) }
  }

  func addValues(_ range: Range<Int>, of blocks: CacheBlocks) {
    check(range, blocks)
    unsafe withUnsafePointers(blocks) { job, blocks in
      unsafe table.pointee.attention_values(
        job, range.lowerBound, range.upperBound, blocks, 0, (job.pointee.head_length + 15) / 16)
    }
  }

  private func check(_ range: Range<Int>, _ blocks: CacheBlocks) {
    precondition(range.upperBound <= count)
    let begin = unsafe blocks.raw.first_block * BlockLayout.length - job.origin
    let length = unsafe blocks.raw.count * BlockLayout.length
    precondition(begin >= 0 && begin + length <= (unsafe job.score_stride))
    precondition((unsafe job.score_stride) * count <= scores.count)
  }

  private func withUnsafePointers(
    _ blocks: CacheBlocks,
    _ body: (UnsafePointer<ck_attention>, UnsafePointer<ck_cache_blocks>) -> Void
  ) {
    unsafe withUnsafePointer(to: job) { job in
      unsafe withUnsafePointer(to: blocks.raw) { blocks in unsafe body(job, blocks) }
    }
  }
}

/// What one worker's tiles need: queries, scores, one number for each query, and the blocks where a branch of a tree leaves
/// the sequence.
struct AttentionScratch: Sendable {
  fileprivate let queries: MemoryView<ck_attention_query>
  fileprivate let scores: MemoryView<Float>
  fileprivate let inverses: MemoryView<Float>
  /// Keys or values of the blocks of one branch, one after the other.
  let branch: MemoryView<UInt8>
}

/// The memory behind the workers' ``AttentionScratch``, and the plan of the pass.
struct AttentionArena: Sendable {
  private let queries: MemoryView<ck_attention_query>
  private let scores: MemoryView<Float>
  private let inverses: MemoryView<Float>
  private let branches: MemoryView<UInt8>
  private let scoreCount: Int
  private let branchBytes: Int
  let places: MemoryView<AttentionPlan.Place>
  let placeOfNode: MemoryView<Int>
  let order: MemoryView<Int>
  let tips: MemoryView<Int>
  let sequences: MemoryView<AttentionPlan.Sequence>
  /// Of all sequences of a pass; address space, like the blocks.
  let blocks: MemoryView<UInt32>
  /// 0, 1, 2 ...: the places of a branch's blocks.
  let branchIndices: MemoryView<UInt32>

  /// Most blocks that a batch of `batchLimit` nodes reaches into.
  private static func branchBlocks(_ batchLimit: Int) -> Int {
    BlockLayout.blocks(for: batchLimit + BlockLayout.length - 1)
  }

  init(
    layout: BlockLayout, batchLimit: Int, contextLength: Int, workerCount: Int,
    memory: inout OwnedMemory
  ) throws(EngineError) {
    func room<Element: BitwiseCopyable>(_ type: Element.Type, _ count: Int)
      throws(EngineError) -> MemoryView<Element>
    { try memory.room(type, count, for: "attention") }
    scoreCount = AttentionTile.scoreCount(contextLength: contextLength)
    let branchBlocks = Self.branchBlocks(batchLimit)
    branchBytes = branchBlocks * max(layout.keyBytes, layout.valueBytes)
    queries = try room(ck_attention_query.self, workerCount * AttentionTile.queryLimit)
    scores = try room(Float.self, workerCount * scoreCount)
    inverses = try room(Float.self, workerCount * AttentionTile.queryLimit)
    branches = try room(UInt8.self, workerCount * branchBytes)
    places = try room(AttentionPlan.Place.self, batchLimit)
    placeOfNode = try room(Int.self, batchLimit)
    order = try room(Int.self, batchLimit)
    // A chain for each sequence, even where all its nodes stand beside it, and a tail for each leaf.
    tips = try room(Int.self, 2 * batchLimit)
    sequences = try room(AttentionPlan.Sequence.self, batchLimit)
    blocks = try room(UInt32.self, batchLimit * BlockLayout.blocks(for: contextLength))
    branchIndices = try room(UInt32.self, branchBlocks)
    for index in 0..<branchBlocks { branchIndices[index] = UInt32(index) }
  }

  func scratch(_ worker: Int) -> AttentionScratch {
    AttentionScratch(
      queries: queries.range(worker * AttentionTile.queryLimit, AttentionTile.queryLimit),
      scores: scores.range(worker * scoreCount, scoreCount),
      inverses: inverses.range(worker * AttentionTile.queryLimit, AttentionTile.queryLimit),
      branch: branches.range(worker * branchBytes, branchBytes))
  }
}

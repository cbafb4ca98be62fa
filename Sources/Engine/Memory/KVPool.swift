/// The KV cache memory of one engine: a fixed number of blocks, shared by reference count.
///
/// Confined to the engine's thread, like the caches and the prefix cache that draw on it. A block
/// whose count is above one is never written.
package final class KVPool {
  package let layout: BlockLayout
  /// Blocks that exist, used or not.
  package var blockCount: Int { store.blockCount }
  /// Blocks that somebody refers to.
  package private(set) var usedCount = 0
  /// Blocks that more than one refers to.
  package private(set) var sharedCount = 0
  /// Blocks that nobody refers to.
  package var freeCount: Int { blockCount - usedCount }
  let store: BlockStore
  private let memory: OwnedMemory
  /// Blocks that each sequence keeps room for, so that it does not allocate while it grows.
  let sequenceBlocks: Int
  /// Gives blocks back when none is free.
  weak var prefixes: PrefixCache?
  /// How many refer to each block touched so far.
  private var references: [Int32] = []
  /// Touched blocks that are free, the latest last: its pages are likely still in the caches.
  private var returned: [Int] = []
  private static let reservedCount = 1 << 16

  /// Takes as many blocks as fit into `memoryBytes`; address space only, until they are used.
  /// `sequenceBlocks` is how long the list of a sequence's blocks is expected to become.
  ///
  /// - Throws: ``EngineError/invalidSetting(key:value:expected:)`` where not one fits,
  ///   ``EngineError/outOfMemory(what:sizeBytes:)`` where there is no address space.
  package init(
    layout: BlockLayout, memoryBytes: Int, sequenceBlocks: Int = 0
  ) throws(EngineError) {
    guard memoryBytes >= layout.blockBytes else {
      throw .invalidSetting(
        key: "key/value memory", value: memoryBytes,
        expected: "at least \(layout.blockBytes) bytes, one block of \(BlockLayout.length) tokens")
    }
    self.layout = layout
    // Block numbers are 32 bits wide in the kernels.
    let count = min(memoryBytes / layout.blockBytes, Int(Int32.max))
    var memory = OwnedMemory()
    store = try BlockStore(layout: layout, blockCount: count, memory: &memory)
    self.memory = memory
    self.sequenceBlocks = min(sequenceBlocks, count)
    // Address space, like the blocks; beyond that they grow by doubling.
    references.reserveCapacity(min(count, Self.reservedCount))
    returned.reserveCapacity(min(count, Self.reservedCount))
  }

  /// How many refer to `block`.
  package func referenceCount(of block: Int) -> Int { Int(references[block]) }

  /// Makes sure that `count` blocks can be taken, dropping cached prefixes if need be.
  /// - Throws: ``EngineError/keyValueMemoryFull(wanted:free:blockBytes:)``; nothing has changed but
  ///   prefixes that nobody uses.
  package func reserve(_ count: Int) throws(EngineError) {
    if freeCount < count { prefixes?.evict(count - freeCount) }
    guard freeCount >= count else {
      throw .keyValueMemoryFull(wanted: count, free: freeCount, blockBytes: layout.blockBytes)
    }
  }

  /// A block that only the caller refers to. Its contents are arbitrary.
  package func take() throws(EngineError) -> Int {
    try reserve(1)
    usedCount += 1
    if let block = returned.popLast() {
      references[block] = 1
      return block
    }
    references.append(1)
    return references.count - 1
  }

  package func retain(_ block: Int) {
    precondition(references[block] > 0, "block \(block) is free")
    references[block] += 1
    if references[block] == 2 { sharedCount += 1 }
  }

  package func release(_ block: Int) {
    precondition(references[block] > 0, "block \(block) is free")
    references[block] -= 1
    switch references[block] {
    case 0:
      usedCount -= 1
      returned.append(block)
    case 1: sharedCount -= 1
    default: break
    }
  }
}

/// Keys and values of one sequence: committed positions, and the nodes of the latest batch.
///
/// Position p is in block p / 16, lane p % 16. Of a batch, the longest chain is written where it
/// would stand if it were accepted; the other nodes go to blocks beside it. Only when they are
/// accepted does anything move. Lives on its engine's thread.
package final class KVCache {
  let pool: KVPool
  /// Blocks of the committed positions, and of the batch's longest chain after them.
  private(set) var blocks: [Int]
  /// Number of committed positions.
  package private(set) var committedCount: Int
  /// Blocks of the nodes beside the longest chain, 16 to each.
  private var sideBlocks: [Int] = []
  /// Nodes of the latest batch; empty once committed or dropped.
  private(set) var nodes: [Node] = []

  /// One node of the latest batch.
  struct Node: BitwiseCopyable {
    /// Its index in the batch, or -1.
    var parent: Int
    /// Logical position.
    var position: Int
    /// Whether it is written beside the sequence.
    var isAside: Bool
    var place: CachePlace
  }

  /// A sequence without positions.
  package convenience init(pool: KVPool) { self.init(pool: pool, sharing: [], committedCount: 0) }

  /// A sequence that begins with positions of another one.
  init(pool: KVPool, sharing blocks: [Int], committedCount: Int) {
    precondition(blocks.count == BlockLayout.blocks(for: committedCount))
    self.pool = pool
    self.blocks = blocks
    self.committedCount = committedCount
    for block in blocks { pool.retain(block) }
    self.blocks.reserveCapacity(pool.sequenceBlocks)
  }

  deinit {
    for block in blocks { pool.release(block) }
    for block in sideBlocks { pool.release(block) }
  }

  /// Blocks that this sequence refers to, those of the latest batch included.
  package var blockCount: Int { blocks.count + sideBlocks.count }

  /// Numbers of the blocks of the committed positions, in order.
  package var committedBlocks: [Int] {
    Array(blocks.prefix(BlockLayout.blocks(for: committedCount)))
  }

  /// Makes room for a batch of nodes after the committed positions; the batch before is dropped.
  ///
  /// - Parameter parents: each before its child, -1 for the last committed position.
  /// - Throws: ``EngineError/keyValueMemoryFull(wanted:free:blockBytes:)``; the committed positions
  ///   stay what they are.
  func takeScratch(_ parents: [Int]) throws(EngineError) {
    dropScratch()
    let sideCount = layOut(parents)
    do {
      try takeBlocks(sideCount: sideCount)
    } catch {
      nodes.removeAll(keepingCapacity: true)
      throw error
    }
    for index in nodes.indices {
      let node = nodes[index]
      let at = node.isAside ? node.place.lane : node.position
      let (number, lane) = at.quotientAndRemainder(dividingBy: BlockLayout.length)
      nodes[index].place = CachePlace(
        block: node.isAside ? sideBlocks[number] : blocks[number], lane: lane)
    }
  }

  /// Fills `nodes`, numbering those beside the longest chain in their lanes; returns how many.
  private func layOut(_ parents: [Int]) -> Int {
    var deepest = 0
    for (index, parent) in parents.enumerated() {
      let position = parent < 0 ? committedCount : nodes[parent].position + 1
      nodes.append(
        Node(
          parent: parent, position: position, isAside: true, place: CachePlace(block: 0, lane: 0)))
      if position > nodes[deepest].position { deepest = index }
    }
    var onChain = nodes.isEmpty ? -1 : deepest
    while onChain >= 0 {
      nodes[onChain].isAside = false
      onChain = nodes[onChain].parent
    }
    var sideCount = 0
    for index in nodes.indices where nodes[index].isAside {
      nodes[index].place.lane = sideCount
      sideCount += 1
    }
    return sideCount
  }

  /// Takes all blocks of a batch or none.
  private func takeBlocks(sideCount: Int) throws(EngineError) {
    let end = nodes.reduce(committedCount) { max($0, $1.position + 1) }
    let total = BlockLayout.blocks(for: end)
    // A partly filled block is about to be written, so it must be ours alone.
    let partial = committedCount % BlockLayout.length > 0 ? blocks.count - 1 : nil
    let copies = partial.map { pool.referenceCount(of: blocks[$0]) > 1 } ?? false
    try pool.reserve(
      total - blocks.count + (copies ? 1 : 0) + BlockLayout.blocks(for: sideCount))
    if let partial, copies {
      let copy = try pool.take()
      pool.store.copyBlock(blocks[partial], to: copy)
      pool.release(blocks[partial])
      blocks[partial] = copy
    }
    while blocks.count < total { blocks.append(try pool.take()) }
    for _ in 0..<BlockLayout.blocks(for: sideCount) { sideBlocks.append(try pool.take()) }
  }

  /// Makes nodes of the latest batch the next committed positions and drops the others.
  /// - Parameter path: indices in the batch, each the child of the one before, the first a child of
  ///   the last committed position.
  package func commit(_ path: [Int]) {
    var parent = -1
    for index in path {
      precondition(index >= 0 && index < nodes.count, "node \(index) of \(nodes.count)")
      let node = nodes[index]
      precondition(node.parent == parent, "node \(index) is no child of \(parent)")
      if node.isAside {
        let (number, lane) = node.position.quotientAndRemainder(dividingBy: BlockLayout.length)
        // Nobody else reads this lane: a fork shares no positions past those committed before.
        pool.store.copyPosition(node.place, to: CachePlace(block: blocks[number], lane: lane))
      }
      parent = index
    }
    committedCount += path.count
    dropScratch()
  }

  /// Forgets the latest batch.
  package func dropScratch() {
    nodes.removeAll(keepingCapacity: true)
    while let block = sideBlocks.popLast() { pool.release(block) }
    releaseBlocks(after: BlockLayout.blocks(for: committedCount))
  }

  /// Drops every committed position from `end` on, and the latest batch.
  package func truncate(to end: Int) {
    precondition(end >= 0 && end <= committedCount, "truncate to \(end) of \(committedCount)")
    committedCount = end
    dropScratch()
  }

  /// A sequence with the same committed positions that goes on by itself. Blocks are shared until
  /// one of the two writes to them.
  package func fork() -> KVCache {
    KVCache(pool: pool, sharing: committedBlocks, committedCount: committedCount)
  }

  /// Refers to `block`, which holds the same bits, in place of the committed full block `number`.
  func replaceBlock(_ number: Int, by block: Int) {
    precondition((number + 1) * BlockLayout.length <= committedCount, "block \(number)")
    pool.retain(block)
    pool.release(blocks[number])
    blocks[number] = block
  }

  private func releaseBlocks(after count: Int) {
    while blocks.count > count { pool.release(blocks.removeLast()) }
  }
}

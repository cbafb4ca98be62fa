/// Keys and values of one sequence: committed positions, and the nodes of the latest batch.
///
/// Position p is in block p / 16, lane p % 16. Of a batch, the longest chain is written where it
/// would stand if it were accepted; the other nodes go to blocks beside it. Only when they are
/// accepted does anything move. A batch may also join the nodes that are there, which is how a draft
/// model grows a tree. Lives on its engine's thread.
package final class KVCache {
  let pool: KVPool
  /// Blocks of the committed positions, and of the batch's longest chain after them.
  private(set) var blocks: [Int]
  /// Number of committed positions.
  package private(set) var committedCount: Int
  /// Blocks of the nodes beside the longest chain, 16 to each.
  private var sideBlocks: [Int] = []
  /// Nodes of the latest batch and those that it joined; empty once committed or dropped.
  private(set) var nodes: [Node] = []

  /// One node of the latest batches.
  struct Node: BitwiseCopyable {
    /// Its index among the nodes, or -1.
    var parent: Int
    /// Logical position.
    var position: Int
    /// Its lane beside the sequence, counted over all side blocks; -1 on the longest chain.
    var sideLane: Int
    var place: CachePlace

    var isAside: Bool { sideLane >= 0 }
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

  /// Makes room for a batch of nodes after the committed positions; the batch before is dropped,
  /// unless the new one joins it.
  ///
  /// - Parameters:
  ///   - parents: each before its child, -1 for the last committed position.
  ///   - isJoining: whether the nodes that are there stay, and parents count them first.
  /// - Throws: ``EngineError/keyValueMemoryFull(wanted:free:blockBytes:)``; the committed positions
  ///   and the nodes that were to stay are what they were.
  func takeScratch(_ parents: [Int], isJoining: Bool = false) throws(EngineError) {
    if !isJoining { dropScratch() }
    let oldCount = nodes.count
    layOut(parents)
    do {
      try takeBlocks()
    } catch {
      nodes.removeSubrange(oldCount...)
      throw error
    }
    for index in nodes.indices {
      let node = nodes[index]
      let at = node.isAside ? node.sideLane : node.position
      let (number, lane) = at.quotientAndRemainder(dividingBy: BlockLayout.length)
      nodes[index].place = CachePlace(
        block: node.isAside ? sideBlocks[number] : blocks[number], lane: lane)
    }
  }

  /// Appends to `nodes`. The longest chain of a batch that joins nothing stands in the sequence,
  /// all others take the first free lanes beside it.
  private func layOut(_ parents: [Int]) {
    let oldCount = nodes.count
    var deepest = oldCount
    for (index, parent) in parents.enumerated() {
      let position = parent < 0 ? committedCount : nodes[parent].position + 1
      nodes.append(
        Node(
          parent: parent, position: position, sideLane: .max, place: CachePlace(block: 0, lane: 0)))
      if position > nodes[deepest].position { deepest = oldCount + index }
    }
    if oldCount == 0 {
      var onChain = nodes.isEmpty ? -1 : deepest
      while onChain >= 0 {
        nodes[onChain].sideLane = -1
        onChain = nodes[onChain].parent
      }
    }
    var lane = 0
    for index in nodes.indices.dropFirst(oldCount) where nodes[index].isAside {
      while nodes[..<oldCount].contains(where: { $0.sideLane == lane }) { lane += 1 }
      nodes[index].sideLane = lane
      lane += 1
    }
  }

  /// Takes all blocks of the nodes or none.
  private func takeBlocks() throws(EngineError) {
    let end = nodes.reduce(committedCount) { max($0, $1.position + 1) }
    let sideEnd = nodes.reduce(0) { max($0, $1.sideLane + 1) }
    let total = max(blocks.count, BlockLayout.blocks(for: end))
    let sideTotal = max(sideBlocks.count, BlockLayout.blocks(for: sideEnd))
    // A partly filled block is about to be written, so it must be ours alone.
    let number = committedCount / BlockLayout.length
    let copies =
      committedCount % BlockLayout.length > 0 && pool.referenceCount(of: blocks[number]) > 1
    try pool.reserve(
      total - blocks.count + (copies ? 1 : 0) + sideTotal - sideBlocks.count)
    if copies {
      let copy = try pool.take()
      pool.store.copyBlock(blocks[number], to: copy)
      pool.release(blocks[number])
      blocks[number] = copy
    }
    while blocks.count < total { blocks.append(try pool.take()) }
    while sideBlocks.count < sideTotal { sideBlocks.append(try pool.take()) }
  }

  /// Makes nodes of the latest batch the next committed positions and drops the others.
  /// - Parameter path: indices in the batch, each the child of the one before, the first a child of
  ///   the last committed position.
  package func commit(_ path: [Int]) { commit(path, keeping: []) }

  /// Makes nodes the next committed positions and keeps some of those below them.
  ///
  /// - Parameters:
  ///   - path: indices among the nodes, each the child of the one before, the first a child of the
  ///     last committed position.
  ///   - kept: indices of nodes below the path's end, ascending, each with its parent; they are
  ///     counted anew in this order. All others are dropped.
  package func commit(_ path: [Int], keeping kept: [Int]) {
    var end = -1
    for index in path {
      precondition(index >= 0 && index < nodes.count, "node \(index) of \(nodes.count)")
      let node = nodes[index]
      precondition(node.parent == end, "node \(index) is no child of \(end)")
      if node.isAside {
        let (number, lane) = node.position.quotientAndRemainder(dividingBy: BlockLayout.length)
        // Nobody else reads this lane: a fork shares no positions past those committed before.
        pool.store.copyPosition(node.place, to: CachePlace(block: blocks[number], lane: lane))
      }
      end = index
    }
    committedCount += path.count
    guard !kept.isEmpty else { return dropScratch() }
    var next = 0
    for index in kept {
      precondition(index >= next && index < nodes.count, "kept node \(index) of \(nodes.count)")
      var node = nodes[index]
      if node.parent == end {
        node.parent = -1
      } else {
        guard let parent = kept.firstIndex(of: node.parent) else {
          preconditionFailure("node \(index) is kept without its parent \(node.parent)")
        }
        node.parent = parent
      }
      // No later node has a smaller index, so what is overwritten is read no more.
      nodes[next] = node
      next += 1
    }
    nodes.removeSubrange(next...)
    trimBlocks()
  }

  /// Forgets the latest batch, and what it joined.
  package func dropScratch() {
    nodes.removeAll(keepingCapacity: true)
    trimBlocks()
  }

  /// Forgets the latest `count` nodes; what they joined stays.
  func dropLatest(_ count: Int) {
    nodes.removeLast(count)
    trimBlocks()
  }

  /// Gives back the blocks behind the last position that is in use.
  private func trimBlocks() {
    let end = nodes.reduce(committedCount) { max($0, $1.position + 1) }
    let sideEnd = nodes.reduce(0) { max($0, $1.sideLane + 1) }
    while sideBlocks.count > BlockLayout.blocks(for: sideEnd) {
      pool.release(sideBlocks.removeLast())
    }
    releaseBlocks(after: BlockLayout.blocks(for: end))
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

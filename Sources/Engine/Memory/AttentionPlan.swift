/// Which blocks the nodes of a batch attend to; the same for all layers. Nodes that the batch joins
/// are counted first: they are attended to and attend to nothing.
///
/// All nodes share the committed full blocks. After these the nodes of the longest chain go on in
/// the sequence's own blocks; every other branch of the tree has a tail of its own: copies of those
/// blocks in which the branch's nodes replace the chain's. Tail 0 is the longest chain.
struct AttentionPlan: Sendable {
  /// One node of the batch.
  struct Place: BitwiseCopyable, Sendable {
    /// Its index among the nodes, or -1.
    var parent: Int
    /// Logical position.
    var position: Int
    var tail: Int
    /// Where its key and value are written.
    var cached: CachePlace
  }

  /// Per node, in the order of the cache.
  let places: MemoryView<Place>
  /// The first node of the batch; those before are joined by it.
  let first: Int
  /// Nodes of the batch by tail, each tail's by position.
  let order: MemoryView<Int>
  /// The last node of each tail.
  let tips: MemoryView<Int>
  /// The sequence's blocks, up to the longest chain's end.
  let blocks: MemoryView<UInt32>
  /// How many of these are full of committed positions.
  let commonCount: Int

  /// Plans the latest `count` nodes of `cache` in the arena's memory.
  init(_ cache: KVCache, count: Int, arena: AttentionArena) {
    let nodes = cache.nodes
    first = nodes.count - count
    places = arena.places.range(0, nodes.count)
    for index in nodes.indices {
      let node = nodes[index]
      places[index] = Place(
        parent: node.parent, position: node.position, tail: node.isAside ? -1 : 0,
        cached: node.place)
      if !node.isAside { arena.tips[0] = index }
    }
    // Children stand after their parents: from the back, the first of a branch is its tip.
    var tailCount = 1
    for index in nodes.indices.reversed() {
      if places[index].tail < 0 {
        places[index].tail = tailCount
        arena.tips[tailCount] = index
        tailCount += 1
      }
      let parent = places[index].parent
      if parent >= 0, places[parent].tail < 0 { places[parent].tail = places[index].tail }
    }
    tips = arena.tips.range(0, tailCount)
    order = arena.order.range(0, count)
    var filled = 0
    for tail in 0..<tailCount {
      for index in first..<nodes.count where places[index].tail == tail {
        order[filled] = index
        filled += 1
      }
    }
    blocks = arena.blocks.range(0, cache.blocks.count)
    for (number, block) in cache.blocks.enumerated() {
      precondition(block < cache.pool.blockCount)
      blocks[number] = UInt32(block)
    }
    commonCount = cache.committedCount / BlockLayout.length
  }

  /// The first node of a tail that is not of the longest chain.
  func branchStart(of tail: Int) -> Int {
    var node = tips[tail]
    while places[node].parent >= 0, places[places[node].parent].tail != 0 {
      node = places[node].parent
    }
    return node
  }
}

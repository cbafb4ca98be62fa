/// Which blocks the nodes of a pass attend to; the same for all layers. Nodes that a batch joins stand
/// before it: they are attended to and attend to nothing.
///
/// A node attends to its own sequence only. All nodes of a sequence share its committed full
/// blocks. After these the nodes of its longest chain go on in the sequence's own blocks; every
/// other branch of its tree has a tail of its own: copies of those blocks in which the branch's
/// nodes replace the chain's.
struct AttentionPlan: Sendable {
  /// One node of the pass, or one that it joins.
  struct Place: BitwiseCopyable, Sendable {
    /// Index of its parent's place, or -1.
    var parent: Int
    /// Logical position.
    var position: Int
    /// The sequence that it belongs to.
    var sequence: Int
    /// Counted over all sequences.
    var tail: Int
    /// Its index in the pass; -1 where it is joined.
    var node: Int
    /// Whether it is beside its sequence's longest chain.
    var isAside: Bool
    /// Where its key and value are written.
    var cached: CachePlace
  }

  /// One sequence of the pass.
  struct Sequence: BitwiseCopyable, Sendable {
    /// Where its blocks start among those of all sequences.
    var firstBlock: Int
    /// How many of them are full of committed positions.
    var commonCount: Int
  }

  /// Nodes of the pass.
  private(set) var nodeCount = 0
  /// Those and the nodes that they join.
  private(set) var placeCount = 0
  private var sequenceCount = 0
  private var tailCount = 0
  private var blockCount = 0
  /// Sequence by sequence, each in the order of its cache.
  let places: MemoryView<Place>
  /// Per node of the pass.
  private let placeOfNode: MemoryView<Int>
  /// Places of the nodes of the pass: by sequence, each sequence's by tail, each tail's by position.
  let order: MemoryView<Int>
  /// The last place of each tail.
  private let tips: MemoryView<Int>
  let sequences: MemoryView<Sequence>
  private let blocks: MemoryView<UInt32>

  /// A plan without nodes in the arena's memory; the one before is lost.
  init(arena: AttentionArena) {
    places = arena.places
    placeOfNode = arena.placeOfNode
    order = arena.order
    tips = arena.tips
    sequences = arena.sequences
    blocks = arena.blocks
  }

  /// Where a node of the pass is written.
  func cached(node: Int) -> CachePlace { places[placeOfNode[node]].cached }

  /// The last place of a tail.
  func tip(of tail: Int) -> Int { tips[tail] }

  /// The blocks of a sequence with these numbers, of those up to its longest chain's end.
  func blocks(_ numbers: Range<Int>, of sequence: Int) -> MemoryView<UInt32> {
    blocks.range(sequences[sequence].firstBlock + numbers.lowerBound, numbers.count)
  }

  /// Adds the latest `count` nodes of `cache`, and those that they join.
  mutating func append(_ cache: KVCache, count: Int) {
    let nodes = cache.nodes
    let joined = nodes.count - count
    let start = placeCount
    let chainTail = tailCount
    let firstNode = nodeCount
    placeCount += nodes.count
    nodeCount += count
    tailCount += 1
    for index in nodes.indices {
      let node = nodes[index]
      places[start + index] = Place(
        parent: node.parent < 0 ? -1 : start + node.parent, position: node.position,
        sequence: sequenceCount, tail: node.isAside ? -1 : chainTail,
        node: index < joined ? -1 : firstNode + index - joined, isAside: node.isAside,
        cached: node.place)
      if index >= joined { placeOfNode[firstNode + index - joined] = start + index }
      if !node.isAside { tips[chainTail] = start + index }
    }
    // Children stand after their parents: from the back, the first of a branch is its tip.
    for index in stride(from: placeCount - 1, through: start, by: -1) {
      if places[index].tail < 0 {
        places[index].tail = tailCount
        tips[tailCount] = index
        tailCount += 1
      }
      let parent = places[index].parent
      if parent >= 0, places[parent].tail < 0 { places[parent].tail = places[index].tail }
    }
    var filled = firstNode
    for tail in chainTail..<tailCount {
      for index in start + joined..<placeCount where places[index].tail == tail {
        order[filled] = index
        filled += 1
      }
    }
    sequences[sequenceCount] = Sequence(
      firstBlock: blockCount, commonCount: cache.committedCount / BlockLayout.length)
    sequenceCount += 1
    for block in cache.blocks {
      precondition(block < cache.pool.blockCount)
      blocks[blockCount] = UInt32(block)
      blockCount += 1
    }
  }

  /// The first node of a tail that is not of its sequence's longest chain.
  func branchStart(of tail: Int) -> Int {
    var node = tips[tail]
    while places[node].parent >= 0, places[places[node].parent].isAside {
      node = places[node].parent
    }
    return node
  }
}

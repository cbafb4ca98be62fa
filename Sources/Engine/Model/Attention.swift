// Attention of a pass over the paged KV cache.
//
// Per layer and key/value head, a worker reads the keys and values of all positions once for every
// 16 query heads or so: 2 * headLength * (bytes of an element) per position, against
// 4 * headLength operations per position and query head.
extension ForwardPass {
  /// Attention of every node, heads side by side; `stride` is the length of a row of queries, keys
  /// and values.
  ///
  /// Workers share the query heads of all nodes. How they are cut into tiles never changes the
  /// order in which a head adds up its positions.
  func attendHeads(
    layer: Int, stride: Int, setting: AttentionSetting, _ worker: WorkerContext
  ) {
    let headCount = store.layout.headCount
    let group = shape.headCount / headCount
    let total = count * group
    let share = worker.share(of: headCount * total)
    let scratch = attention.scratch(worker.index)
    var next = share.lowerBound
    while next < share.upperBound {
      let head = next / total
      let end = min(share.upperBound, (head + 1) * total)
      // As few tiles as possible, all about equal.
      let tileCount = (end - next + AttentionTile.queryLimit - 1) / AttentionTile.queryLimit
      let first = next
      for index in 0..<tileCount {
        let lower = first + (end - first) * index / tileCount - head * total
        let upper = first + (end - first) * (index + 1) / tileCount - head * total
        attend(
          HeadTile(layer: layer, head: head, group: group, queries: lower..<upper),
          stride: stride, setting: setting, scratch)
      }
      next = end
    }
  }

  /// Query heads `queries` of those that share one key/value head: query q belongs to node
  /// q / group of the plan's order.
  private struct HeadTile {
    var layer: Int
    var head: Int
    var group: Int
    var queries: Range<Int>
  }

  private func attend(
    _ part: HeadTile, stride: Int, setting: AttentionSetting, _ scratch: AttentionScratch
  ) {
    let headLength = shape.headLength
    var tile = AttentionTile(
      kernels: kernels, layout: store.layout, setting: setting, query: arena.queryKeyValue,
      out: arena.attended, scratch: scratch)
    for query in part.queries {
      let place = plan.places[plan.order[query / part.group]]
      let column = (part.head * part.group + query % part.group) * headLength
      let end = place.position + 1
      tile.append(
        queryOffset: place.node * stride + column,
        outOffset: place.node * shape.queryLength + column,
        first: shape.firstVisible(from: end - 1, layer: part.layer), end: end)
    }
    let segments = Segments(
      plan: plan, store: store, branchIndices: attention.branchIndices, part: part,
      scratch: scratch)
    segments.forEach(tile, .keys) { tile.score($0, over: $1) }
    tile.weigh()
    segments.forEach(tile, .values) { tile.addValues($0, of: $1) }
  }

  private enum CachedPart { case keys, values }

  /// The blocks that a tile attends to, sequence by sequence and in logical order, with the queries
  /// that attend to them.
  private struct Segments {
    let plan: AttentionPlan
    let store: BlockStore
    let branchIndices: MemoryView<UInt32>
    let part: HeadTile
    let scratch: AttentionScratch

    func forEach(
      _ tile: AttentionTile, _ cached: CachedPart, _ body: (Range<Int>, CacheBlocks) -> Void
    ) {
      var next = 0
      while next < tile.count {
        let start = next
        let sequence = place(of: start).sequence
        var first = tile.first(of: start)
        while next < tile.count, place(of: next).sequence == sequence {
          first = min(first, tile.first(of: next))
          next += 1
        }
        forEach(
          tile, start..<next, of: sequence, from: first / BlockLayout.length, cached, body)
      }
    }

    /// The queries of one sequence, which see nothing before block `first`.
    private func forEach(
      _ tile: AttentionTile, _ queries: Range<Int>, of sequence: Int, from first: Int,
      _ cached: CachedPart, _ body: (Range<Int>, CacheBlocks) -> Void
    ) {
      let commonCount = plan.sequences[sequence].commonCount
      if first < commonCount {
        body(queries, sequenceBlocks(first..<commonCount, of: sequence))
      }
      var next = queries.lowerBound
      while next < queries.upperBound {
        let tail = place(of: next).tail
        let isAside = place(of: next).isAside
        let start = next
        var end = 0
        while next < queries.upperBound, place(of: next).tail == tail {
          end = max(end, BlockLayout.blocks(for: tile.end(of: next)))
          next += 1
        }
        let blocks = max(first, commonCount)..<end
        guard isAside else {
          body(start..<next, sequenceBlocks(blocks, of: sequence))
          continue
        }
        let branch = plan.places[plan.branchStart(of: tail)].position / BlockLayout.length
        if blocks.lowerBound < branch {
          body(start..<next, sequenceBlocks(blocks.lowerBound..<branch, of: sequence))
        }
        let copied = max(branch, blocks.lowerBound)..<end
        gather(tail, copied, of: sequence, cached)
        body(
          start..<next,
          CacheBlocks(
            keys: scratch.branch, values: scratch.branch,
            indices: branchIndices.range(0, copied.count), first: copied.lowerBound))
      }
    }

    private func place(of query: Int) -> AttentionPlan.Place {
      plan.places[plan.order[(part.queries.lowerBound + query) / part.group]]
    }

    private func sequenceBlocks(_ range: Range<Int>, of sequence: Int) -> CacheBlocks {
      CacheBlocks(
        keys: store.keys(layer: part.layer, head: part.head),
        values: store.values(layer: part.layer, head: part.head),
        indices: plan.blocks(range, of: sequence), first: range.lowerBound)
    }

    /// Copies blocks `range` of a sequence with the nodes of a branch in their places.
    private func gather(
      _ tail: Int, _ range: Range<Int>, of sequence: Int, _ cached: CachedPart
    ) {
      let layout = store.layout
      let size = cached == .keys ? layout.keyBytes : layout.valueBytes
      func block(_ number: Int) -> MemoryView<UInt8> {
        cached == .keys
          ? store.key(layer: part.layer, head: part.head, block: number)
          : store.value(layer: part.layer, head: part.head, block: number)
      }
      let start = plan.places[plan.branchStart(of: tail)].position
      if start / BlockLayout.length == range.lowerBound, !start.isMultiple(of: BlockLayout.length) {
        // What stands before the branch in its first block is the sequence's.
        let number = plan.blocks(range, of: sequence)[0]
        scratch.branch.range(0, size).copy(from: block(Int(number)))
      }
      var node = plan.tip(of: tail)
      while node >= 0, plan.places[node].isAside {
        let place = plan.places[node]
        let (number, lane) = place.position.quotientAndRemainder(dividingBy: BlockLayout.length)
        if range.contains(number) {
          let copy = scratch.branch.range((number - range.lowerBound) * size, size)
          let source = block(place.cached.block)
          switch cached {
          case .keys: layout.copyKey(from: source, place.cached.lane, to: copy, lane)
          case .values: layout.copyValue(from: source, place.cached.lane, to: copy, lane)
          }
        }
        node = place.parent
      }
    }
  }
}

/// One pass through the model, seen by every worker thread.
///
/// All state is views of the engine's arena and the cache; workers write disjoint ranges between
/// barriers. Which worker computes an element never changes how it is computed.
struct ForwardPass: Sendable {
  let model: Model
  let arena: ActivationArena
  let rotary: RotaryTables
  let attention: AttentionArena
  let store: BlockStore
  /// What each node attends to.
  let plan: AttentionPlan
  let tokens: MemoryView<Int>
  /// Logical position of each node.
  let positions: MemoryView<Int>
  let logitNodes: MemoryView<Int>
  /// What is left out.
  let skipped: SublayerSet
  /// Says whether to give up; `nil` where nobody may.
  var stop: PassStop?

  var shape: ModelShape { model.shape }
  var kernels: Kernels { model.kernels }
  var count: Int { tokens.count }

  /// Called by every worker at once.
  func run(_ worker: WorkerContext) {
    let width = shape.embeddingLength
    for node in worker.share(of: count) {
      let embedding = arena.residual.range(node * width, width)
      model.weights.embed(tokens[node], into: embedding)
      if shape.embeddingScale != 1 { kernels.scale(embedding, by: shape.embeddingScale) }
    }
    for (index, layer) in model.weights.layers.enumerated() {
      let attends = !skipped.skipsAttention(layer: index)
      let feedsForward = !skipped.skipsFeedForward(layer: index)
      // A layer that is left out has no barriers, and nothing to give up.
      guard attends || feedsForward else { continue }
      if worker.index == 0 { stop?.ask(before: index) }
      if attends { attend(layer, index: index, worker) }
      if feedsForward {
        feedForward(layer, hasUpdate: attends, worker)
      } else {
        for node in worker.share(of: count) { addAttention(layer, node: node) }
      }
      if let stop, stop.ends(after: index) { return }
    }
    computeLogits(worker)
  }

  private func attend(_ layer: LayerWeights, index: Int, _ worker: WorkerContext) {
    let width = shape.embeddingLength
    let queryLength = shape.queryLength
    let keyValueLength = shape.keyValueLength
    let stride = queryLength + 2 * keyValueLength
    for node in worker.share(of: count) {
      let input = arena.normed.range(node * width, width)
      kernels.rmsNorm(
        arena.residual.range(node * width, width), weight: layer.attentionNorm,
        epsilon: shape.normEpsilon, out: input)
    }
    worker.barrier()
    fillTiles(arena.normed, cols: width, columnCount: count, for: layer.queryKeyValue, worker)
    worker.barrier()
    multiply(
      layer.queryKeyValue, input: arena.normed, columnCount: count, out: arena.queryKeyValue,
      worker)
    worker.barrier()
    placeHeads(layer, index: index, stride: stride, worker)
    worker.barrier()
    attendHeads(
      layer: index, stride: stride,
      setting: AttentionSetting(scale: shape.attentionScale, softCap: shape.attentionSoftCap),
      worker)
    worker.barrier()
    fillTiles(
      arena.attended, cols: queryLength, columnCount: count, for: layer.attentionOutput, worker)
    worker.barrier()
    multiply(
      layer.attentionOutput, input: arena.attended, columnCount: count, out: arena.update, worker)
    worker.barrier()
  }

  /// Readies queries, keys and values, rows of `stride`, and caches the latter two.
  ///
  /// Workers share heads rather than nodes: the keys of 16 nodes stand in the same cache lines, and
  /// writing to these by turns took two threads longer than one. Attention is cut alike.
  private func placeHeads(_ layer: LayerWeights, index: Int, stride: Int, _ worker: WorkerContext) {
    let share = worker.share(of: 2 * store.layout.headCount * count)
    guard !share.isEmpty else { return }
    let parts = share.lowerBound / count...(share.upperBound - 1) / count
    for node in 0..<count {
      let row = arena.queryKeyValue.range(node * stride, stride)
      for part in parts where share.contains(part * count + node) {
        // Queries and values of a head take about as long as its keys.
        if part.isMultiple(of: 2) {
          placeKey(layer, index: index, row: row, node: node, head: part / 2)
        } else {
          placeValue(layer, index: index, row: row, node: node, head: part / 2)
        }
      }
    }
  }

  private func placeKey(
    _ layer: LayerWeights, index: Int, row: MemoryView<Float>, node: Int, head: Int
  ) {
    let first = shape.headCount + head
    let key = row.range(first * shape.headLength, shape.headLength)
    ready(key, from: first, norm: layer.keyNorm, layer, index: index, node: node)
    let place = plan.cached(node: node)
    kernels.storeKey(
      key, layout: store.layout, to: store.key(layer: index, head: head, block: place.block),
      lane: place.lane)
  }

  /// Also readies the queries that see the head's values.
  private func placeValue(
    _ layer: LayerWeights, index: Int, row: MemoryView<Float>, node: Int, head: Int
  ) {
    let length = shape.headLength
    let group = shape.headCount / store.layout.headCount
    let queries = row.range(head * group * length, group * length)
    ready(queries, from: head * group, norm: layer.queryNorm, layer, index: index, node: node)
    let first = shape.headCount + store.layout.headCount + head
    let value = row.range(first * length, length)
    addBias(layer, to: value, from: first)
    let place = plan.cached(node: node)
    kernels.storeValue(
      value, layout: store.layout, to: store.value(layer: index, head: head, block: place.block),
      lane: place.lane)
  }

  /// Biases, normalises and rotates heads that stand side by side, the first of which is head
  /// `first` of the row.
  private func ready(
    _ heads: MemoryView<Float>, from first: Int, norm: MemoryView<Float>?, _ layer: LayerWeights,
    index: Int, node: Int
  ) {
    addBias(layer, to: heads, from: first)
    if let norm {
      for start in stride(from: 0, to: heads.count, by: shape.headLength) {
        let values = heads.range(start, shape.headLength)
        kernels.rmsNorm(values, weight: norm, epsilon: shape.normEpsilon, out: values)
      }
    }
    rotate(heads, node: node, layer: index)
  }

  private func addBias(_ layer: LayerWeights, to heads: MemoryView<Float>, from first: Int) {
    guard let bias = layer.queryKeyValueBias else { return }
    kernels.add(bias.range(first * shape.headLength, heads.count), to: heads)
  }

  private func rotate(_ heads: MemoryView<Float>, node: Int, layer: Int) {
    let table = rotary.table(hasWindow: shape.hasWindow(layer: layer))
    let cosines = table.cosines(positions[node])
    let sines = table.sines(positions[node])
    switch shape.architecture.rotaryPairing {
    case .adjacent:
      kernels.ropeAdjacent(heads, headLength: shape.headLength, cosines: cosines, sines: sines)
    case .halves:
      kernels.ropeHalves(heads, headLength: shape.headLength, cosines: cosines, sines: sines)
    }
  }

  /// Adds to the residual stream of a node what a block computed for it.
  private func addUpdate(node: Int, bias: MemoryView<Float>?, norm: MemoryView<Float>?) {
    let width = shape.embeddingLength
    let update = arena.update.range(node * width, width)
    if let bias { kernels.add(bias, to: update) }
    if let norm {
      kernels.rmsNorm(update, weight: norm, epsilon: shape.normEpsilon, out: update)
    }
    kernels.add(update, to: arena.residual.range(node * width, width))
  }

  private func addAttention(_ layer: LayerWeights, node: Int) {
    addUpdate(node: node, bias: layer.attentionOutputBias, norm: layer.postAttentionNorm)
  }

  /// `hasUpdate` says whether attention has left something to be added first.
  private func feedForward(_ layer: LayerWeights, hasUpdate: Bool, _ worker: WorkerContext) {
    let width = shape.embeddingLength
    let inner = shape.feedForwardLength
    for node in worker.share(of: count) {
      if hasUpdate { addAttention(layer, node: node) }
      let input = arena.normed.range(node * width, width)
      kernels.rmsNorm(
        arena.residual.range(node * width, width), weight: layer.feedForwardNorm,
        epsilon: shape.normEpsilon, out: input)
    }
    worker.barrier()
    fillTiles(arena.normed, cols: width, columnCount: count, for: layer.gateUp, worker)
    worker.barrier()
    multiply(
      layer.gateUp, input: arena.normed, columnCount: count, out: arena.gateUp, worker)
    worker.barrier()
    activate(layer, worker)
    fillTiles(arena.activated, cols: inner, columnCount: count, for: layer.down, worker)
    worker.barrier()
    multiply(layer.down, input: arena.activated, columnCount: count, out: arena.update, worker)
    worker.barrier()
    for node in worker.share(of: count) {
      addUpdate(node: node, bias: layer.downBias, norm: layer.postFeedForwardNorm)
    }
  }

  /// The inputs of the down product, of the blocks that this worker will put into tiles: mostly from
  /// rows that it computed itself, so that they need not come from another one's cache.
  private func activate(_ layer: LayerWeights, _ worker: WorkerContext) {
    let inner = shape.feedForwardLength
    let blocks = blockShare(cols: inner, worker)
    let start = blocks.lowerBound * 32
    let length = min(blocks.upperBound * 32, inner) - start
    guard length > 0 else { return }
    for node in 0..<count {
      let row = arena.gateUp.range(node * 2 * inner, 2 * inner)
      let (gate, up) = (row.range(start, length), row.range(inner + start, length))
      if let bias = layer.gateUpBias {
        kernels.add(bias.range(start, length), to: gate)
        kernels.add(bias.range(inner + start, length), to: up)
      }
      let out = arena.activated.range(node * inner + start, length)
      switch shape.architecture.gateActivation {
      case .silu: kernels.siluMultiply(gate: gate, up: up, out: out)
      case .gelu: kernels.geluMultiply(gate: gate, up: up, out: out)
      }
    }
  }

  private func computeLogits(_ worker: WorkerContext) {
    guard !logitNodes.isEmpty else { return }
    let width = shape.embeddingLength
    let output = model.weights.output
    // Rows move to the front, so the residual stream must be complete.
    worker.barrier()
    for row in worker.share(of: logitNodes.count) {
      let input = arena.normed.range(row * width, width)
      kernels.rmsNorm(
        arena.residual.range(logitNodes[row] * width, width), weight: model.weights.outputNorm,
        epsilon: shape.normEpsilon, out: input)
    }
    worker.barrier()
    fillTiles(arena.normed, cols: width, columnCount: logitNodes.count, for: output, worker)
    worker.barrier()
    multiply(
      output, input: arena.normed, columnCount: logitNodes.count, out: arena.logits, worker)
    guard shape.logitSoftCap > 0 else { return }
    worker.barrier()
    let share = worker.share(of: logitNodes.count * shape.vocabularyCount)
    kernels.softCap(arena.logits.range(share.lowerBound, share.count), at: shape.logitSoftCap)
  }

  // MARK: products

  /// Columns of tile `index` when `columnCount` columns are spread evenly over as few tiles as
  /// possible.
  private func tileColumns(_ index: Int, of tileCount: Int, columnCount: Int) -> Range<Int> {
    columnCount * index / tileCount..<columnCount * (index + 1) / tileCount
  }

  private func tileCount(for columnCount: Int) -> Int {
    (columnCount + kernels.tileColumnsMax - 1) / kernels.tileColumnsMax
  }

  /// The blocks of 32 elements of every vector that this worker puts into tiles.
  private func blockShare(cols: Int, _ worker: WorkerContext) -> Range<Int> {
    worker.share(of: (cols + 31) / 32)
  }

  /// Puts activation vectors, rows of `inputs`, where the products of `layers` will read them, and
  /// offers these products.
  ///
  /// Columns are interleaved there, so the workers share the blocks, not the columns: writing to
  /// the same cache lines by turns cost two threads more than the second one gained.
  private func fillTiles(
    _ inputs: MemoryView<Float>, cols: Int, columnCount: Int, for layers: LinearStack,
    _ worker: WorkerContext
  ) {
    worker.offer(layers.strandLength)
    let blocks = blockShare(cols: cols, worker)
    guard !blocks.isEmpty else { return }
    let tiles = tileCount(for: columnCount)
    for index in 0..<tiles {
      let columns = tileColumns(index, of: tiles, columnCount: columnCount)
      let tile = arena.tiles.tile(first: columns.lowerBound, count: columns.count, cols: cols)
      let input = inputs.range(columns.lowerBound * cols, columns.count * cols)
      if layers.wants(.quantized) {
        kernels.fill(tile, with: input, blocks: blocks, as: .quantized)
      }
      if layers.wants(.floats) { kernels.fill(tile, with: input, blocks: blocks, as: .floats) }
      if layers.wants(.pairs) { kernels.fill(tile, with: input, blocks: blocks, as: .pairs) }
    }
  }

  /// Multiplies the filled columns with each layer; outputs stand side by side in rows of `out`.
  private func multiply(
    _ layers: LinearStack, input: MemoryView<Float>, columnCount: Int, out: MemoryView<Float>,
    _ worker: WorkerContext
  ) {
    if worker.index == 0 {
      var offset = 0
      for index in 0..<layers.count {
        if case .dense(let matrix) = layers[index] {
          matrix.multiply(
            input, columnCount: columnCount, out: out.range(offset, out.count - offset),
            outStride: layers.rows)
        }
        offset += layers[index].rows
      }
    }
    while let part = worker.take(grain: layers.panelGrain) {
      for strand in 0..<layers.strandCount {
        let first = strand * layers.strandLength
        multiply(
          layers, panels: first + part.lowerBound..<first + part.upperBound,
          columnCount: columnCount, out: out)
      }
    }
  }

  /// The products of some panels, counted over all matrices of `layers`.
  private func multiply(
    _ layers: LinearStack, panels: Range<Int>, columnCount: Int, out: MemoryView<Float>
  ) {
    var offset = 0
    var start = 0
    for index in 0..<layers.count {
      if case .packed(let matrix) = layers[index] {
        let some = panels.clamped(to: start..<start + matrix.panelCount)
        if !some.isEmpty {
          multiply(
            matrix, panels: some.lowerBound - start..<some.upperBound - start,
            columnCount: columnCount, out: out.range(offset, out.count - offset),
            outStride: layers.rows)
        }
        start += matrix.panelCount
      }
      offset += layers[index].rows
    }
  }

  private func multiply(
    _ matrix: PackedMatrix, panels: Range<Int>, columnCount: Int, out: MemoryView<Float>,
    outStride: Int
  ) {
    let tiles = tileCount(for: columnCount)
    var first = panels.lowerBound
    while first < panels.upperBound {
      // Few enough panels that they stay in the cache while all tiles go over them.
      let last =
        tiles == 1 ? panels.upperBound : min(panels.upperBound, first + matrix.panelsPerChunk)
      for index in 0..<tiles {
        let columns = tileColumns(index, of: tiles, columnCount: columnCount)
        kernels.matmul(
          matrix, panels: first..<last,
          tile: arena.tiles.tile(
            first: columns.lowerBound, count: columns.count, cols: matrix.cols),
          out: out.range(
            columns.lowerBound * outStride, out.count - columns.lowerBound * outStride),
          outStride: outStride)
      }
      first = last
    }
  }
}

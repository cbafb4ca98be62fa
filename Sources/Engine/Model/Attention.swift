extension ForwardPass {
  /// Attention of every node, heads side by side; `stride` is the length of a row of queries, keys
  /// and values.
  func attendHeads(layer: Int, stride: Int, _ worker: WorkerContext) {
    let headLength = shape.headLength
    let group = shape.headCount / shape.keyValueHeadCount * headLength
    let keys = cacheKeys[layer]
    let values = cacheValues[layer]
    let scores = arena.scores.range(
      worker.index * arena.scoresPerWorker, arena.scoresPerWorker)
    for item in worker.share(of: count * shape.keyValueHeadCount) {
      let (node, head) = item.quotientAndRemainder(dividingBy: shape.keyValueHeadCount)
      let start = head * headLength
      let first = shape.firstVisible(from: slotLists[node].count - 1, layer: layer)
      kernels.attention(
        query: arena.queryKeyValue.range(node * stride + head * group, group),
        keys: keys.range(start, keys.count - start),
        values: values.range(start, values.count - start), rowStride: shape.keyValueLength,
        slots: slotLists[node].range(first, slotLists[node].count - first),
        headLength: headLength, scale: shape.attentionScale, softCap: shape.attentionSoftCap,
        scores: scores,
        out: arena.attended.range(node * shape.queryLength + head * group, group))
    }
  }
}

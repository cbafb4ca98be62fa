/// Room for the activations of one forward pass, allocated once.
struct ActivationArena: Sendable {
  /// Most entries of a row that can be asked for in one go.
  static let topLimit = 256
  /// The residual stream, `[node, embedding]`.
  let residual: MemoryView<Float>
  /// Normalised input of the next product, `[node, embedding]`.
  let normed: MemoryView<Float>
  /// Query, key and value side by side, `[node, query + 2 keyValue]`.
  let queryKeyValue: MemoryView<Float>
  /// Attention output, `[node, query]`.
  let attended: MemoryView<Float>
  /// Output of a product that is added to the residual stream, `[node, embedding]`.
  let update: MemoryView<Float>
  /// Gate and up side by side, `[node, 2 feedForward]`.
  let gateUp: MemoryView<Float>
  /// The activated gate, `[node, feedForward]`.
  let activated: MemoryView<Float>
  /// `[row, vocabulary]`.
  let logits: MemoryView<Float>
  let topIndices: MemoryView<UInt32>
  let topValues: MemoryView<Float>
  let tiles: ActivationTiles

  init(shape: ModelShape, batchLimit: Int, memory: inout OwnedMemory) throws(EngineError) {
    func room<Element: BitwiseCopyable>(_ type: Element.Type, _ count: Int)
      throws(EngineError) -> MemoryView<Element>
    { try memory.room(type, count, for: "activations") }
    let width = shape.embeddingLength
    residual = try room(Float.self, batchLimit * width)
    normed = try room(Float.self, batchLimit * width)
    queryKeyValue = try room(
      Float.self, batchLimit * (shape.queryLength + 2 * shape.keyValueLength))
    attended = try room(Float.self, batchLimit * shape.queryLength)
    update = try room(Float.self, batchLimit * width)
    gateUp = try room(Float.self, batchLimit * 2 * shape.feedForwardLength)
    activated = try room(Float.self, batchLimit * shape.feedForwardLength)
    logits = try room(Float.self, batchLimit * shape.vocabularyCount)
    topIndices = try room(UInt32.self, Self.topLimit)
    topValues = try room(Float.self, Self.topLimit)
    tiles = try ActivationTiles(
      columnLimit: batchLimit, colsMax: max(width, shape.queryLength, shape.feedForwardLength),
      memory: &memory)
  }
}

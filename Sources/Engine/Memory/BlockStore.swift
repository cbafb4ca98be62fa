/// The memory of the blocks, as the workers of a pass see it.
///
/// Blocks of one head of one layer stand side by side, so that attention streams through a sequence
/// whose blocks were taken one after the other. Pages are touched when they are first written.
/// - Shape: keys and values `[layer, head, block]`, each entry as `ck_cache_blocks` says.
struct BlockStore: Sendable {
  let layout: BlockLayout
  let blockCount: Int
  private let keys: MemoryView<UInt8>
  private let values: MemoryView<UInt8>

  init(layout: BlockLayout, blockCount: Int, memory: inout OwnedMemory) throws(EngineError) {
    self.layout = layout
    self.blockCount = blockCount
    let partCount = layout.layerCount * layout.headCount * blockCount
    keys = try memory.room(UInt8.self, partCount * layout.keyBytes, for: "the KV cache")
    values = try memory.room(UInt8.self, partCount * layout.valueBytes, for: "the KV cache")
  }

  /// The keys of all blocks of one head.
  func keys(layer: Int, head: Int) -> MemoryView<UInt8> {
    let size = blockCount * layout.keyBytes
    return keys.range((layer * layout.headCount + head) * size, size)
  }

  /// The values of all blocks of one head.
  func values(layer: Int, head: Int) -> MemoryView<UInt8> {
    let size = blockCount * layout.valueBytes
    return values.range((layer * layout.headCount + head) * size, size)
  }

  /// The keys of one block of one head.
  func key(layer: Int, head: Int, block: Int) -> MemoryView<UInt8> {
    keys(layer: layer, head: head).range(block * layout.keyBytes, layout.keyBytes)
  }

  /// The values of one block of one head.
  func value(layer: Int, head: Int, block: Int) -> MemoryView<UInt8> {
    values(layer: layer, head: head).range(block * layout.valueBytes, layout.valueBytes)
  }

  /// Makes block `target` equal to block `source`.
  func copyBlock(_ source: Int, to target: Int) {
    for layer in 0..<layout.layerCount {
      for head in 0..<layout.headCount {
        key(layer: layer, head: head, block: target).copy(
          from: key(layer: layer, head: head, block: source))
        value(layer: layer, head: head, block: target).copy(
          from: value(layer: layer, head: head, block: source))
      }
    }
  }

  /// Copies one position of all layers.
  func copyPosition(_ source: CachePlace, to target: CachePlace) {
    for layer in 0..<layout.layerCount {
      for head in 0..<layout.headCount {
        layout.copyKey(
          from: key(layer: layer, head: head, block: source.block), source.lane,
          to: key(layer: layer, head: head, block: target.block), target.lane)
        layout.copyValue(
          from: value(layer: layer, head: head, block: source.block), source.lane,
          to: value(layer: layer, head: head, block: target.block), target.lane)
      }
    }
  }
}

/// Where the keys and values of one token are: one of the 16 positions of a block.
struct CachePlace: BitwiseCopyable, Sendable, Equatable {
  var block: Int
  var lane: Int
}

/// Keys and values of one sequence: committed positions, and scratch rows of a token tree.
///
/// Rows ("slots") hold all layers' keys and values of one token and are found through `slots`, the
/// slot of each committed position, so accepting a path of a tree moves nothing.
/// - Shape: keys and values `[layer, slot, keyValueLength]`, `Float`.
package final class KVCache {
  private let keys: AlignedBuffer
  private let values: AlignedBuffer
  private let layerCount: Int
  private let rowLength: Int
  /// Most tokens the cache holds, scratch rows included.
  package let capacity: Int
  /// Slot of each committed position.
  private(set) var slots: [UInt32] = []
  /// Slots of the latest forward pass, in batch order; empty once committed or dropped.
  private(set) var scratch: [UInt32] = []
  private var free: [UInt32] = []
  private var used = 0

  /// Number of committed positions.
  package var committedCount: Int { slots.count }

  init(layerCount: Int, rowLength: Int, capacity: Int) throws(EngineError) {
    self.layerCount = layerCount
    self.rowLength = rowLength
    self.capacity = capacity
    let sizeBytes = layerCount * capacity * rowLength * MemoryLayout<Float>.stride
    keys = try AlignedBuffer(sizeBytes: sizeBytes, for: "the KV cache")
    values = try AlignedBuffer(sizeBytes: sizeBytes, for: "the KV cache")
    slots.reserveCapacity(capacity)
  }

  /// Makes room for a batch; the rows of the one before are dropped.
  func takeScratch(_ count: Int) throws(EngineError) {
    dropScratch()
    guard count <= capacity - slots.count else {
      throw .contextFull(used: slots.count, wanted: count, capacity: capacity)
    }
    for _ in 0..<count {
      if let slot = free.popLast() {
        scratch.append(slot)
      } else {
        scratch.append(UInt32(used))
        used += 1
      }
    }
  }

  /// Makes scratch rows the next committed positions and drops the others.
  /// - Parameter path: indices in the latest batch, each the child of the one before, the first a
  ///   child of the last committed position.
  package func commit(_ path: [Int]) {
    for index in path {
      precondition(index >= 0 && index < scratch.count, "node \(index) of \(scratch.count)")
      slots.append(scratch[index])
    }
    for (index, slot) in scratch.enumerated() where !path.contains(index) { free.append(slot) }
    scratch.removeAll(keepingCapacity: true)
  }

  /// Forgets the latest batch.
  package func dropScratch() {
    free.append(contentsOf: scratch)
    scratch.removeAll(keepingCapacity: true)
  }

  /// Drops every committed position from `end` on, and the latest batch.
  package func truncate(to end: Int) {
    precondition(end >= 0 && end <= slots.count, "truncate to \(end) of \(slots.count)")
    dropScratch()
    free.append(contentsOf: slots[end...])
    slots.removeSubrange(end...)
  }

  /// A copy of the committed positions that lives on its own.
  package func fork() throws(EngineError) -> KVCache {
    let copy = try KVCache(layerCount: layerCount, rowLength: rowLength, capacity: capacity)
    for (position, slot) in slots.enumerated() {
      for layer in 0..<layerCount {
        copy.key(layer: layer, slot: UInt32(position)).copy(from: key(layer: layer, slot: slot))
        copy.value(layer: layer, slot: UInt32(position)).copy(from: value(layer: layer, slot: slot))
      }
      copy.slots.append(UInt32(position))
    }
    copy.used = slots.count
    return copy
  }

  func key(layer: Int, slot: UInt32) -> MemoryView<Float> {
    keys.view(as: Float.self).range((layer * capacity + Int(slot)) * rowLength, rowLength)
  }

  func value(layer: Int, slot: UInt32) -> MemoryView<Float> {
    values.view(as: Float.self).range((layer * capacity + Int(slot)) * rowLength, rowLength)
  }

  /// All rows of one layer.
  func layerKeys(_ layer: Int) -> MemoryView<Float> {
    keys.view(as: Float.self).range(layer * capacity * rowLength, capacity * rowLength)
  }

  func layerValues(_ layer: Int) -> MemoryView<Float> {
    values.view(as: Float.self).range(layer * capacity * rowLength, capacity * rowLength)
  }
}

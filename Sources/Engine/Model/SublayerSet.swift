/// Attention and feed-forward blocks of a model that a pass leaves out: the residual stream goes by
/// them.
///
/// - SeeAlso: Xia et al. 2024, arXiv:2410.06916 (SWIFT), where the rest of a model drafts for it.
package struct SublayerSet: Sendable, Hashable {
  /// Bit `2 * layer` is the layer's attention, the one after it its feed-forward block.
  private var words: [UInt64] = []

  /// Nothing is left out.
  package init() {}

  /// Leaves out the sublayers with these numbers: `2 * layer` for attention, `2 * layer + 1` for the
  /// feed-forward block.
  package init(_ sublayers: some Sequence<Int>) {
    for sublayer in sublayers { insert(sublayer) }
  }

  /// Number of sublayers that are left out.
  package var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  package var isEmpty: Bool { count == 0 }

  package func contains(_ sublayer: Int) -> Bool {
    let word = sublayer >> 6
    return word < words.count && words[word] >> UInt64(sublayer & 63) & 1 == 1
  }

  package mutating func insert(_ sublayer: Int) {
    precondition(sublayer >= 0, "sublayer \(sublayer)")
    while words.count <= sublayer >> 6 { words.append(0) }
    words[sublayer >> 6] |= 1 << UInt64(sublayer & 63)
  }

  package mutating func remove(_ sublayer: Int) {
    guard contains(sublayer) else { return }
    words[sublayer >> 6] &= ~(1 << UInt64(sublayer & 63))
    // Equal sets have equal words.
    while words.last == 0 { words.removeLast() }
  }

  func skipsAttention(layer: Int) -> Bool { contains(2 * layer) }

  func skipsFeedForward(layer: Int) -> Bool { contains(2 * layer + 1) }
}

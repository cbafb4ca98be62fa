/// What a pair of neighbouring tokens becomes, and how early. A hash table with open addressing:
/// looking up pairs is nearly all that encoding does.
struct MergeTable: Sendable {
  /// Neither a rank nor a pair of tokens.
  static let none = UInt64.max

  private let mask: Int
  private let shift: UInt64
  /// Pair, then rank and result; `none` at a free place.
  private var slots: [UInt64]

  init(capacity: Int) {
    var placeBits: UInt64 = 4
    while 1 << placeBits < capacity * 2 { placeBits += 1 }
    mask = 1 << placeBits - 1
    shift = 64 - placeBits
    slots = [UInt64](repeating: Self.none, count: 2 << placeBits)
  }

  /// The pair's rank in the upper half and the merged token in the lower one, so that smaller is
  /// earlier; `none` where the pair does not merge.
  @inline(__always)
  func merge(of left: UInt32, _ right: UInt32) -> UInt64 {
    let pair = UInt64(left) << 32 | UInt64(right)
    var place = start(pair)
    while true {
      let found = slots[2 * place]
      if found == pair { return slots[2 * place + 1] }
      if found == Self.none { return Self.none }
      place = (place + 1) & mask
    }
  }

  /// Adds a merge. A pair that is there already keeps its rank, which is smaller.
  mutating func insert(_ left: UInt32, _ right: UInt32, rank: UInt32, result: UInt32) {
    let pair = UInt64(left) << 32 | UInt64(right)
    var place = start(pair)
    while slots[2 * place] != Self.none {
      if slots[2 * place] == pair { return }
      place = (place + 1) & mask
    }
    slots[2 * place] = pair
    slots[2 * place + 1] = UInt64(rank) << 32 | UInt64(result)
  }

  @inline(__always)
  private func start(_ pair: UInt64) -> Int {
    // The golden ratio spreads neighbouring pairs; its best bits are the upper ones.
    Int(truncatingIfNeeded: ((pair ^ pair >> 29) &* 0x9E37_79B9_7F4A_7C15) >> shift)
  }
}

import InferenceTypes

/// A small keyed generator for tests.
struct SmallRandom: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1 }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  mutating func unit() -> Float { Float(next() >> 40) * 0x1p-24 }
}

/// The largest logits of a row, ties by token; NaN counts as -infinity.
func topEntries(_ row: [Float], count: Int) -> [TokenLogit] {
  let entries = row.enumerated().map {
    TokenLogit(token: TokenID(UInt32($0.offset)), logit: $0.element.isNaN ? -.infinity : $0.element)
  }
  let sorted = entries.sorted {
    $0.logit > $1.logit || ($0.logit == $1.logit && $0.token < $1.token)
  }
  return Array(sorted.prefix(count))
}

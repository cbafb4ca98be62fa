/// The counter-based generator Philox4x32 with ten rounds.
///
/// - SeeAlso: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
package enum Philox4x32 {
  /// Four random words: a pure function of key and counter.
  @inline(__always)
  package static func block(
    key: UInt64, counter: (UInt32, UInt32, UInt32, UInt32)
  ) -> SIMD4<UInt32> {
    var (c0, c1, c2, c3) = counter
    var k0 = UInt32(truncatingIfNeeded: key)
    var k1 = UInt32(truncatingIfNeeded: key >> 32)
    for _ in 0..<10 {
      let left = UInt64(c0) &* 0xd251_1f53
      let right = UInt64(c2) &* 0xcd9e_8d57
      c0 = UInt32(truncatingIfNeeded: right >> 32) ^ c1 ^ k0
      c1 = UInt32(truncatingIfNeeded: right)
      c2 = UInt32(truncatingIfNeeded: left >> 32) ^ c3 ^ k1
      c3 = UInt32(truncatingIfNeeded: left)
      k0 &+= 0x9e37_79b9
      k1 &+= 0xbb67_ae85
    }
    return SIMD4(c0, c1, c2, c3)
  }
}

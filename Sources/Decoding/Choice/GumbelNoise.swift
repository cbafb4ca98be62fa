package import InferenceTypes

/// The noise of one session: a standard Gumbel number for every position and token, the same on
/// every machine.
///
/// The law, with v the token, i the position and s the seed:
///
///     high = Philox4x32(key s, counter (v / 4, i, 5, 0))[v % 4]
///     low  = Philox4x32(key s, counter (v / 4, i, 5, 1))[v % 4]
///     k    = high · 2^20 + low / 2^12            (52 bits)
///     u    = (k + 1/2) / 2^52                    (never 0 or 1, exact in a Double)
///     g    = -ln(-ln u)                          (between -3.61 and 36.74)
///
/// `high` alone bounds g from above, so that one block answers for four tokens unless one of them
/// can still win.
package struct GumbelNoise: Sendable, Equatable {
  /// No value of the noise is larger.
  package static let maximum = 36.75
  /// What the noise uses of the generator's third counter word.
  private static let stream: UInt32 = 5

  package let seed: UInt64

  package init(seed: UInt64) { self.seed = seed }

  /// g of one token; `position` is the index of the chosen token in the whole sequence.
  package func value(position: Int, token: TokenID) -> Double {
    let group = token.rawValue >> 2
    let lane = Int(token.rawValue & 3)
    let high = highWords(position: position, group: group)[lane]
    return value(position: position, group: group, lane: lane, high: high)
  }

  /// The high words of the tokens `4 * group ..< 4 * group + 4`.
  @inline(__always)
  func highWords(position: Int, group: UInt32) -> SIMD4<UInt32> {
    Philox4x32.block(
      key: seed, counter: (group, UInt32(truncatingIfNeeded: position), Self.stream, 0))
  }

  /// g of one token whose high word is known.
  func value(position: Int, group: UInt32, lane: Int, high: UInt32) -> Double {
    let low = Philox4x32.block(
      key: seed, counter: (group, UInt32(truncatingIfNeeded: position), Self.stream, 1))[lane]
    let k = UInt64(high) << 20 | UInt64(low >> 12)
    let u = (Double(k) + 0.5) * 0x1p-52
    return -ExactMath.log(-ExactMath.log(u))
  }

  /// At least g of every token whose high word is at most `high`.
  ///
  /// From -ln u >= 1 - u follows g <= -ln(1 - u), and 1 - u is more than the complement of `high`.
  @inline(__always)
  static func bound(high: UInt32) -> Double {
    let complement = ~high
    guard complement > 0 else { return maximum }
    return Double(complement.leadingZeroBitCount + 1) * 0.693_147_180_6
  }
}

/// Exponential and logarithm with the same bits on every platform: only additions,
/// multiplications and divisions of `Double`, in a fixed order. Relative error below 1e-14.
package enum ExactMath {
  /// High part of ln 2: its product with a small integer is exact.
  private static let ln2High = 0x1.62e42feep-1
  /// ln 2 minus ``ln2High``.
  private static let ln2Low = 0x1.a39ef35793c76p-33
  private static let log2E = 0x1.71547652b82fep0
  /// Adding and subtracting it rounds a small number to an integer.
  private static let roundingMagic = 0x1.8p52

  /// e to the power of `x`: 0 below -745, infinity above 709.7, NaN for NaN.
  @inline(__always)
  package static func exp(_ x: Double) -> Double {
    guard x > -745 else { return x.isNaN ? x : 0 }
    guard x < 709.7 else { return x.isNaN ? x : .infinity }
    let power = (x * log2E + roundingMagic) - roundingMagic
    let r = (x - power * ln2High) - power * ln2Low
    // Taylor series to the 13th power: |r| <= 0.35, so what is left out is below 1e-17.
    var sum = 1.0 / 6_227_020_800
    sum = sum * r + 1.0 / 479_001_600
    sum = sum * r + 1.0 / 39_916_800
    sum = sum * r + 1.0 / 3_628_800
    sum = sum * r + 1.0 / 362_880
    sum = sum * r + 1.0 / 40_320
    sum = sum * r + 1.0 / 5_040
    sum = sum * r + 1.0 / 720
    sum = sum * r + 1.0 / 120
    sum = sum * r + 1.0 / 24
    sum = sum * r + 1.0 / 6
    sum = sum * r + 0.5
    sum = sum * r + 1
    sum = sum * r + 1
    // Two factors, so that results below the smallest normal number come out rounded once.
    let exponent = Int(power)
    let half = exponent >> 1
    return sum * powerOfTwo(half) * powerOfTwo(exponent - half)
  }

  /// Natural logarithm of `x`: -infinity for 0, NaN for negative numbers.
  package static func log(_ x: Double) -> Double {
    guard x > 0 else { return x == 0 ? -.infinity : .nan }
    guard x < .infinity else { return x }
    let isSubnormal = x < Double.leastNormalMagnitude
    let bits = (isSubnormal ? x * 0x1p54 : x).bitPattern
    var exponent = Int(bits >> 52) - 1023 - (isSubnormal ? 54 : 0)
    var mantissa = Double(bitPattern: bits & 0xf_ffff_ffff_ffff | 0x3ff0_0000_0000_0000)
    if mantissa > 1.414_213_562_373_095_1 {
      mantissa *= 0.5
      exponent += 1
    }
    // ln m = 2 artanh(s), s = (m - 1) / (m + 1); |s| <= 0.172.
    let s = (mantissa - 1) / (mantissa + 1)
    let z = s * s
    var sum = 1.0 / 23
    sum = sum * z + 1.0 / 21
    sum = sum * z + 1.0 / 19
    sum = sum * z + 1.0 / 17
    sum = sum * z + 1.0 / 15
    sum = sum * z + 1.0 / 13
    sum = sum * z + 1.0 / 11
    sum = sum * z + 1.0 / 9
    sum = sum * z + 1.0 / 7
    sum = sum * z + 1.0 / 5
    sum = sum * z + 1.0 / 3
    let scale = Double(exponent)
    return scale * ln2High + (2 * (s + s * z * sum) + scale * ln2Low)
  }

  private static func powerOfTwo(_ exponent: Int) -> Double {
    Double(bitPattern: UInt64(bitPattern: Int64(exponent + 1023)) << 52)
  }
}

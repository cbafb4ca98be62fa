import Decoding
import Foundation
import InferenceTypes
import Testing

@Suite struct PhiloxTests {
  @Test func answersAreThoseOfTheReference() {
    #expect(
      Philox4x32.block(key: 0, counter: (0, 0, 0, 0))
        == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    #expect(
      Philox4x32.block(key: .max, counter: (.max, .max, .max, .max))
        == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    #expect(
      Philox4x32.block(
        key: 0x299f_31d0_a409_3822,
        counter: (0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344))
        == SIMD4(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
  }
}

@Suite struct ExactMathTests {
  @Test func exponentialIsAccurate() {
    var x = -744.0
    while x < 709 {
      let exact = Foundation.exp(x)
      let error = abs(ExactMath.exp(x) - exact)
      #expect(error <= max(1e-14 * exact, Double.leastNonzeroMagnitude), "exp(\(x))")
      x += 0.137_31
    }
    #expect(ExactMath.exp(0) == 1)
    #expect(ExactMath.exp(-.infinity) == 0)
    #expect(ExactMath.exp(.infinity) == .infinity)
    #expect(ExactMath.exp(.nan).isNaN)
    #expect(ExactMath.exp(-800) == 0)
  }

  @Test func logarithmIsAccurateNearOneToo() {
    for exponent in -1074...1023 {
      for fraction in [1.0, 1.1, 1.41, 1.42, 1.75, 1.999_999] {
        let x = fraction * Foundation.pow(2, Double(exponent))
        let exact = Foundation.log(x)
        #expect(abs(ExactMath.log(x) - exact) <= 1e-14 * abs(exact), "log(\(x))")
      }
    }
    for power in 1...53 {
      let small = Foundation.pow(2, -Double(power))
      #expect(abs(ExactMath.log(1 - small) - log1p(-small)) <= 1e-14 * abs(log1p(-small)))
      #expect(
        abs(ExactMath.log(1 + small) - log1p(small)) <= 1e-14 * abs(log1p(small)) || power == 53)
    }
    #expect(ExactMath.log(0) == -.infinity)
    #expect(ExactMath.log(-1).isNaN)
    #expect(ExactMath.log(1) == 0)
  }
}

@Suite struct GumbelNoiseTests {
  @Test func noiseIsAFunctionOfSeedPositionAndToken() {
    let noise = GumbelNoise(seed: 42)
    #expect(
      noise.value(position: 3, token: 7) == GumbelNoise(seed: 42).value(position: 3, token: 7))
    let values = [
      noise.value(position: 3, token: 7), noise.value(position: 3, token: 6),
      noise.value(position: 4, token: 7), GumbelNoise(seed: 43).value(position: 3, token: 7),
      noise.value(position: 3, token: 11),
    ]
    #expect(Set(values).count == values.count)
  }

  @Test func meanAndVarianceAreThoseOfTheGumbelLaw() {
    let noise = GumbelNoise(seed: 1)
    var sum = 0.0
    var squares = 0.0
    let count = 40_000
    for index in 0..<count {
      let value = noise.value(position: index / 100, token: TokenID(UInt32(index % 100)))
      #expect(value > -3.7 && value < GumbelNoise.maximum)
      sum += value
      squares += value * value
    }
    let mean = sum / Double(count)
    #expect(abs(mean - 0.577_216) < 0.02)
    #expect(abs(squares / Double(count) - mean * mean - 1.644_93) < 0.06)
  }
}

import Decoding

/// A small keyed generator (SplitMix64): one seed, one sequence, on every machine.
package struct SimulationRandom: RandomNumberGenerator, Sendable, Equatable {
  private var state: UInt64

  package init(_ seed: UInt64) { state = mixed(seed ^ 0x51_1b57_2ea3_0d1c) }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    return mixed(state)
  }

  /// A number from 0 to below `bound`, which is positive.
  package mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  /// A number from 0 to below 1.
  package mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// A time from zero to below `bound`; zero where `bound` is not positive.
  mutating func time(below bound: SimulationTime) -> SimulationTime {
    bound > 0 ? SimulationTime(next() % UInt64(bound)) : 0
  }

  /// An exponentially distributed number of this mean: the gaps of a Poisson process.
  mutating func exponential(mean: Double) -> Double { -mean * ExactMath.log(1 - unit()) }
}

/// Nanoseconds of virtual time since the beginning.
package typealias SimulationTime = Int64

/// Every bit of the result depends on every bit of `value`.
@inline(__always)
func mixed(_ value: UInt64) -> UInt64 {
  var z = value &+ 0x9e37_79b9_7f4a_7c15
  z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
  z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
  return z ^ z >> 31
}

extension Duration {
  /// The whole duration in virtual time.
  var simulated: SimulationTime {
    components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000
  }

  /// - Parameter time: virtual time.
  init(simulated time: SimulationTime) { self = .nanoseconds(time) }
}

import InferenceTypes

/// Search for the token with the largest `logit / temperature + noise`.
struct PerturbedMaximum {
  let noise: GumbelNoise
  let position: Int
  let inverseTemperature: Double
  /// Largest logit of the row; needed for shares only.
  private(set) var maximum: Float = -.infinity
  /// Tokens with a smaller share of the largest probability do not count (min-p).
  private var minimumShare = 0.0
  /// At most the smallest logit that has this share.
  private var floor = -Double.infinity
  private(set) var token: TokenID = 0
  private var best = -Double.infinity

  init(noise: GumbelNoise, position: Int, inverseTemperature: Double) {
    self.noise = noise
    self.position = position
    self.inverseTemperature = inverseTemperature
  }

  /// Turns min-p on for a row with this largest logit.
  mutating func truncate(maximum: Float, minimumShare: Double) {
    self.maximum = maximum
    self.minimumShare = minimumShare
    floor = logit(ofShare: minimumShare)
  }

  /// Probability of a token with this logit as a share of the largest one.
  func share(_ logit: Float) -> Double {
    guard logit > -.infinity else { return 0 }
    guard logit < maximum else { return 1 }
    return ExactMath.exp((Double(logit) - Double(maximum)) * inverseTemperature)
  }

  /// Sum of all shares, in the order of tokens.
  func mass(_ logits: Span<Float>) -> Double {
    var sum = 0.0
    for index in logits.indices { sum += share(logits[index]) }
    return sum
  }

  /// At most the smallest logit that has this share.
  func logit(ofShare share: Double) -> Double {
    guard share > 0, maximum < .infinity else { return -.infinity }
    let distance = ExactMath.log(share) / inverseTemperature
    return Double(maximum) + distance * 1.000_001 - Double(maximum).magnitude * 1e-12
  }

  mutating func consider(_ entry: TokenLogit) {
    let group = entry.token.rawValue >> 2
    let lane = Int(entry.token.rawValue & 3)
    let high = noise.highWords(position: position, group: group)[lane]
    consider(entry.logit, group: group, lane: lane, high: high)
  }

  /// Considers every token of the row.
  ///
  /// Four tokens share one block of noise, which is not even computed where their logits are too
  /// small for the largest noise; the logarithms follow only where the bound of the noise says
  /// that the token can still win.
  mutating func scan(_ logits: Span<Float>) {
    var start = 0
    while start + 4 <= logits.count {
      let largest = Swift.max(
        larger(logits[start], logits[start + 1]), larger(logits[start + 2], logits[start + 3]))
      let needed = Double(largest) < floor ? .infinity : needed(largest)
      // NaN says nothing, so the conditions are negative.
      if !(needed > GumbelNoise.maximum) {
        let group = UInt32(truncatingIfNeeded: start >> 2)
        let words = noise.highWords(position: position, group: group)
        let highest = Swift.max(
          Swift.max(words[0], words[1]), Swift.max(words[2], words[3]))
        if !(needed > GumbelNoise.bound(high: highest)) {
          for lane in 0..<4 {
            consider(logits[start + lane], group: group, lane: lane, high: words[lane])
          }
        }
      }
      start += 4
    }
    for index in start..<logits.count {
      consider(
        TokenLogit(token: TokenID(UInt32(truncatingIfNeeded: index)), logit: logits[index]))
    }
  }

  /// Noise that a token with this logit needs to reach the best one, less than the exact number by
  /// more than any rounding. NaN where nothing can be said.
  private func needed(_ logit: Float) -> Double {
    best - Double(logit) * inverseTemperature - 1e-6 - best.magnitude * 1e-14
  }

  private mutating func consider(_ logit: Float, group: UInt32, lane: Int, high: UInt32) {
    guard logit > -.infinity, Double(logit) >= floor else { return }
    let needed = needed(logit)
    if needed > GumbelNoise.bound(high: high) { return }
    if minimumShare > 0 && share(logit) < minimumShare { return }
    let score =
      Double(logit) * inverseTemperature
      + noise.value(position: position, group: group, lane: lane, high: high)
    let token = TokenID(group << 2 | UInt32(truncatingIfNeeded: lane))
    if score > best || (score == best && token < self.token) {
      best = score
      self.token = token
    }
  }
}

/// The larger of two numbers; NaN counts as -infinity.
@inline(__always)
private func larger(_ left: Float, _ right: Float) -> Float {
  let first = left > -.infinity ? left : -.infinity
  return right > first ? right : first
}

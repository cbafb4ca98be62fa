/// How fast the pairs of a head turn from one position to the next.
package struct RotarySettings: Sendable, Equatable {
  /// How a model was stretched to more positions than it was first trained on.
  package enum Scaling: Sendable, Equatable {
    case none
    /// All pairs turn `factor` times slower.
    case linear(factor: Double)
    /// Pairs that turn at least `fastTurns` times in `originalLength` positions stay, those that
    /// turn at most `slowTurns` times are slowed by `factor`, and between them both are mixed.
    /// - SeeAlso: YaRN, Peng et al. 2023, arXiv:2309.00071.
    case yarn(factor: Double, originalLength: Int, fastTurns: Double, slowTurns: Double)
  }

  /// Pair i of n turns by base^(-i / n) radians.
  let base: Double
  let scaling: Scaling
  /// What cosines and sines are multiplied by.
  let magnitude: Double

  static let supportedScalings = ["none", "linear", "yarn", "longrope (phi3)"]

  /// How fast each pair turns.
  ///
  /// - Parameters:
  ///   - dimensionCount: elements of a head that are rotated, twice the number of pairs.
  ///   - divisors: what each frequency is divided by first; one per pair, or none at all.
  /// - Returns: radians per position, one for each pair.
  func frequencies(dimensionCount: Int, divisors: [Float]) -> [Double] {
    precondition(divisors.isEmpty || divisors.count == dimensionCount / 2)
    var turn = RotaryTable.frequencies(dimensionCount: dimensionCount, base: base)
    for (pair, divisor) in divisors.enumerated() { turn[pair] /= Double(divisor) }
    switch scaling {
    case .none: return turn
    case .linear(let factor): return turn.map { $0 / factor }
    case .yarn(let factor, let originalLength, let fastTurns, let slowTurns):
      /// The pair, as a real number, that turns so many times in `originalLength` positions.
      func pair(turning turns: Double) -> Double {
        let length = Double(originalLength) / (turns * 2 * .pi)
        return Double(dimensionCount) * RotaryTable.logarithm(length)
          / (2 * RotaryTable.logarithm(base))
      }
      let low = max(0, pair(turning: fastTurns).rounded(.down))
      let high = min(Double(dimensionCount - 1), pair(turning: slowTurns).rounded(.up))
      return turn.enumerated().map { pair, turn in
        let ramp = min(1, max(0, (Double(pair) - low) / max(0.001, high - low)))
        return turn / factor * ramp + turn * (1 - ramp)
      }
    }
  }
}

extension RotarySettings {
  /// The settings of all layers that have none of their own.
  init(reader: ShapeReader, originalLength: Int) throws(EngineError) {
    base = try reader.rotaryBase("rope.freq_base", default: 10_000)
    // Files of 2023 have the second key, and none for the type.
    let factorKey = reader.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear"
    // Zero is written for a factor that is not set.
    let isUnset = try reader.real(factorKey, in: 0...65_536, default: 0) == 0
    let factor = isUnset ? 1 : Double(try reader.real(factorKey, in: 0.01...65_536))
    let type = try reader.text(
      "rope.scaling.type", default: reader.has(factorKey) ? "linear" : "none")
    var magnitude = Double(try reader.real("rope.scaling.attn_factor", in: 0.01...100, default: 1))
    switch type {
    case "none": scaling = .none
    case "linear": scaling = factor == 1 ? .none : .linear(factor: factor)
    case "longrope" where reader.prefix == Architecture.phi3.rawValue: scaling = .none
    case "yarn":
      guard factor >= 1 else {
        throw .unsupportedSetting(
          key: reader.key(factorKey), value: "\(factor)", supported: "1 or more with yarn")
      }
      try reader.requireNeutral("rope.scaling.yarn_ext_factor", [1, -1])
      try reader.requireNeutral("rope.scaling.yarn_attn_factor", [1])
      try reader.requireNeutral("rope.scaling.yarn_log_multiplier", [0])
      scaling = .yarn(
        factor: factor, originalLength: originalLength,
        fastTurns: Double(
          try reader.real("rope.scaling.yarn_beta_fast", in: 0.01...10_000, default: 32)),
        slowTurns: Double(
          try reader.real("rope.scaling.yarn_beta_slow", in: 0.01...10_000, default: 1)))
      magnitude *= 0.1 * RotaryTable.logarithm(factor) + 1
    default:
      throw .unsupportedSetting(
        key: reader.key("rope.scaling.type"), value: type,
        supported: Self.supportedScalings.joined(separator: ", "))
    }
    self.magnitude = magnitude
  }

  /// Settings without scaling.
  init(base: Double) {
    self.base = base
    scaling = .none
    magnitude = 1
  }
}

extension ShapeReader {
  func rotaryBase(_ name: String, default fallback: Float) throws(EngineError) -> Double {
    Double(try real(name, in: 1.001...1e12, default: fallback))
  }
}

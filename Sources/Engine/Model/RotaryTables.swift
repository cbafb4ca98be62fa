/// What a file divides the rotary frequencies by, one number for each pair.
enum RotaryDivisors: Sendable {
  case none
  /// Llama 3.1 and later.
  case fixed([Float])
  /// One list for contexts up to `limit` positions and one for longer ones.
  /// - SeeAlso: LongRoPE, Ding et al. 2024, arXiv:2402.13753.
  case byContext(short: [Float], long: [Float], limit: Int)

  /// The list for contexts of this length.
  func list(contextLength: Int) -> [Float] {
    switch self {
    case .none: []
    case .fixed(let divisors): divisors
    case .byContext(let short, let long, let limit): contextLength > limit ? long : short
    }
  }
}

/// The rotary tables of all layers.
struct RotaryTables: Sendable {
  private let common: RotaryTable
  /// Of the layers with a window, where they have settings of their own.
  private let windowed: RotaryTable?

  init(model: Model, positionCount: Int, memory: inout OwnedMemory) throws(EngineError) {
    let shape = model.shape
    let length = shape.rotaryLength
    let divisors = model.weights.rotaryDivisors.list(contextLength: positionCount)
    common = try RotaryTable(
      positionCount: positionCount,
      frequencies: shape.rotary.frequencies(dimensionCount: length, divisors: divisors),
      magnitude: shape.rotary.magnitude, memory: &memory)
    guard let settings = shape.windowRotary else {
      windowed = nil
      return
    }
    windowed = try RotaryTable(
      positionCount: positionCount,
      frequencies: settings.frequencies(dimensionCount: length, divisors: []),
      magnitude: settings.magnitude, memory: &memory)
  }

  func table(hasWindow: Bool) -> RotaryTable { hasWindow ? windowed ?? common : common }
}

import Decoding
import InferenceTypes

/// Takes the decisions that a script tells it and notes how probable they were: running something
/// with every script gives its exact law.
struct EnumeratingChooser: VerifyChooser {
  private let script: [Int]
  private var trace: [(choice: Int, count: Int)] = []
  /// Probability of all decisions so far.
  private(set) var weight = 1.0
  private var keys: Set<RandomKey> = []
  /// Whether two decisions had the same name.
  private(set) var repeatedKey: RandomKey?

  init(_ script: [Int]) { self.script = script }

  mutating func happens(_ probability: Double, _ key: RandomKey) -> Bool {
    note(key)
    guard probability > 0 else { return false }
    guard probability < 1 else { return true }
    return choose([probability, 1 - probability]) == 0
  }

  mutating func draw(_ law: TokenDistribution, _ key: RandomKey) -> TokenID {
    precondition(law.rest == 0, "draw from a law with a rest")
    note(key)
    return law.tokens[choose(law.probabilities)]
  }

  private mutating func choose(_ probabilities: [Double]) -> Int {
    let choice = trace.count < script.count ? script[trace.count] : 0
    trace.append((choice, probabilities.count))
    weight *= probabilities[choice]
    return choice
  }

  private mutating func note(_ key: RandomKey) {
    if !keys.insert(key).inserted { repeatedKey = key }
  }

  /// The script of the next outcome; empty after the last one.
  var nextScript: [Int] {
    var script = trace.map(\.choice)
    while let last = script.popLast() {
      if last + 1 < trace[script.count].count { return script + [last + 1] }
    }
    return []
  }
}

/// Runs `body` once for every sequence of decisions.
func forEachOutcome(_ body: (inout EnumeratingChooser) throws -> Void) rethrows {
  var script: [Int] = []
  repeat {
    var chooser = EnumeratingChooser(script)
    try body(&chooser)
    script = chooser.nextScript
  } while !script.isEmpty
}

/// Exact probabilities of everything that `body` returns.
func exactLaw<Outcome: Hashable>(
  _ body: (inout EnumeratingChooser) throws -> Outcome
) rethrows -> [Outcome: Double] {
  var law: [Outcome: Double] = [:]
  try forEachOutcome { chooser in
    let outcome = try body(&chooser)
    law[outcome, default: 0] += chooser.weight
  }
  return law
}

/// Exact mean of what `body` returns.
func exactMean(_ body: (inout EnumeratingChooser) throws -> Double) rethrows -> Double {
  var mean = 0.0
  try forEachOutcome { chooser in
    let value = try body(&chooser)
    mean += chooser.weight * value
  }
  return mean
}

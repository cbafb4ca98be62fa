/// The speed that a tree promises: expected tokens over time, in forward passes of the target.
enum TreeGain {
  /// Path probabilities that the children of nodes with these probabilities will have.
  static func children(of probabilities: some Sequence<Float>, _ hitRates: [Float]) -> [Float] {
    probabilities.flatMap { path in hitRates.map { path * $0 } }
  }

  /// The best speed of a verification of any number of these nodes, after drafting for `spent`.
  static func rate(
    _ probabilities: [Float], spent: Float, _ configuration: TreeDrafter.Configuration
  ) -> Float {
    let verify = configuration.costs.verify
    var expected: Float = 1
    var best = 1 / (spent + verify.cost(1))
    for (index, probability) in probabilities.sorted(by: >).enumerated() {
      expected += probability
      best = max(best, expected / (spent + verify.cost(index + 2)))
    }
    return best
  }

  /// Whether a pass of this cost over nodes with these path probabilities raises the speed, with as
  /// many more as a chain of the best guesses would need.
  static func pays(
    _ known: [Float], expanding probabilities: [Float], spent: Float, cost: Float,
    _ configuration: TreeDrafter.Configuration, _ hitRates: [Float]
  ) -> Bool {
    let bar = rate(known, spent: spent, configuration)
    var all = known + children(of: probabilities, hitRates)
    var time = spent + cost
    var path = (probabilities.first ?? 0) * (hitRates.first ?? 0)
    for _ in 0..<8 {
      if rate(all, spent: time, configuration) > bar { return true }
      // One level more, along the best path.
      all += children(of: [path], hitRates)
      path *= hitRates.first ?? 0
      time += configuration.costs.draft(1)
    }
    return false
  }
}

/// Time of a target forward pass by its number of tokens, relative to one token.
package struct VerifyCosts: Sendable, Equatable {
  /// `[n - 1]` is the cost of n tokens; the first is 1, none is smaller than the one before.
  package let relative: [Float]
  /// What each token adds for each position it attends to, in passes over one token without any.
  package let attention: Float

  /// What is assumed before anything was measured: 4.5% of a pass for each further token.
  package static let assumed = VerifyCosts(relative: (0..<32).map { 1 + 0.045 * Float($0) })

  /// - Parameters:
  ///   - relative: measured times for 1, 2, 3, … tokens in any unit. Each is raised to the largest
  ///     before it, and what is not a positive number is ignored; empty means free of cost.
  ///   - attention: see ``attention``; what is not a positive number counts as nothing.
  package init(relative: [Float], attention: Float = 0) {
    self.attention = attention > 0 && attention < .infinity ? attention : 0
    var smoothed: [Float] = []
    var unit: Float = 0
    for time in relative {
      let isUsable = time > 0 && time < .infinity
      if unit == 0 {
        unit = isUsable ? time : 0
        smoothed.append(1)
      } else {
        let last = smoothed.last ?? 1
        smoothed.append(isUsable ? max(last, time / unit) : last)
      }
    }
    self.relative = smoothed.isEmpty ? [1] : smoothed
  }

  /// The costs where so many positions are attended to.
  package func at(context: Int) -> VerifyCosts {
    guard attention > 0, context > 0 else { return self }
    let share = attention * Float(context)
    return VerifyCosts(
      relative: relative.enumerated().map { $1 + Float($0 + 1) * share }, attention: 0)
  }

  /// Cost of a pass over `count` tokens, at least one; beyond the table it grows with the mean
  /// slope of the table.
  package func cost(_ count: Int) -> Float {
    precondition(count > 0, "\(count) tokens")
    if count <= relative.count { return relative[count - 1] }
    let last = relative[relative.count - 1]
    let slope = (last - 1) / Float(max(1, relative.count - 1))
    return last + slope * Float(count - relative.count)
  }

  /// Cost of a pass over `count` tokens that attend to so many positions altogether.
  package func cost(_ count: Int, attending positions: Int) -> Float {
    cost(count) + attention * Float(positions)
  }
}

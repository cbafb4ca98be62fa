/// The speed that a tree promises: expected tokens over time, in forward passes of the target.
enum TreeGain {
  /// Path probabilities that the children of nodes with these probabilities will have.
  static func children(of probabilities: some Sequence<Float>, _ hitRates: [Float]) -> [Float] {
    probabilities.flatMap { path in hitRates.map { path * $0 } }
  }

  /// The best speed of a verification of any number of these nodes, after drafting for `spent`.
  static func rate(
    _ probabilities: [Float], spent: Float, _ costs: DraftCosts
  ) -> Float {
    let spent = spent + costs.round
    let verify = costs.verify
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
    _ costs: DraftCosts, _ hitRates: [Float]
  ) -> Bool {
    let bar = rate(known, spent: spent, costs)
    var all = known + children(of: probabilities, hitRates)
    var time = spent + cost
    var path = (probabilities.first ?? 0) * (hitRates.first ?? 0)
    for _ in 0..<8 {
      if rate(all, spent: time, costs) > bar { return true }
      // One level more, along the best path.
      all += children(of: [path], hitRates)
      path *= hitRates.first ?? 0
      time += costs.draft(1)
    }
    return false
  }
}

extension TreeDrafter {
  /// Paths that are less probable are not continued while the target verifies, nor foreseen.
  static let growthFloor: Float = 0.02
  /// Truths at evaluated nodes after which the hit rates are believed.
  private static let trialCount = 8

  /// How often the first, second, … guess comes true.
  private var hitRates: [Float] {
    (0..<min(configuration.session.width, DraftAcceptance.rankCount)).map {
      Float(acceptance.rate(rank: $0))
    }
  }

  /// Cost of reading the truth up to there; that of the prompt is not held against the drafts.
  func readingCost(to end: Int) -> Float {
    let count = end - max(cachedCount, configuration.session.truth.count)
    return count > 0 ? costs.draft(count) : 0
  }

  /// Whether truth is to be read now.
  func mayRead(to end: Int) -> Bool {
    let cost = readingCost(to: end)
    guard !configuration.runsAhead, cost > 0 else { return true }
    guard purse.canAfford(cost) else { return false }
    // What seems not to pay is tried at first, and from time to time: the model may be better.
    return purse.mayProbe || acceptance.sampleCount < Self.trialCount
      || TreeGain.pays([], expanding: [1], spent: spent, cost: cost, costs, hitRates)
  }

  /// What a pass costs over truth and so many nodes below it.
  func passCost(width: Int, unreadCount: Int) -> Float {
    guard nodes[0].row < 0 else { return costs.draft(width) }
    // The first of the nodes is the last token of the truth.
    let read = unreadCount + 1
    return readingCost(to: cachedCount + read) + costs.draft(unreadCount + width)
      - costs.draft(read)
  }

  /// How many of the nodes, most probable first, to evaluate in one pass, which reads so much truth
  /// besides; 0 for none.
  func levelWidth(_ probabilities: [Float], unreadCount: Int) -> Int {
    guard configuration.runsAhead else {
      let known = nodes.dropFirst().map(\.pathProbability)
      // Truth is read in any case.
      let isReading = nodes[0].row < 0
      var best = isReading ? 1 : 0
      var bestRate = isReading ? 0 : TreeGain.rate(known, spent: spent, costs)
      for width in 1...probabilities.count {
        let cost = passCost(width: width, unreadCount: unreadCount)
        guard purse.canAfford(cost) else { break }
        let gained = TreeGain.children(of: probabilities.prefix(width), hitRates)
        let rate = TreeGain.rate(known + gained, spent: spent + cost, costs)
        if rate > bestRate {
          bestRate = rate
          best = width
        }
      }
      return best
    }
    guard probabilities[0] >= Self.growthFloor else { return 0 }
    var best = 0
    var bestRate: Float = 0
    var sum: Float = 0
    for width in 1...probabilities.count where probabilities[width - 1] >= Self.growthFloor {
      sum += probabilities[width - 1]
      let rate = sum / costs.draft.cost(unreadCount + width)
      if rate > bestRate {
        bestRate = rate
        best = width
      }
    }
    return best
  }
}

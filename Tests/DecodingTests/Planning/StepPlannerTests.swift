import Decoding
import InferenceTypes
import Testing

/// Guesses of one session: path probabilities in the order in which its tree would offer them.
private struct Offers {
  var probabilities: [Float] = []
  var context = 0
  var balance: Float = 100
  var limit = 64
}

/// Plans a step over sessions whose trees offer these guesses.
private func plan(
  _ sessions: [Offers], costs: VerifyCosts, limit: Int = 128, prefillCount: Int = 0
) -> StepPlanner.Plan {
  var planner = StepPlanner(
    costs: costs, sessionCount: sessions.count, limit: limit, prefillCount: prefillCount)
  for session in sessions {
    planner.add(
      context: session.context, balance: session.balance, limit: session.limit,
      best: session.probabilities.first)
  }
  var taken = [Int](repeating: 0, count: sessions.count)
  while let index = planner.next() {
    taken[index] += 1
    let rest = sessions[index].probabilities.dropFirst(taken[index])
    planner.enter(index, best: rest.first)
  }
  return planner.plan()
}

/// The best step by trying every number of nodes of every session.
private func bestGoodput(_ sessions: [Offers], costs: VerifyCosts, limit: Int) -> Float {
  var best: Float = 0
  func search(_ index: Int, _ count: Int, _ positions: Int, _ expected: Float) {
    guard count <= limit else { return }
    guard index < sessions.count else {
      best = max(best, expected / costs.cost(count, attending: positions))
      return
    }
    var sum = expected + 1
    for taken in 0...sessions[index].probabilities.count {
      if taken > 0 { sum += sessions[index].probabilities[taken - 1] }
      search(
        index + 1, count + taken + 1, positions + (taken + 1) * sessions[index].context, sum)
    }
  }
  search(0, 0, 0, 0)
  return best
}

@Suite struct StepPlannerTests {
  private let linear = VerifyCosts(relative: (0..<128).map { 1 + 0.06 * Float($0) })
  /// Almost free up to 8 rows, then as in the tables of this project.
  private let stepped = VerifyCosts(
    relative: (1...128).map { $0 <= 8 ? 1 + 0.01 * Float($0) : 1 + 0.075 * Float($0 - 7) })

  @Test func everySessionHasItsRoot() {
    let plan = plan([Offers(), Offers(), Offers()], costs: linear)
    #expect(plan.counts == [1, 1, 1])
    #expect(plan.expectedCount == 3 && plan.rowCount == 3)
    #expect(plan.prices == [0, 0, 0])
  }

  @Test func theMostProbableGuessesOfAllSessionsEnter() {
    let plan = plan(
      [Offers(probabilities: [0.9, 0.8, 0.01]), Offers(probabilities: [0.3, 0.02]), Offers()],
      costs: linear)
    #expect(plan.counts == [3, 1, 1] || plan.counts == [3, 2, 1])
    // 0.3 pays as long as 0.3 / 0.06 is above the tokens per time of the step.
    #expect(plan.counts[1] == 2)
    #expect(abs(plan.expectedCount - 5) < 0.001)
  }

  /// No other choice of prefixes brings more than the draft overhead beyond the plan.
  @Test func noOtherStepIsBetter() {
    for seed in 0..<60 as Range<UInt64> {
      var random = SmallRandom(seed)
      let sessions = (0..<3).map { _ in
        var probability: Float = 1
        return Offers(
          probabilities: (0..<5).map { _ in
            probability *= random.unit()
            return probability
          }, context: random.below(3) * 100)
      }
      let costs = VerifyCosts(
        relative: (0..<18).map { 1 + 0.07 * Float($0) }, attention: 0.0001 * Float(seed % 3))
      let plan = plan(sessions, costs: costs, limit: 18)
      let goodput =
        plan.expectedCount / costs.cost(plan.rowCount, attending: plan.positionCount)
      let best = bestGoodput(sessions, costs: costs, limit: 18)
      // Greedy order ignores that contexts cost different times: a little is left.
      #expect(goodput >= best / (1 + 0.05 / 3) * (seed % 3 == 0 ? 0.9999 : 0.99), "seed \(seed)")
    }
  }

  @Test func treesShrinkWhereManySessionsShareAPass() {
    let offers = Offers(probabilities: (0..<16).map { 0.8 / Float(1 + $0) })
    var last = Int.max
    for count in [1, 2, 4, 8, 16, 32] {
      let plan = plan(Array(repeating: offers, count: count), costs: stepped)
      let mean = plan.counts.reduce(0, +) / count
      #expect(mean <= last, "\(count) sessions")
      #expect(plan.counts.max()! - plan.counts.min()! <= 1, "equal sessions are treated alike")
      last = mean
    }
    #expect(last < plan([offers], costs: stepped).counts[0])
  }

  @Test func nobodyPaysMoreThanTheirPurse() {
    for balance in [0, 0.05, 0.125, 0.5] as [Float] {
      var sessions = [Offers](repeating: Offers(probabilities: [0.99, 0.98, 0.97, 0.96]), count: 4)
      sessions[2].balance = balance
      let plan = plan(sessions, costs: linear)
      #expect(plan.prices[2] <= balance)
      // 0.06 for each node.
      #expect(plan.counts[2] == 1 + min(4, Int(balance / 0.06)), "balance \(balance)")
      #expect(plan.counts[0] == 5)
    }
  }

  @Test func aSingleSessionMayPayWhatItsPurseSays() {
    let planner = StepPlanner(costs: stepped, sessionCount: 1, limit: 32)
    for balance in [0, 0.02, 0.12, 0.4, 1.1, 4] as [Float] {
      var purse = DraftPurse()
      purse.settle(emitted: 1 + 100)  // Full.
      #expect(
        planner.affordable(balance: purse.balance, context: 0, limit: 32)
          == purse.affordable(limit: 32, costs: stepped))
      let count = planner.affordable(balance: balance, context: 0, limit: 32)
      #expect(stepped.cost(count) - 1 <= balance + 1e-5)
      #expect(count == 32 || stepped.cost(count + 1) - 1 > balance - 1e-5)
    }
  }

  @Test func limitsHold() {
    let offers = Offers(probabilities: [Float](repeating: 0.9, count: 50), limit: 5)
    let free = VerifyCosts(relative: [])
    #expect(plan([offers, offers], costs: free).counts == [5, 5])
    #expect(plan([offers, offers], costs: free, limit: 7).counts.reduce(0, +) == 7)
    #expect(plan([offers, offers], costs: free, limit: 2).counts == [1, 1])
  }

  @Test func skippedGuessesCostNothing() {
    var planner = StepPlanner(costs: linear, sessionCount: 1, limit: 8)
    planner.add(context: 0, balance: 1, limit: 8, best: 0.9)
    #expect(planner.next() == 0)
    planner.skip(0, best: 0.8)
    #expect(planner.next() == 0)
    planner.enter(0, best: nil)
    #expect(planner.next() == nil)
    let plan = planner.plan()
    #expect(plan.counts == [2] && abs(plan.expectedCount - 1.8) < 0.001)
  }

  @Test func longContextsMakeNodesDearer() {
    let costs = VerifyCosts(relative: linear.relative, attention: 0.0005)
    let near = Offers(probabilities: [0.4, 0.3, 0.25])
    var far = near
    far.context = 2000
    let together = plan([near, far], costs: costs)
    #expect(plan([near], costs: costs).counts[0] > plan([far], costs: costs).counts[0])
    #expect(together.positionCount == far.context * together.counts[1])
  }

  @Test func promptsDoNotStallWhoDecodes() {
    let alone = StepPlanner.prefillShares(
      missing: [500], decodingCount: 0, room: 128, costs: linear)
    #expect(alone == [StepPlanner.prefillMax])
    let shares = StepPlanner.prefillShares(
      missing: [500, 3, 400], decodingCount: 4, room: 124, costs: linear)
    let total = shares.reduce(0, +)
    #expect(linear.cost(4 + total) <= 3 * linear.cost(4))
    #expect(total >= 16 && shares[1] == 3 && shares[0] > shares[2])
    let dear = VerifyCosts(relative: (0..<128).map { 1 + Float($0) })
    #expect(
      StepPlanner.prefillShares(missing: [500], decodingCount: 1, room: 127, costs: dear) == [16])
    #expect(
      StepPlanner.prefillShares(missing: [500, 9], decodingCount: 125, room: 3, costs: dear)
        == [3, 0])
    #expect(StepPlanner.prefillShares(missing: [], decodingCount: 1, room: 9, costs: dear) == [])
  }

  /// A prompt beside them leaves the sessions what they are worth: the tree is that of a pass of
  /// this size, no larger because the pass is slow anyway.
  @Test func promptsMakeNoGuessWorthMore() {
    let offers = Offers(probabilities: (1...20).map { 0.9 / Float($0) })
    let without = plan([offers, offers], costs: linear)
    let beside = plan([offers, offers], costs: linear, prefillCount: 40)
    #expect(beside.counts == without.counts)
    #expect(beside.rowCount == without.rowCount + 40)
    #expect(beside.expectedCount == without.expectedCount)
  }

  @Test func equalInputsGiveEqualPlans() {
    for seed in 0..<20 as Range<UInt64> {
      var random = SmallRandom(seed)
      let sessions = (0..<12).map { _ in
        Offers(
          probabilities: (0..<random.below(6)).map { 0.5 / Float(1 + $0) }.sorted(by: >),
          context: random.below(4) * 64, balance: random.unit())
      }
      #expect(plan(sessions, costs: stepped) == plan(sessions, costs: stepped))
    }
  }
}

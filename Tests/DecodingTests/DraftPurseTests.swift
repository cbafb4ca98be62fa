import Decoding
import Testing

/// What a session loses at worst to drafts that are never right.
@Suite struct DraftPurseTests {
  private let costs = VerifyCosts(relative: [1, 1.1, 1.15, 1.19, 1.3, 1.4, 1.6, 2, 3])

  @Test func uselessDraftsCostLittleAndAreStillTriedNowAndThen() {
    var purse = DraftPurse()
    var extra: Float = 0
    var probeCount = 0
    for step in 1...2000 {
      let count = purse.affordable(limit: 9, costs: costs)
      purse.spend(on: count, costs: costs)
      purse.settle(emitted: 1)
      extra += costs.cost(count) - 1
      probeCount += count > 1 ? 1 : 0
      #expect(extra <= 0.3 + 0.03 * Float(step) + 0.001)
    }
    #expect(probeCount > 100)
  }

  @Test func whatWasEarnedMayBeSpentWithinALimit() {
    var purse = DraftPurse()
    #expect(purse.affordable(limit: 9, costs: costs) == 5)
    for _ in 0..<100 { purse.settle(emitted: 5) }
    #expect(purse.affordable(limit: 9, costs: costs) == 9)
    #expect(purse.affordable(limit: 3, costs: costs) == 3)
    var stepCount = 0
    while purse.affordable(limit: 9, costs: costs) == 9 {
      purse.spend(on: 9, costs: costs)
      purse.settle(emitted: 1)
      stepCount += 1
    }
    #expect(stepCount <= 3, "a text that turned hard is noticed at once")
  }
}

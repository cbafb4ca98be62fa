import Simulation
import Testing

@Suite struct CapacityTests {
  private static func plan(
    rate: Double, requestCount: Int, alpha: Double = 0.8, slope: Duration = .milliseconds(1)
  ) -> CapacityPlan {
    var base = Scenario(
      times: ComputeTimes(draft: .milliseconds(5), single: .milliseconds(50), slope: slope))
    base.times.promptToken = .milliseconds(1)
    base.hitRates = [alpha]
    let load = CapacityPlan.Load(
      rate: rate, requestCount: requestCount, promptLength: 40, answerLength: 40)
    return CapacityPlan(base: base, load: load, seed: 5)
  }

  @Test func aLonelyRequestTakesWhatItsPassesTake() {
    let row = Self.plan(rate: 0.01, requestCount: 20).run(verifierCount: 1, drafterCount: 0)
    #expect(row.failedCount == 0 && row.tokensPerPass == 1)
    #expect((row.timePerToken.p50 - 0.05).magnitude < 1e-6)
    // Delays of 1 ms to the verifier and back, the prompt but for its last token, one pass.
    #expect(row.timeToFirstToken.p50 > 0.05 + 0.019 && row.timeToFirstToken.p99 < 0.05 + 0.062)
    #expect(row.drafterUtilisation == 0)
  }

  @Test func draftersShortenAnswersAndVerifiersCarryLoad() throws {
    let calm = Self.plan(rate: 0.2, requestCount: 60)
    let alone = calm.run(verifierCount: 4, drafterCount: 0)
    let helped = calm.run(verifierCount: 2, drafterCount: 2)
    #expect(helped.timePerToken.p50 < alone.timePerToken.p50 / 1.5)
    #expect(helped.tokensPerPass > 1.5)
    let busy = Self.plan(rate: 8, requestCount: 120)
    let few = busy.run(verifierCount: 1, drafterCount: 7)
    let many = busy.run(verifierCount: 4, drafterCount: 4)
    #expect(few.meanLatency > 2 * many.meanLatency)
    #expect(few.verifierUtilisation > 0.9 && many.verifierUtilisation < few.verifierUtilisation)
    #expect(CapacityPlan.best([few, many]) == many)
    #expect(busy.run(verifierCount: 4, drafterCount: 4) == many)
  }

  @Test func sessionsShareThePassesOfTheirVerifier() {
    let row = Self.plan(rate: 1000, requestCount: 8).run(verifierCount: 1, drafterCount: 0)
    #expect(row.failedCount == 0)
    // A pass over eight tokens takes 57 ms, eight passes over one take 400.
    #expect(row.timePerToken.p50 > 0.05 && row.timePerToken.p99 < 0.075)
  }

  @Test func draftsMakeRoomForOtherSessions() {
    // A node adds a quarter of a pass: worth it where the pass brings one token, too much where it
    // brings eight.
    let slope = Duration.milliseconds(12)
    let lonely = Self.plan(rate: 0.1, requestCount: 20, alpha: 0.7, slope: slope)
      .run(verifierCount: 1, drafterCount: 8)
    let busy = Self.plan(rate: 1000, requestCount: 8, alpha: 0.7, slope: slope)
      .run(verifierCount: 1, drafterCount: 8)
    #expect(lonely.tokensPerPass > 1.4)
    #expect(busy.tokensPerPass < 1.25)
    #expect(lonely.failedCount == 0 && busy.failedCount == 0)
  }

  @Test func splitsAreOfTheCluster() {
    #expect(CapacityPlan.splits(nodeCount: 1) == [1])
    #expect(CapacityPlan.splits(nodeCount: 5) == [1, 2, 3, 4, 5])
    #expect(
      CapacityPlan.splits(nodeCount: 4000) == [500, 1000, 1500, 2000, 2500, 3000, 3500, 4000])
  }

  @Test func aPlotHoldsItsCurvesAndEscapesItsWords() {
    let plot = Plot(
      title: "a < b & \"c\"", xLabel: "x",
      panels: [
        Plot.Panel(
          label: "y",
          curves: [Plot.Curve(name: "one", points: [(1, 2), (2, .nan), (3, 4.5)])]),
        Plot.Panel(label: "empty", curves: []),
      ])
    let svg = plot.svg
    #expect(svg.contains("a &lt; b &amp; &quot;c&quot;") && !svg.contains("nan"))
    #expect(svg.split(separator: "<circle").count == 3)
    #expect(svg.hasPrefix("<?xml") && svg.hasSuffix("</svg>\n"))
  }
}

import Decoding
import InferenceTypes
import Testing

/// Window, width, round length and the decision to draft at all.
@Suite struct DraftPlanningTests {
  /// Milliseconds; a step of n tokens takes `step` + `slope` · (n − 1).
  private func conditions(
    acceptance: Double, draft: Int = 5, step: Int = 50, slope: Double = 1, roundTrip: Int
  ) -> DraftConditions {
    DraftConditions(
      roundTrip: .milliseconds(roundTrip), step: .milliseconds(step),
      costs: VerifyCosts(
        relative: (0..<128).map { Float(1 + slope * Double($0) / Double(step)) }),
      draft: .milliseconds(draft), acceptance: acceptance)
  }

  /// Values worked out by hand from the formula.
  @Test func theGainOfStreamingIsTheFormulas() {
    let cases: [(DraftConditions, Double)] = [
      (conditions(acceptance: 0.9, roundTrip: 50), 50 / 17.450),
      (conditions(acceptance: 0.8, roundTrip: 20), 50 / 22.608),
      (
        conditions(acceptance: 0.95, draft: 3, step: 20, slope: 0.5, roundTrip: 100), 20 / 8.661
      ),
    ]
    for (conditions, expected) in cases {
      #expect(abs(conditions.streamedGain / expected - 1) < 1e-3, "\(conditions.streamedGain)")
    }
  }

  @Test func streamingIsNeverExpectedToCostAnything() {
    for acceptance in [0, 0.01, 0.5, 0.999, 1, Double.nan] {
      for roundTrip in [0, 1, 20, 500, 100_000] {
        for draft in [1, 49, 50, 500] {
          let gain = conditions(acceptance: acceptance, draft: draft, roundTrip: roundTrip)
            .streamedGain
          #expect(gain >= 1 && gain < 51, "\(acceptance) \(roundTrip) \(draft): \(gain)")
        }
      }
    }
  }

  @Test func aLongerRoundTripWantsALongerWindow() {
    let windows = [0, 20, 50, 100].map { conditions(acceptance: 0.95, roundTrip: $0).window }
    #expect(windows == windows.sorted())
    #expect(windows[0] >= 20 && windows[3] >= 40, "\(windows)")
    #expect(conditions(acceptance: 0.5, roundTrip: 100).window == 5, "nothing survives longer")
  }

  /// Taking turns, longer rounds pay for a longer way; the optimum is where the best of all is.
  @Test(arguments: [Pipeline.vanilla, .lockstep])
  func theRoundIsTheBestOne(pipeline: Pipeline) {
    for acceptance in [0.6, 0.8, 0.95] {
      var last = 1
      for roundTrip in [0, 20, 100] {
        let conditions = conditions(acceptance: acceptance, roundTrip: roundTrip)
        let length = conditions.roundLength(pipeline, limit: 24)
        let rates = (1...24).map { conditions.roundRate(pipeline, $0) }
        #expect(rates[length - 1] == rates.max())
        #expect(length >= last || pipeline == .lockstep, "\(acceptance), \(roundTrip)")
        last = length
      }
    }
    #expect(conditions(acceptance: 0.9, roundTrip: 0).roundLength(pipeline, limit: 1) == 1)
  }

  @Test func acceptanceFollowsTheTruth() {
    var acceptance = DraftAcceptance()
    #expect(acceptance.rate == 0.75 && acceptance.sampleCount == 0)
    for _ in 0..<300 { acceptance.learn(rank: 0) }
    #expect(acceptance.rate > 0.98 && acceptance.width(nodeCost: 0.05, limit: 4) == 1)
    for index in 0..<300 { acceptance.learn(rank: index % 2 == 0 ? 0 : index % 4 == 1 ? 1 : nil) }
    #expect(abs(acceptance.rate - 0.5) < 0.03 && abs(acceptance.rate(rank: 1) - 0.25) < 0.03)
    #expect(acceptance.width(nodeCost: 0.05, limit: 4) == 2)
    #expect(acceptance.width(nodeCost: 0.5, limit: 4) == 1)
    #expect(acceptance.width(nodeCost: 0, limit: 1) == 1)
    acceptance.learn(rank: 7)
    acceptance.learn(rank: 99)
    #expect(acceptance.sampleCount == 602)
  }

  @Test func theShortestOfTheLatestProbesCounts() {
    var estimate = RoundTripEstimate()
    #expect(estimate.value == nil)
    estimate.add(.milliseconds(-1))
    #expect(estimate.value == nil)
    for time in [40, 21, 20, 90] { estimate.add(.milliseconds(time)) }
    #expect(estimate.value == .milliseconds(20))
    // The way became longer.
    for _ in 0..<7 { estimate.add(.milliseconds(60)) }
    #expect(estimate.value == .milliseconds(60))
  }

  @Test func aDrafterTooFarAwayRestsAndTriesAgain() {
    var throttle = DraftThrottle()
    let far = conditions(acceptance: 0.5, roundTrip: 2000)
    // Not before anything is known.
    #expect(throttle.mayDraft(far, sampleCount: 0, truthCount: 100) == true)
    #expect(throttle.mayDraft(far, sampleCount: DraftThrottle.sampleMin, truthCount: 130) == false)
    let end = 130 + DraftThrottle.restLength
    #expect(throttle.state == .resting(until: end))
    #expect(throttle.mayDraft(far, sampleCount: 30, truthCount: end - 1) == false)
    #expect(throttle.mayDraft(far, sampleCount: 30, truthCount: end) == true)
    #expect(throttle.state == .probing(until: end + DraftThrottle.probeLength))
    #expect(throttle.mayDraft(far, sampleCount: 50, truthCount: end + 31) == true)
    #expect(throttle.mayDraft(far, sampleCount: 50, truthCount: end + 32) == false)
    // A faster network is seen at once, and believed after a probe.
    let near = conditions(acceptance: 0.8, roundTrip: 20)
    #expect(throttle.mayDraft(near, sampleCount: 50, truthCount: end + 40) == true)
    #expect(throttle.mayDraft(near, sampleCount: 70, truthCount: end + 100) == true)
    #expect(throttle.state == .drafting)
    // What helped in between begins with a short rest again.
    #expect(throttle.mayDraft(far, sampleCount: 90, truthCount: end + 101) == false)
    #expect(throttle.state == .resting(until: end + 101 + DraftThrottle.restLength))
  }

  @Test func draftsThatTakeNoTimeNeverRest() {
    var free = conditions(acceptance: 0.7, roundTrip: 5)
    free.draft = .zero
    #expect(free.streamedGain > 2 && free.reach == 64)
    var throttle = DraftThrottle()
    #expect(throttle.mayDraft(free, sampleCount: 100, truthCount: 100) == true)
  }

  @Test func restsDoubleUpToALongestOne() {
    var throttle = DraftThrottle()
    let far = conditions(acceptance: 0.5, roundTrip: 2000)
    var rests: [Int] = []
    var restsFrom: Int?
    for count in 0..<20_000 {
      _ = throttle.mayDraft(far, sampleCount: 50, truthCount: count)
      if case .resting(let end) = throttle.state {
        if restsFrom == nil { rests.append(end - count) }
        restsFrom = count
      } else {
        restsFrom = nil
      }
    }
    #expect(rests.prefix(7) == [192, 384, 768, 1536, 3072, 3072, 3072])
  }

  /// Short answers: each session is over before a rest is.
  @Test func aRestGoesOnInTheNextSessionAndGrows() {
    var throttle = DraftThrottle()
    let slow = conditions(acceptance: 0.5, roundTrip: 2000)
    var drafted: [Bool] = []
    for _ in 0..<100 {
      throttle = throttle.carried(from: 64, to: 0)
      var hasDrafted = false
      for count in 0..<64 {
        if throttle.mayDraft(slow, sampleCount: count, truthCount: count) { hasDrafted = true }
      }
      drafted.append(hasDrafted)
    }
    #expect(drafted[0] && !drafted[1] && drafted.contains { $0 })
    let late = drafted[50...].count { $0 }
    #expect(late > 0 && late <= 4, "\(late) of the last 50 sessions")
    // One that helps again drafts from the first token on.
    let near = conditions(acceptance: 0.8, roundTrip: 20)
    #expect(throttle.mayDraft(near, sampleCount: 64, truthCount: 64) == true)
    #expect(throttle.mayDraft(near, sampleCount: 64, truthCount: 200) == true)
    let next = throttle.carried(from: 200, to: 10)
    #expect(next.state == .drafting)
  }

  /// A text that ends in the middle of a try says nothing about it: the next one goes on with it.
  @Test func aTryGoesOnInTheNextSession() {
    var throttle = DraftThrottle()
    let slow = conditions(acceptance: 0.5, roundTrip: 2000)
    _ = throttle.mayDraft(slow, sampleCount: 50, truthCount: 0)
    let end = DraftThrottle.restLength
    #expect(throttle.mayDraft(slow, sampleCount: 50, truthCount: end) == true)
    throttle = throttle.carried(from: end + 8, to: 20)
    #expect(throttle.state == .probing(until: 20 + DraftThrottle.probeLength - 8))
    // Still at the old acceptance, it goes on until the try is over.
    #expect(throttle.mayDraft(slow, sampleCount: 50, truthCount: 20) == true)
    let near = conditions(acceptance: 0.8, roundTrip: 20)
    #expect(
      throttle.mayDraft(near, sampleCount: 60, truthCount: 20 + DraftThrottle.probeLength) == true)
    #expect(throttle.state == .drafting)
  }

  @Test func whatIsKnownOfEarlierTextsSoonGivesWay() {
    var acceptance = DraftAcceptance()
    for _ in 0..<500 { acceptance.learn(rank: nil) }
    var next = acceptance.faded
    #expect(abs(next.rate - acceptance.rate) < 1e-9 && next.rate < 0.01)
    #expect(next.sampleCount == acceptance.sampleCount)
    for _ in 0..<16 {
      acceptance.learn(rank: 0)
      next.learn(rank: 0)
    }
    #expect(next.rate > 0.6 && acceptance.rate < 0.3)
    // What was hardly tried is not blown up.
    var young = DraftAcceptance()
    #expect(young.faded == young)
    young.learn(rank: 0)
    #expect(young.faded == young)
  }

  @Test func aDrafterThatHelpsIsLeftAlone() {
    var throttle = DraftThrottle()
    let near = conditions(acceptance: 0.8, roundTrip: 100)
    for count in stride(from: 0, to: 2000, by: 3) {
      #expect(throttle.mayDraft(near, sampleCount: count, truthCount: count) == true)
    }
    #expect(throttle.state == .drafting)
  }
}

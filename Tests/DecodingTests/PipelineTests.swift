import Decoding
import InferenceTypes
import Testing

@Suite struct PipelineTests {
  private static func nodes(_ ids: ClosedRange<UInt32>) -> DraftUpdate {
    DraftUpdate(
      anchor: 5,
      nodes: ids.map {
        DraftNode(id: NodeID(rawValue: $0), parent: NodeID(rawValue: $0 - 1), token: 1, score: -1)
      })
  }

  @Test func streamingSendsWhatItHasAndNothingElse() {
    var pacer = DraftPacer(pipeline: .streamed, draftLength: 3)
    #expect(pacer.window == nil && pacer.mayDraft)
    #expect(pacer.begin(truthCount: 5) == nil)
    #expect(pacer.add(Self.nodes(1...1), growth: 1) == Self.nodes(1...1))
    #expect(pacer.add(DraftUpdate(anchor: 5, nodes: []), growth: 0) == nil)
    #expect(pacer.close() == nil && pacer.mayDraft)
  }

  @Test(arguments: [Pipeline.vanilla, .lockstep])
  func aRoundIsSentWhole(pipeline: Pipeline) {
    var pacer = DraftPacer(pipeline: pipeline, draftLength: 3)
    #expect(!pacer.mayDraft)
    let opening = pacer.begin(truthCount: 5)
    #expect(opening == (pipeline == .lockstep ? DraftUpdate(anchor: 5, nodes: []) : nil))
    #expect(pacer.add(Self.nodes(1...1), growth: 1) == nil && pacer.mayDraft)
    // Leaves beside the chain, and passes over truth alone, do not count.
    #expect(pacer.add(DraftUpdate(anchor: 5, nodes: []), growth: 0) == nil)
    #expect(pacer.add(Self.nodes(2...2), growth: 1) == nil)
    #expect(pacer.add(Self.nodes(3...3), growth: 1) == Self.nodes(1...3))
    #expect(!pacer.mayDraft && pacer.close() == nil)
    #expect(pacer.add(Self.nodes(4...4), growth: 1) == nil)
    // The next one ends early, and what was left of this one is gone.
    _ = pacer.begin(truthCount: 7)
    #expect(pacer.close() == DraftUpdate(anchor: 7, nodes: []))
  }

  @Test func aVerifierInTurnsWaitsForDraftsButNotForEver() {
    var gate = StepGate(pipeline: .vanilla, patience: .seconds(1))
    // Nobody drafts.
    #expect(gate.mayStep(at: .zero) && gate.deadline == nil)
    gate.drafterCame(at: .seconds(5))
    #expect(!gate.mayStep(at: .milliseconds(5999)) && gate.mayStep(at: .seconds(6)))
    gate.receive()
    #expect(gate.mayStep(at: .seconds(5)))
    gate.stepBegins(at: .seconds(5))
    #expect(gate.mayPublish(at: .seconds(5)))
    gate.published(at: .seconds(7))
    #expect(!gate.mayStep(at: .seconds(7)) && gate.deadline == .seconds(8))
    gate.drafterLeft()
    #expect(gate.mayStep(at: .seconds(7)))
  }

  @Test func lockstepMeetsAtTheEndOfARound() {
    var gate = StepGate(pipeline: .lockstep, patience: .seconds(1))
    gate.drafterCame(at: .zero)
    #expect(!gate.mayStep(at: .zero))
    gate.receive()  // The round opens.
    #expect(gate.mayStep(at: .zero))
    gate.stepBegins(at: .zero)
    #expect(!gate.mayPublish(at: .milliseconds(999)) && gate.mayPublish(at: .seconds(1)))
    gate.receive()  // The round's drafts.
    #expect(gate.mayPublish(at: .zero))
    gate.published(at: .milliseconds(500))
    #expect(!gate.mayStep(at: .milliseconds(600)))
    // A step without a word of the drafter does not wait for the meeting either.
    #expect(gate.mayStep(at: .milliseconds(1500)))
    gate.stepBegins(at: .milliseconds(1500))
    #expect(gate.mayPublish(at: .milliseconds(1600)))
  }

  @Test func draftsAreExpectedWhenTheirDrafterCanHaveThem() {
    func next(_ arrivals: DraftArrivals, at milliseconds: Int) -> Duration? {
      arrivals.forecast(silence: .milliseconds(200), at: .milliseconds(milliseconds))?.next
    }
    var arrivals = DraftArrivals()
    #expect(next(arrivals, at: 0) == nil)
    for time in [5, 15, 25] { arrivals.received([], liveCount: 2, at: .milliseconds(time)) }
    #expect(next(arrivals, at: 26) == .milliseconds(35))
    #expect(next(arrivals, at: 40) == .milliseconds(40), "it is late")
    #expect(next(arrivals, at: 46) == nil, "it has stopped, and when it goes on nobody knows")
    arrivals.published(contradictsDrafts: true, at: .milliseconds(50))
    #expect(next(arrivals, at: 51) == nil)
    arrivals.received([], liveCount: 0, at: .milliseconds(52))
    arrivals.received([], liveCount: 1, at: .milliseconds(90))
    #expect(next(arrivals, at: 91) == .milliseconds(100))
    // Its drafts take 40 ms to come again, whether the truth says at once that they died or they do.
    arrivals.published(contradictsDrafts: true, at: .milliseconds(100))
    #expect(next(arrivals, at: 102) == .milliseconds(140))
    arrivals.received([], liveCount: 1, at: .milliseconds(140))
    arrivals.published(contradictsDrafts: false, at: .milliseconds(150))
    arrivals.received([], liveCount: 0, at: .milliseconds(151))
    #expect(next(arrivals, at: 152) == .milliseconds(190))
    #expect(next(arrivals, at: 212) == nil, "it should have come")
    arrivals.received([], liveCount: 1, at: .milliseconds(195))
    // As far ahead as it may go, it hears of the truth first.
    arrivals.published(contradictsDrafts: false, at: .milliseconds(300))
    #expect(next(arrivals, at: 301).map { $0 >= .milliseconds(340) } == true)
    #expect(next(arrivals, at: 396) == nil, "it is silent")
    // Before anything was seen, a drafter is believed what it says of itself.
    var new = DraftArrivals(turnaround: .milliseconds(8))
    #expect(next(new, at: 0) == nil, "it has not sent anything yet")
    new.received([], liveCount: 1, at: .milliseconds(10))
    new.published(contradictsDrafts: true, at: .milliseconds(20))
    #expect(next(new, at: 21) == .milliseconds(28))
    new.received([], liveCount: 1, at: .milliseconds(50))
    new.published(contradictsDrafts: true, at: .milliseconds(60))
    #expect(next(new, at: 61) == .milliseconds(90), "what was seen counts")
  }

  @Test func messagesOfSeveralLevelsAreExpectedAgain() throws {
    func nodes(_ parents: [UInt32]) -> [DraftNode] {
      parents.enumerated().map { index, parent in
        DraftNode(
          id: NodeID(rawValue: UInt32(index + 10)), parent: NodeID(rawValue: parent), token: 1,
          score: 0)
      }
    }
    var arrivals = DraftArrivals()
    func levelCount() throws -> Double {
      try #require(arrivals.forecast(silence: .seconds(9), at: .milliseconds(2))).levelCount
    }
    arrivals.received(nodes([5, 5, 5]), liveCount: 3, at: .milliseconds(1))
    arrivals.received(nodes([5, 5, 5]), liveCount: 3, at: .milliseconds(2))
    #expect(try levelCount() == 1, "siblings are one level")
    // 10 and 11 below 5, 12 below 11, 13 below 12.
    for _ in 0..<60 {
      arrivals.received(nodes([5, 5, 11, 12]), liveCount: 1, at: .milliseconds(2))
    }
    #expect(try abs(levelCount() - 3) < 0.01)
    for _ in 0..<60 {
      arrivals.received(nodes([5, 5, 11, 12]), liveCount: 0, at: .milliseconds(2))
    }
    arrivals.received(nodes([5]), liveCount: 1, at: .milliseconds(2))
    arrivals.received(nodes([5]), liveCount: 1, at: .milliseconds(2))
    #expect(try levelCount() > 2.4, "those that died say nothing")
  }

  /// Behind its first step.
  private static var begun: DraftLinger {
    var linger = DraftLinger()
    linger.concluded(tokenCount: 1, at: .zero)
    return linger
  }

  @Test func aStepWaitsForDraftsThatAreWorthIt() {
    let step = Duration.milliseconds(100)
    func waits(
      gap: Int, value: Float, acceptance: Float = 0.8, levelCount: Double = 1,
      _ linger: DraftLinger = Self.begun
    ) -> Bool {
      var linger = linger
      let gap = Duration.milliseconds(gap)
      let now = Duration.seconds(9)
      return linger.deadline(
        DraftArrivals.Forecast(
          next: now + gap, gap: gap, turnaround: gap, levelCount: levelCount),
        value: value, acceptance: acceptance, liveCount: 0, nodeCost: 0.01, step: step, at: now)
        != nil
    }
    #expect(waits(gap: 1, value: 0.8) && waits(gap: 1, value: 0.1) && !waits(gap: 1, value: 0.01))
    #expect(waits(gap: 20, value: 0.8) && !waits(gap: 20, value: 0.2))
    #expect(!waits(gap: 80, value: 0.8), "a step brings as much")
    #expect(!waits(gap: 5, value: 0))
    #expect(!waits(gap: 1, value: 0.8, DraftLinger()), "the first token comes at once")
    // Where steps bring many tokens already, time is dearer.
    var fast = Self.begun
    for number in 1...50 { fast.concluded(tokenCount: 8, at: step * number) }
    #expect(waits(gap: 5, value: 0.3) && !waits(gap: 5, value: 0.3, fast))
    // Drafts ahead are worth less where they are soon lost.
    #expect(waits(gap: 40, value: 0.5, acceptance: 0.95))
    #expect(!waits(gap: 40, value: 0.5, acceptance: 0.6))
    // A message of several levels is worth more, each the less the more often a draft is wrong.
    #expect(!waits(gap: 20, value: 0.2) && waits(gap: 20, value: 0.2, levelCount: 2))
    #expect(!waits(gap: 40, value: 0.3, acceptance: 0.1, levelCount: 9))
  }

  @Test func waitingEndsWithinAStepAndWithBrokenWords() throws {
    let step = Duration.milliseconds(100)
    let gap = Duration.milliseconds(9)
    func deadline(_ linger: inout DraftLinger, at now: Duration, liveCount: Int) -> Duration? {
      linger.deadline(
        DraftArrivals.Forecast(next: now + gap, gap: gap, turnaround: gap), value: 0.9,
        acceptance: 0.9, liveCount: liveCount, nodeCost: 0, step: step, at: now)
    }
    var linger = Self.begun
    var now = Duration.zero
    var liveCount = 0
    while let end = deadline(&linger, at: now, liveCount: liveCount) {
      #expect(end > now && end <= step)
      now = end
      liveCount += 1
    }
    #expect(now > step / 2 && now <= step)
    linger.stepBegins(liveCount: liveCount)
    #expect(deadline(&linger, at: now, liveCount: liveCount) != nil)
    // Nothing ever comes.
    var waitCount = 0
    for number in 1...100 {
      linger.stepBegins(liveCount: liveCount)
      let now = step * (2 * number)
      if deadline(&linger, at: now, liveCount: liveCount) != nil { waitCount += 1 }
    }
    #expect(waitCount > 0 && waitCount < 25, "\(waitCount) waits")
    #expect(
      linger.deadline(
        nil, value: 1, acceptance: 1, liveCount: liveCount, nodeCost: 0, step: step, at: now) == nil
    )
  }
}

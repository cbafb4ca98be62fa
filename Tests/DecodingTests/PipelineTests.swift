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

  @Test func onlyDraftsThatComeInTimeAreExpected() {
    func isExpected(_ arrivals: DraftArrivals, at milliseconds: Int) -> Bool {
      arrivals.isExpected(
        within: .milliseconds(10), silence: .milliseconds(200), at: .milliseconds(milliseconds))
    }
    var far = DraftArrivals()
    #expect(!isExpected(far, at: 0))
    far.received(liveCount: 2, at: .milliseconds(5))
    #expect(isExpected(far, at: 6) && isExpected(far, at: 204) && !isExpected(far, at: 205))
    far.published(at: .milliseconds(50))
    far.received(liveCount: 0, at: .milliseconds(51))
    #expect(!isExpected(far, at: 52))
    far.received(liveCount: 1, at: .milliseconds(90))
    #expect(isExpected(far, at: 91))
    far.published(at: .milliseconds(100))
    far.received(liveCount: 0, at: .milliseconds(101))
    #expect(!isExpected(far, at: 102), "its drafts take 40 ms to come again")
    var near = DraftArrivals()
    for round in 1...2 {
      near.received(liveCount: 1, at: .milliseconds(round * 100))
      near.published(at: .milliseconds(round * 100 + 10))
      near.received(liveCount: 0, at: .milliseconds(round * 100 + 11))
      if round == 2 { #expect(isExpected(near, at: 212)) }
      near.received(liveCount: 1, at: .milliseconds(round * 100 + 16))
    }
  }
}

import Decoding
import Testing

/// What a session that begins waits for.
@Suite struct DrafterPatienceTests {
  private let begin = Duration.seconds(7)

  @Test func nobodyWaitsLongForANameThatDoesNotCome() {
    var patience = DrafterPatience(at: begin)
    let end = begin + DrafterPatience.namingMax
    #expect(patience.deadline(isNamed: false, hasCome: false, at: begin) == end)
    #expect(patience.deadline(isNamed: false, hasCome: false, at: end) == nil)
    // It is over for good, whoever is named then.
    #expect(patience.deadline(isNamed: true, hasCome: false, at: end) == nil)
  }

  @Test func aNamedDrafterIsWaitedForLonger() {
    var patience = DrafterPatience(at: begin)
    let named = begin + .microseconds(200)
    let end = begin + DrafterPatience.arrivalMax
    #expect(patience.deadline(isNamed: false, hasCome: false, at: begin) != nil)
    #expect(patience.deadline(isNamed: true, hasCome: false, at: named) == end)
    let late = begin + DrafterPatience.namingMax + .microseconds(1)
    #expect(patience.deadline(isNamed: true, hasCome: false, at: late) == end)
    #expect(patience.deadline(isNamed: true, hasCome: false, at: end) == nil)
  }

  @Test func nothingIsWaitedForOnceADrafterHasCome() {
    var patience = DrafterPatience(at: begin)
    #expect(patience.deadline(isNamed: true, hasCome: true, at: begin) == nil)
    // Nor when it has left again.
    #expect(patience.deadline(isNamed: true, hasCome: false, at: begin) == nil)
  }
}

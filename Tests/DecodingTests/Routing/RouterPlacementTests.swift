import Decoding
import InferenceTypes
import Testing

@Suite struct RouterPlacementTests {
  @Test func sessionsGoToTheVerifierWithTheFewestAndTiesToTheOlder() {
    var bench = RouterBench()
    bench.register(2, slots: 2)
    bench.register(1, slots: 2)
    #expect(bench.request(.a) == [.open(2, .a)])
    #expect(bench.request(.b) == [.open(1, .b)])
    #expect(bench.request(.c) == [.open(2, .c)])
    #expect(bench.request(.d) == [.open(1, .d)])
  }

  @Test func whatFindsNoSlotWaitsInOrderAndTheQueueIsBounded() {
    var configuration = RouterMachine.Configuration()
    configuration.queueCountMax = 2
    var bench = RouterBench(configuration)
    bench.register(1)
    bench.request(.a)
    #expect(bench.request(.b) == [])
    #expect(bench.request(.c) == [])
    #expect(bench.request(.d) == [.fail(.d, .overloaded(queueLimit: 2))])
    #expect(
      bench.tokens(from: 1, .a, 0, [7], ending: .stop) == [
        .deliver(.a, [7]), .finish(.a, .stop, RoutedTotals()), .open(1, .b),
      ])
    #expect(bench.machine.waitingCount == 1)
  }

  @Test func withoutAnyVerifierARequestFailsAtOnce() {
    var bench = RouterBench()
    bench.register(1, .drafter)
    #expect(bench.request(.a) == [.fail(.a, .noVerifier)])
  }

  @Test func whereAVerifierWasLostAMomentAgoARequestWaitsForAnother() {
    var bench = RouterBench()
    bench.register(1)
    bench.handle(.left(peer: 1))
    #expect(bench.request(.a) == [])
    bench.advance(.seconds(9))
    #expect(bench.register(2) == [.accept(peer: 2), .open(2, .a)])
  }

  @Test func theWaitForAVerifierHasAnEnd() {
    var bench = RouterBench()
    bench.register(1)
    bench.handle(.left(peer: 1))
    bench.request(.a)
    #expect(bench.advance(.seconds(10)) == [.fail(.a, .noVerifier)])
    #expect(bench.request(.b) == [.fail(.b, .noVerifier)])
  }

  @Test func nothingNewGoesToSuspectOrDrainingVerifiers() {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2)
    bench.advance(.milliseconds(350), alive: [2])
    #expect(bench.request(.a) == [.open(2, .a)])
    bench.handle(.heartbeat(peer: 1, isDraining: true))
    #expect(bench.request(.b) == [])
    bench.handle(.heartbeat(peer: 1, isDraining: false))
    #expect(bench.machine.sessionCount(at: 1) == 1)
  }

  @Test func aRequestForNoTokensNeedsNoWorker() {
    var bench = RouterBench()
    #expect(bench.request(.a, limit: 0) == [.finish(.a, .length, RoutedTotals())])
  }

  @Test func aDrafterIsAssignedWhenTheSessionStarts() {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2, .drafter)
    #expect(
      bench.request(.a) == [
        .open(1, .a), .announce(2, to: 1, .a), .assign(2, at: 1, .a),
      ])
  }

  @Test func aDrafterThatJoinsTakesTheOldestSessions() {
    var bench = RouterBench()
    bench.register(1, slots: 3)
    bench.request(.c)
    bench.request(.a)
    bench.request(.b)
    #expect(
      bench.register(2, .drafter, slots: 2) == [
        .accept(peer: 2), .announce(2, to: 1, .c), .assign(2, at: 1, .c),
        .announce(2, to: 1, .a), .assign(2, at: 1, .a),
      ])
    // A slot that becomes free goes to the next.
    #expect(
      bench.tokens(from: 1, .c, 0, [], ending: .stop).suffix(2) == [
        .announce(2, to: 1, .b), .assign(2, at: 1, .b),
      ])
  }

  @Test func theSessionsOfALostDrafterGetAnother() {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2, .drafter)
    bench.register(3, .drafter)
    bench.request(.a)
    #expect(bench.handle(.left(peer: 2)) == [.announce(3, to: 1, .a), .assign(3, at: 1, .a)])
  }

  @Test func aDrafterThatRefusesIsNotAskedAgainAtOnce() {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2, .drafter)
    bench.request(.a)
    #expect(bench.fail(from: 2, .a) == [.endDraft(drafter: 2, .a)])
    #expect(bench.advance(.seconds(9), alive: [1, 2]) == [])
    #expect(
      bench.advance(.seconds(2), alive: [1, 2]) == [
        .announce(2, to: 1, .a), .assign(2, at: 1, .a),
      ])
  }

  @Test func aVerifierWithoutAnEndpointGetsNoDrafter() {
    var bench = RouterBench()
    var registration = RouterBench.registration(1, .verifier)
    registration.endpoint = ""
    bench.handle(.registered(peer: 1, registration))
    bench.register(2, .drafter)
    #expect(bench.request(.a) == [.open(1, .a)])
  }

  @Test func drainingFailsWhatWaitsAndFinishesWhatRuns() {
    var bench = RouterBench()
    bench.register(1)
    bench.request(.a)
    bench.request(.b)
    #expect(bench.handle(.drain) == [.fail(.b, .draining)])
    #expect(bench.request(.c) == [.fail(.c, .draining)])
    #expect(
      bench.tokens(from: 1, .a, 0, [7], ending: .stop) == [
        .deliver(.a, [7]), .finish(.a, .stop, RoutedTotals()),
      ])
    #expect(bench.machine.sessionCount == 0)
  }

  @Test func aDrainingRouterStillMovesSessionsOfLostVerifiers() {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2)
    bench.request(.a)
    bench.handle(.drain)
    #expect(bench.handle(.left(peer: 1)) == [.open(2, .a)])
  }
}

import Decoding
import InferenceTypes
import Testing

@Suite struct RouterSessionTests {
  /// Session a runs at verifier 1; verifier 2 is free.
  private func running(limit: Int = 8) -> RouterBench {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2)
    bench.request(.a, limit: limit)
    return bench
  }

  @Test func overlapsAreDroppedAndTheRestIsDelivered() {
    var bench = running()
    #expect(bench.tokens(from: 1, .a, 0, [10, 11]) == [.deliver(.a, [10, 11])])
    #expect(bench.tokens(from: 1, .a, 1, [11, 12, 13]) == [.deliver(.a, [12, 13])])
    #expect(bench.tokens(from: 1, .a, 0, [10, 11]) == [])
    #expect(bench.tokens(from: 1, .a, 4, [14]) == [.deliver(.a, [14])])
  }

  @Test(arguments: [
    (first: 3, tokens: [14]), (first: 2, tokens: [100]), (first: -1, tokens: [10]),
    (first: 2, tokens: [1, 2, 3, 4, 5, 6, 7]),
  ])
  func whatDoesNotContinueTheTextMovesTheSession(first: Int, tokens: [UInt32]) {
    var bench = running()
    bench.tokens(from: 1, .a, 0, [10, 11])
    #expect(
      bench.tokens(from: 1, .a, first, tokens.map { TokenID($0) }) == [
        .cancelSession(verifier: 1, .a), .open(2, .a, decided: [10, 11]),
      ])
  }

  @Test func aLostVerifierHandsOverTheJournalAndItsLateTokensAreIgnored() {
    var bench = running()
    bench.tokens(from: 1, .a, 0, [10, 11])
    #expect(bench.handle(.left(peer: 1)) == [.open(2, .a, decided: [10, 11])])
    #expect(bench.tokens(from: 1, .a, 2, [99]) == [.askToRegister(peer: 1)])
    #expect(bench.tokens(from: 2, .a, 2, [12]) == [.deliver(.a, [12])])
  }

  @Test func aFailureThatMayPassMovesTheSession() {
    var bench = running()
    #expect(bench.fail(from: 1, .a) == [.cancelSession(verifier: 1, .a), .open(2, .a)])
  }

  @Test func aFailureThatStaysEndsTheSession() {
    var bench = running()
    #expect(bench.fail(from: 1, .a, isRetryable: false) == [.fail(.a, .workerFailed("no"))])
  }

  @Test func theOnlyVerifierIsAskedAgainAfterADelay() {
    var bench = RouterBench()
    bench.register(1)
    bench.request(.a)
    #expect(bench.fail(from: 1, .a) == [.cancelSession(verifier: 1, .a)])
    // Its answer to the cancel.
    #expect(bench.fail(from: 1, .a) == [])
    #expect(bench.advance(.milliseconds(200), alive: [1]) == [])
    #expect(bench.advance(.milliseconds(100), alive: [1]) == [.open(1, .a)])
  }

  @Test func aSessionThatNobodyTakesOverFailsAtItsDeadline() {
    var bench = RouterBench()
    bench.register(1)
    bench.request(.a)
    bench.handle(.left(peer: 1))
    #expect(bench.advance(.milliseconds(9950)) == [])
    #expect(bench.advance(.milliseconds(50)) == [.fail(.a, .workerLost("w1"))])
  }

  @Test func aCompleteJournalNeedsNoOtherVerifier() {
    var bench = running(limit: 2)
    bench.tokens(from: 1, .a, 0, [10, 11])
    var totals = RoutedTotals()
    totals.verifyStepCount = 0
    #expect(bench.handle(.left(peer: 1)) == [.finish(.a, .length, totals)])
  }

  @Test func aVerifierThatKeepsSilentLosesTheSession() {
    var bench = running()
    let effects = bench.advance(.seconds(301), alive: [1, 2])
    #expect(effects == [.cancelSession(verifier: 1, .a), .open(2, .a)])
  }

  @Test func aSessionThatEveryVerifierLosesFails() {
    var bench = running()
    let effects = bench.advance(.seconds(2000), alive: [1, 2])
    #expect(effects.count { $0 == .open(1, .a) || $0 == .open(2, .a) } == 3)
    #expect(effects.last == .fail(.a, .workerFailed("w2 stayed silent for too long")))
  }

  @Test func afterLostMessagesSilenceCountsSooner() {
    var bench = running()
    bench.handle(.messagesLost)
    #expect(bench.advance(.milliseconds(4900), alive: [1, 2]) == [])
    #expect(
      bench.advance(.milliseconds(100), alive: [1, 2]) == [
        .cancelSession(verifier: 1, .a), .open(2, .a),
      ])
  }

  @Test func cancellingFreesTheSlotAtOnceAndLateTokensAreIgnored() {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2, .drafter)
    bench.request(.a)
    bench.request(.b)
    #expect(
      bench.handle(.cancelled(.a)) == [
        .cancelSession(verifier: 1, .a), .endDraft(drafter: 2, .a),
        .finish(.a, .cancelled, RoutedTotals()), .open(1, .b), .announce(2, to: 1, .b),
        .assign(2, at: 1, .b),
      ])
    #expect(bench.tokens(from: 1, .a, 0, [10]) == [])
    #expect(bench.tokens(from: 1, .a, 1, [], ending: .cancelled) == [])
    #expect(bench.tokens(from: 1, .b, 0, [10]) == [.deliver(.b, [10])])
  }

  @Test func aWaitingSessionCanBeCancelled() {
    var bench = RouterBench()
    bench.register(1)
    bench.request(.a)
    bench.request(.b)
    #expect(bench.handle(.cancelled(.b)) == [.finish(.b, .cancelled, RoutedTotals())])
    #expect(bench.handle(.cancelled(.b)) == [])
    #expect(bench.tokens(from: 1, .a, 0, [], ending: .stop).count == 1)
  }

  @Test func aStoppedSessionFinishesWithTheCountersOfItsVerifier() {
    var bench = running()
    bench.tokens(from: 1, .a, 0, [10])
    #expect(bench.handle(.stopped(.a)) == [.cancelSession(verifier: 1, .a)])
    #expect(bench.machine.sessionCount(at: 1) == 0)
    #expect(bench.tokens(from: 1, .a, 1, [11]) == [])
    var totals = RoutedTotals()
    totals.verifyStepCount = 3
    let ending = RoutedEnding(reason: .cancelled, totals: totals)
    #expect(
      bench.handle(.tokens(peer: 1, session: .a, firstIndex: 2, [], ending: ending)) == [
        .finish(.a, .stop, totals)
      ])
  }

  @Test func aStoppedSessionDoesNotWaitLongForCounters() {
    var bench = running()
    bench.tokens(from: 1, .a, 0, [10])
    bench.now += .milliseconds(100)
    bench.tokens(from: 1, .a, 1, [11])
    bench.handle(.stopped(.a))
    var totals = RoutedTotals()
    totals.decodeDuration = .milliseconds(100)
    totals.verifyStepCount = 1
    #expect(bench.advance(.seconds(1), alive: [1, 2]) == [.finish(.a, .stop, totals)])
  }

  @Test func aStoppedSessionSurvivesTheLossOfItsVerifier() {
    var bench = running()
    bench.handle(.stopped(.a))
    #expect(bench.handle(.left(peer: 1)) == [.finish(.a, .stop, RoutedTotals())])
  }

  @Test func anEndingThatNobodyAskedForGivesTheSessionBack() {
    var bench = running()
    #expect(
      bench.tokens(from: 1, .a, 0, [], ending: .cancelled) == [
        .cancelSession(verifier: 1, .a), .open(2, .a),
      ])
  }

  /// A long prompt, or a wait for memory: the verifier has nothing to say but that it works on it.
  @Test func aSessionThatShowsSignsOfLifeStaysWhereItIs() {
    var bench = running()
    for _ in 0..<500 {
      #expect(bench.advance(.seconds(1), alive: [1, 2]) == [])
      #expect(bench.tokens(from: 1, .a, 0, []) == [])
    }
    // Its first tokens are the first that count.
    bench.tokens(from: 1, .a, 0, [10])
    var totals = RoutedTotals()
    totals.promptDuration = .seconds(500)
    #expect(bench.handle(.cancelled(.a)).contains(.finish(.a, .cancelled, totals)))
  }

  @Test func aSilentSessionIsTakenAway() {
    var bench = running()
    #expect(bench.advance(.seconds(299), alive: [1, 2]) == [])
    #expect(
      bench.advance(.seconds(2), alive: [1, 2]) == [
        .cancelSession(verifier: 1, .a), .open(2, .a),
      ])
  }

  /// A pass of the only verifier takes longer than the answer to a cancel is waited for: what it then
  /// answers does not concern the session that it was given again.
  @Test(arguments: [true, false]) func aLateAnswerEndsNothingNew(isUnknown: Bool) {
    var bench = RouterBench()
    bench.register(1)
    bench.request(.a)
    #expect(bench.fail(from: 1, .a) == [.cancelSession(verifier: 1, .a)])
    #expect(bench.advance(.milliseconds(1900), alive: [1]) == [])
    #expect(bench.advance(.milliseconds(200), alive: [1]) == [.open(1, .a)])
    if isUnknown {
      #expect(bench.fail(from: 1, .a) == [])
    } else {
      #expect(bench.tokens(from: 1, .a, 0, [], ending: .cancelled) == [])
    }
    // Its next pass takes long, too. A failure might have been one of the session that runs now.
    if !isUnknown { #expect(bench.advance(.seconds(20), alive: [1]) == []) }
    #expect(bench.tokens(from: 1, .a, 0, [10]) == [.deliver(.a, [10])])
    // Only the first such answer belongs to the past.
    #expect(
      bench.tokens(from: 1, .a, 1, [], ending: .cancelled) == [.cancelSession(verifier: 1, .a)])
    // The verifier holds the new session, and is told to forget it when it comes back.
    var again = RouterBench()
    again.register(1)
    again.request(.a)
    again.fail(from: 1, .a)
    again.advance(.milliseconds(2100), alive: [1])
    again.tokens(from: 1, .a, 0, [], ending: .cancelled)
    again.handle(.left(peer: 1))
    #expect(again.register(2, name: "w1", epoch: 1).contains(.cancelSession(verifier: 2, .a)))
  }

  /// With a rule under which another attempt writes another text, an attempt that is over must not add
  /// to it.
  @Test func lateTokensOfAnotherTextAreDropped() {
    var request = RouterBench.request()
    request.rule = VerifyRuleParameters(.ratio)
    var registration = RouterBench.registration(1, .verifier)
    registration.verifyRules = [.gumbelMatch, .ratio]
    var bench = RouterBench()
    bench.handle(.registered(peer: 1, registration))
    bench.handle(.requested(.a, request))
    bench.fail(from: 1, .a)
    let again = bench.advance(.milliseconds(2100), alive: [1])
    #expect(again == [.openSession(verifier: 1, .a, request, decided: [])])
    #expect(bench.tokens(from: 1, .a, 0, [10]) == [])
    bench.tokens(from: 1, .a, 1, [], ending: .cancelled)
    #expect(bench.tokens(from: 1, .a, 0, [20]) == [.deliver(.a, [20])])
  }

  /// Each cancel has its answer.
  @Test func twoCancelsHaveTwoAnswers() {
    var bench = RouterBench()
    bench.register(1)
    bench.request(.a)
    bench.fail(from: 1, .a)
    #expect(bench.advance(.milliseconds(2100), alive: [1]) == [.open(1, .a)])
    // It sends what does not continue the text before it has read the first cancel.
    #expect(bench.tokens(from: 1, .a, 5, [10]) == [.cancelSession(verifier: 1, .a)])
    #expect(bench.tokens(from: 1, .a, 0, [], ending: .cancelled) == [])
    #expect(bench.advance(.milliseconds(2100), alive: [1]) == [.open(1, .a)])
    #expect(bench.tokens(from: 1, .a, 0, [], ending: .cancelled) == [])
    #expect(bench.tokens(from: 1, .a, 0, [10]) == [.deliver(.a, [10])])
  }

  @Test func countersOfAllAttemptsAddUp() {
    var bench = running()
    bench.now += .milliseconds(30)
    bench.tokens(from: 1, .a, 0, [10])
    bench.now += .milliseconds(20)
    bench.tokens(from: 1, .a, 1, [11])
    bench.handle(.left(peer: 1))
    var reported = RoutedTotals()
    reported.promptDuration = .milliseconds(5)
    reported.cachedTokenCount = 9
    reported.verifyStepCount = 4
    reported.draftTokenCount = 7
    var expected = reported
    expected.promptDuration = .milliseconds(35)
    expected.decodeDuration = .milliseconds(20)
    expected.cachedTokenCount = 2
    expected.verifyStepCount = 5
    let ending = RoutedEnding(reason: .stop, totals: reported)
    #expect(
      bench.handle(.tokens(peer: 2, session: .a, firstIndex: 2, [12], ending: ending)) == [
        .deliver(.a, [12]), .finish(.a, .stop, expected),
      ])
  }

  @Test func aDrafterMovesWithItsSession() {
    var bench = running()
    bench.register(3, .drafter)
    #expect(
      bench.handle(.left(peer: 1)) == [
        .open(2, .a), .announce(3, to: 2, .a), .assign(3, at: 2, .a),
      ])
  }

  @Test func tokensOfASessionThatAnotherOwnsAreAnsweredWithOneCancel() {
    var bench = running()
    #expect(bench.tokens(from: 2, .a, 0, [10]) == [.cancelSession(verifier: 2, .a)])
    #expect(bench.tokens(from: 2, .a, 1, [11]) == [])
    #expect(bench.tokens(from: 2, .a, 2, [], ending: .cancelled) == [])
    #expect(bench.tokens(from: 1, .a, 0, [10]) == [.deliver(.a, [10])])
  }
}

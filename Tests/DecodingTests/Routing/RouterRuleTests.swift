import Decoding
import InferenceTypes
import Testing

/// Sessions that name a verify rule go to verifiers that allow it.
@Suite struct RouterRuleTests {
  private func request(_ rule: VerifyRule) -> RoutedRequest {
    var request = RouterBench.request()
    request.rule = VerifyRuleParameters(rule)
    return request
  }

  private func bench(_ rules: [Set<VerifyRule>], slots: Int = 1) -> RouterBench {
    var bench = RouterBench()
    for (index, rules) in rules.enumerated() {
      var registration = RouterBench.registration(index + 1, .verifier, slots: slots)
      registration.verifyRules = rules
      bench.handle(.registered(peer: index + 1, registration))
    }
    return bench
  }

  @Test func aRuleThatNobodyAllowsIsRefusedAtOnce() {
    var bench = bench([[.gumbelMatch], [.match, .gumbelMatch]])
    #expect(
      bench.handle(.requested(.a, request(.ratio))) == [
        .fail(
          .a,
          .refused("the verify rule ratio is not allowed here; allowed: gumbel-match, match"))
      ])
    #expect(bench.machine.sessionCount == 0)
  }

  @Test func onlyAVerifierThatAllowsTheRuleGetsTheSession() {
    var bench = bench([[.gumbelMatch], [.gumbelMatch, .ratio]])
    #expect(
      bench.handle(.requested(.a, request(.ratio))) == [
        .openSession(verifier: 2, .a, request(.ratio), decided: [])
      ])
    // The other one is free, and yet the next one waits.
    #expect(bench.handle(.requested(.b, request(.ratio))) == [])
    #expect(bench.machine.queuedCount == 1)
    #expect(
      bench.tokens(from: 2, .a, 0, [7], ending: .stop).last
        == .openSession(verifier: 2, .b, request(.ratio), decided: []))
  }

  @Test func afterALossTheSessionGoesOnWhereTheRuleIsAllowed() {
    var bench = bench([[.gumbelMatch, .ratio], [.gumbelMatch], [.gumbelMatch, .ratio]])
    bench.handle(.requested(.a, request(.ratio)))
    bench.tokens(from: 1, .a, 0, [7, 8])
    #expect(
      bench.handle(.left(peer: 1)) == [
        .openSession(verifier: 3, .a, request(.ratio), decided: [7, 8])
      ])
  }

  /// A waiting session whose rule nobody allows any more does not wait for ever.
  @Test func waitingEndsWithTheLastVerifierThatAllowsTheRule() {
    var bench = bench([[.gumbelMatch, .ratio], [.gumbelMatch]])
    bench.handle(.requested(.a, request(.ratio)))
    bench.handle(.requested(.b, request(.ratio)))
    bench.handle(.left(peer: 1))
    let effects = bench.advance(.seconds(11), alive: [2])
    #expect(effects.contains(.fail(.b, .noVerifier)))
    #expect(bench.machine.sessionCount == 0)
  }

  @Test func aVerifierMayRefuse() {
    var bench = bench([[.gumbelMatch, .ratio]])
    bench.handle(.requested(.a, request(.ratio)))
    #expect(
      bench.handle(.refused(peer: 1, session: .a, message: "no")) == [.fail(.a, .refused("no"))])
  }
}

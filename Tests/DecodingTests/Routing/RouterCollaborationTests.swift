import Decoding
import InferenceTypes
import Testing

@Suite struct RouterCollaborationTests {
  private func request() -> RoutedRequest {
    var request = RouterBench.request()
    request.collaboration = CollaborationParameters(method: .entropy)
    return request
  }

  private func registerDrafter(_ bench: inout RouterBench, _ peer: Int, hasModel: Bool) {
    var registration = RouterBench.registration(peer, .drafter)
    registration.hasDraftModel = hasModel
    bench.handle(.registered(peer: peer, registration))
  }

  @Test func aCollaborationNeedsADraftModelAtOnce() {
    var bench = RouterBench()
    #expect(bench.handle(.requested(.a, request())) == [.fail(.a, .noVerifier)])
    bench.register(1)
    #expect(bench.handle(.requested(.a, request())) == [.fail(.a, .noDraftModel)])
    registerDrafter(&bench, 2, hasModel: false)
    #expect(bench.handle(.requested(.a, request())) == [.fail(.a, .noDraftModel)])
    registerDrafter(&bench, 3, hasModel: true)
    // The one without a model is older and as idle; it would be first for an exact session.
    #expect(
      bench.handle(.requested(.a, request())) == [
        .openSession(verifier: 1, .a, request(), decided: []), .announce(3, to: 1, .a),
        .assign(3, at: 1, .a),
      ])
    bench.handle(.heartbeat(peer: 3, isDraining: true))
    #expect(bench.handle(.requested(.b, request())) == [.fail(.b, .noDraftModel)])
  }

  @Test func exactSessionsTakeAnyDrafter() {
    var bench = RouterBench()
    bench.register(1)
    registerDrafter(&bench, 2, hasModel: false)
    #expect(bench.request(.a) == [.open(1, .a), .announce(2, to: 1, .a), .assign(2, at: 1, .a)])
  }

  /// One slot for drafts: the exact session that came last gives it up, and gets it back.
  @Test func aCollaborationGetsTheSlotOfAnExactSession() {
    var bench = RouterBench()
    bench.register(1, slots: 5)
    var registration = RouterBench.registration(3, .drafter, slots: 2)
    registration.hasDraftModel = true
    bench.handle(.registered(peer: 3, registration))
    #expect(bench.request(.a).contains(.assign(3, at: 1, .a)))
    #expect(bench.request(.b).contains(.assign(3, at: 1, .b)))
    #expect(
      bench.handle(.requested(.c, request())) == [
        .openSession(verifier: 1, .c, request(), decided: []), .endDraft(drafter: 3, .b),
        .announce(3, to: 1, .c), .assign(3, at: 1, .c),
      ])
    #expect(bench.advance(.milliseconds(200), alive: [1, 3]).isEmpty, "nobody takes it back")
    // A second one takes the other slot, a third finds collaborations only.
    #expect(bench.handle(.requested(.d, request())).contains(.endDraft(drafter: 3, .a)))
    let third = SessionID(rawValue: 5)
    #expect(
      bench.handle(.requested(third, request())) == [
        .openSession(verifier: 1, third, request(), decided: [])
      ])
    // Collaborations that wait come before exact sessions that came earlier.
    let ended = bench.tokens(from: 1, .c, 0, [7], ending: .stop)
    #expect(ended.contains(.assign(3, at: 1, third)) && !ended.contains(.assign(3, at: 1, .a)))
    let next = bench.tokens(from: 1, .d, 0, [7], ending: .stop)
    #expect(next.contains(.assign(3, at: 1, .a)))
  }

  @Test func aCollaborationWithTextTakesNobodysDrafter() {
    var bench = RouterBench()
    bench.register(1, slots: 3)
    registerDrafter(&bench, 3, hasModel: true)
    bench.handle(.requested(.a, request()))
    bench.tokens(from: 1, .a, 0, [7])
    bench.handle(.failed(peer: 3, session: .a, isRetryable: true, message: "no"))
    #expect(bench.request(.b).contains(.assign(3, at: 1, .b)), "the collaboration is not first")
    #expect(bench.advance(.seconds(2), alive: [1, 3]).isEmpty)
    bench.tokens(from: 1, .b, 0, [7], ending: .stop)
    #expect(bench.advance(.seconds(2), alive: [1, 3]).isEmpty, "its verifier would refuse it")
  }

  /// A drafter without a free slot is replaced; one that the verifier does not take any more is not,
  /// for it would take no other.
  @Test func aCollaborationThatHasBegunGetsNoOtherDrafter() {
    var bench = RouterBench()
    bench.register(1, slots: 3)
    registerDrafter(&bench, 3, hasModel: true)
    registerDrafter(&bench, 4, hasModel: true)
    #expect(bench.handle(.requested(.a, request())).contains(.assign(3, at: 1, .a)))
    let busy = bench.handle(.failed(peer: 3, session: .a, isRetryable: true, message: "no slot"))
    #expect(busy.contains(.assign(4, at: 1, .a)))
    bench.handle(.failed(peer: 4, session: .a, isRetryable: false, message: "it has begun"))
    #expect(bench.advance(.seconds(30), alive: [1, 3, 4]).isEmpty)
    #expect(bench.request(.b).contains(.assign(3, at: 1, .b)))
    #expect(bench.advance(.seconds(30), alive: [1, 3, 4]).isEmpty, "nobody's drafter is taken")
  }

  /// The next verifier goes on alone: a slot for drafts would be taken for nothing.
  @Test func aCollaborationWithTextThatMovesTakesNoDrafterAlong() {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2, slots: 3)
    registerDrafter(&bench, 3, hasModel: true)
    bench.handle(.requested(.a, request()))
    bench.tokens(from: 1, .a, 0, [7])
    let moved = bench.handle(.left(peer: 1))
    #expect(moved.contains(.endDraft(drafter: 3, .a)))
    #expect(!moved.contains(.assign(3, at: 2, .a)))
    #expect(bench.request(.b).contains(.assign(3, at: 2, .b)), "its slot is of use elsewhere")
    #expect(bench.advance(.seconds(20), alive: [2, 3]).isEmpty)
  }

  @Test func countersOfAllVerifiersAreAdded() {
    var bench = RouterBench()
    bench.register(1)
    registerDrafter(&bench, 3, hasModel: true)
    bench.handle(.requested(.a, request()))
    bench.register(2)
    func ending(_ change: (inout CollaborationReport) -> Void) -> RoutedEnding {
      var totals = RoutedTotals()
      var report = CollaborationReport(method: .entropy)
      change(&report)
      totals.collaboration = report
      return RoutedEnding(reason: .length, totals: totals)
    }
    let last = ending {
      $0.draftCount = 6
      $0.targetCount = 2
      $0.spentCost = 4
      $0.plainCost = 8
      $0.isDegraded = true
    }
    let effects = bench.handle(
      .tokens(peer: 1, session: .a, firstIndex: 0, [10, 11], ending: last))
    guard
      case .finish(.a, .length, let totals) = effects.last(where: { effect in
        if case .finish = effect { true } else { false }
      })
    else {
      Issue.record("\(effects)")
      return
    }
    let report = totals.collaboration
    #expect(report == last.totals.collaboration)
    #expect(report?.share(of: 6) == 0.75 && report?.computeSaved == 0.5)
    var sum = CollaborationReport(method: .entropy)
    sum += last.totals.collaboration ?? sum
    sum += last.totals.collaboration ?? sum
    #expect(sum.draftCount == 12 && sum.isDegraded && sum.computeSaved == 0.5)
  }

  /// Who went away before counting leaves the label.
  @Test func theLabelNeedsNoCounters() {
    var bench = RouterBench()
    bench.register(1)
    registerDrafter(&bench, 3, hasModel: true)
    bench.handle(.requested(.a, request()))
    var totals = RoutedTotals()
    totals.collaboration = CollaborationReport(method: .entropy)
    #expect(bench.handle(.cancelled(.a)).contains(.finish(.a, .cancelled, totals)))
    bench.request(.b)
    #expect(bench.handle(.cancelled(.b)).contains(.finish(.b, .cancelled, RoutedTotals())))
  }

  /// The verifier that takes over hears what the one before said with its last tokens.
  @Test func mirostatGoesOnWhereItStood() {
    var bench = RouterBench()
    bench.register(1)
    var request = RouterBench.request()
    request.sampling.mirostatTau = 5
    #expect(
      bench.handle(.requested(.a, request)) == [
        .openSession(verifier: 1, .a, request, decided: [])
      ])
    for (index, limit) in [9.5, 9.25].enumerated() {
      bench.handle(
        .tokens(
          peer: 1, session: .a, firstIndex: index, [TokenID(UInt32(10 + index))], ending: nil,
          mirostatLimit: limit))
    }
    // Tokens that are known already change nothing.
    bench.handle(
      .tokens(peer: 1, session: .a, firstIndex: 0, [10], ending: nil, mirostatLimit: 1))
    bench.register(2)
    request.mirostatLimit = 9.25
    #expect(
      bench.handle(.left(peer: 1)) == [
        .openSession(verifier: 2, .a, request, decided: [10, 11])
      ])
  }
}

import Decoding
import InferenceTypes
import Testing

@Suite struct RouterMembershipTests {
  @Test func silentWorkersAreLostAfterThreeMissedHeartbeats() {
    var bench = RouterBench()
    bench.register(1)
    bench.register(2)
    bench.request(.a)
    #expect(bench.advance(.milliseconds(700), alive: [2]) == [])
    #expect(bench.advance(.milliseconds(50), alive: [2]) == [.open(2, .a)])
    #expect(bench.machine.workerCount(.verifier) == 1)
  }

  @Test func aRouterThatSleptBlamesNobody() {
    var bench = RouterBench()
    bench.register(1)
    bench.advance(.milliseconds(100), alive: [1])
    bench.now += .seconds(20)
    bench.handle(.tick)
    #expect(bench.machine.workerCount(.verifier) == 1)
  }

  @Test func whoIsNotRegisteredIsAskedToRegister() {
    var bench = RouterBench()
    #expect(bench.handle(.heartbeat(peer: 1, isDraining: false)) == [.askToRegister(peer: 1)])
    #expect(bench.tokens(from: 1, .a, 0, [1]) == [.askToRegister(peer: 1)])
    #expect(bench.fail(from: 1, .a) == [.askToRegister(peer: 1)])
    #expect(bench.handle(.left(peer: 1)) == [])
  }

  @Test func aRestartedWorkerReplacesItsFormerSelf() {
    var bench = RouterBench()
    bench.register(1, name: "v", epoch: 1)
    bench.request(.a)
    bench.tokens(from: 1, .a, 0, [10])
    let effects = bench.register(2, name: "v", epoch: 2)
    #expect(effects.first.map(isDisplacement) == true)
    #expect(effects.dropFirst() == [.accept(peer: 2), .open(2, .a, decided: [10])])
    #expect(bench.machine.workerCount(.verifier) == 1)
  }

  @Test func ofTwoWorkersWithOneNameTheNewestWinsAndTheOtherIsTold() {
    var bench = RouterBench()
    bench.register(1, name: "v", epoch: 1)
    bench.register(2, name: "v", epoch: 2)
    let effects = bench.register(1, name: "v", epoch: 1)
    guard case .refuse(1, .nameTaken, let message) = effects.first else {
      Issue.record("\(effects)")
      return
    }
    #expect(message.contains("v") && effects.count == 1)
    // Once the newer one is gone the name is free.
    bench.handle(.left(peer: 2))
    #expect(bench.register(1, name: "v", epoch: 1) == [.accept(peer: 1)])
  }

  @Test func aVerifierAndADrafterMayShareAName() {
    var bench = RouterBench()
    bench.register(1, .verifier, name: "host")
    #expect(bench.register(2, .drafter, name: "host") == [.accept(peer: 2)])
    #expect(bench.machine.workerCount(.verifier) == 1)
  }

  @Test func theSameRegistrationAgainChangesNothing() {
    var bench = RouterBench()
    bench.register(1)
    bench.request(.a)
    #expect(bench.register(1) == [.accept(peer: 1)])
    #expect(bench.tokens(from: 1, .a, 0, [10]) == [.deliver(.a, [10])])
  }

  /// A stopped process that goes on still runs the session that it is sent again.
  @Test func aWorkerThatComesBackFirstForgetsWhatItRan() {
    var bench = RouterBench()
    bench.register(1)
    bench.request(.a)
    bench.tokens(from: 1, .a, 0, [10])
    bench.advance(.seconds(1))
    #expect(bench.machine.workerCount(.verifier) == 0)
    #expect(bench.tokens(from: 1, .a, 1, [11]) == [.askToRegister(peer: 1)])
    #expect(bench.register(1) == [.accept(peer: 1), .cancelSession(verifier: 1, .a)])
    #expect(bench.tokens(from: 1, .a, 2, [12]) == [])
    #expect(
      bench.tokens(from: 1, .a, 3, [], ending: .cancelled) == [.open(1, .a, decided: [10])])
    #expect(bench.tokens(from: 1, .a, 1, [11]) == [.deliver(.a, [11])])
  }

  @Test func aCancelWithoutAnAnswerBlocksASessionOnlyForAWhile() {
    var bench = RouterBench()
    bench.register(1, epoch: 1)
    bench.request(.a)
    bench.register(2, name: "w1", epoch: 1)
    #expect(bench.advance(.milliseconds(1900), alive: [2]) == [])
    #expect(bench.advance(.milliseconds(200), alive: [2]) == [.open(2, .a)])
  }

  @Test(arguments: WorkerRegistration.Role.allCases)
  func workersOfAnotherVocabularyAreRefused(role: WorkerRegistration.Role) {
    var bench = RouterBench()
    var registration = RouterBench.registration(1, role)
    registration.tokenizerFingerprint = [9]
    #expect(refusal(bench.handle(.registered(peer: 1, registration))) == .tokenizersDiffer)
    registration = RouterBench.registration(1, role)
    registration.vocabularyCount = 99
    #expect(refusal(bench.handle(.registered(peer: 1, registration))) == .tokenizersDiffer)
    #expect(bench.machine.registration(of: 1) == nil)
  }

  @Test func onlyVerifiersNeedTheSameModel() {
    var bench = RouterBench()
    var registration = RouterBench.registration(1, .verifier)
    registration.modelFingerprint = [9]
    #expect(refusal(bench.handle(.registered(peer: 1, registration))) == .modelsDiffer)
    registration.role = .drafter
    #expect(bench.handle(.registered(peer: 1, registration)) == [.accept(peer: 1)])
    registration = RouterBench.registration(1, .verifier)
    registration.contextLength = 63
    #expect(refusal(bench.handle(.registered(peer: 2, registration))) == .modelsDiffer)
  }

  @Test func theNumberOfWorkersIsBounded() {
    var configuration = RouterMachine.Configuration()
    configuration.workerCountMax = 2
    var bench = RouterBench(configuration)
    bench.register(1)
    bench.register(2)
    #expect(refusal(bench.register(3)) == .tooManyWorkers)
    // Who takes over a name needs no more room.
    #expect(bench.register(3, name: "w1").contains(.accept(peer: 3)))
  }

  private func refusal(_ effects: [RouterMachine.Effect]) -> RegistrationRefusal? {
    guard effects.count == 1, case .refuse(_, let code, _) = effects[0] else { return nil }
    return code
  }

  private func isDisplacement(_ effect: RouterMachine.Effect) -> Bool {
    if case .displace = effect { return true }
    return false
  }
}

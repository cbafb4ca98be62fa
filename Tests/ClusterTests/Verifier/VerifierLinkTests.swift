import Cluster
import InferenceTypes
import Synchronization
import Testing
import Wire

/// What a verifier takes from those who dial it, and what it does alone.
@Suite(.timeLimit(.minutes(3))) struct VerifierLinkTests {
  private func request(_ stage: VerifierStage, tokenLimit: Int) -> OpenSession {
    stage.requests(1, temperature: 0, tokenLimit: tokenLimit)[0]
  }

  /// Nobody reads along who was not told to: the prompt is none of his business.
  @Test(arguments: [false, true]) func whoWasNotAssignedHearsNothing(
    isCollaboration: Bool
  ) async throws {
    let stage = try VerifierStage()
    var request = request(stage, tokenLimit: 120)
    let expected = try stage.plain([request])
    if isCollaboration { request.collaboration = CollaborationParameters(method: .entropy) }
    let told = Mutex<[String]>([])
    let drafter = ScriptedDrafter(isAssigned: false) { message in
      told.withLock { $0.append(message.name) }
      return []
    }
    let heard = try await stage.run([request], methods: "none", drafter: drafter)
    #expect(heard.map(\.tokens) == expected)
    #expect(drafter.refusalCodes.contains(.notAssigned))
    #expect(Set(drafter.refusalCodes).isSubset(of: [.notAssigned, .unknownSession]))
    #expect(told.withLock { $0.filter { $0 != "Heartbeat" } } == [])
  }

  @Test func aCollaborationEndsWhereTheTextDoes() async throws {
    let stage = try VerifierStage()
    var request = request(stage, tokenLimit: 40)
    let plain = try stage.plain([request])[0]
    let end = try #require(plain.indices.dropFirst(4).first { !plain[..<$0].contains(plain[$0]) })
    // What another verifier has begun goes on without a drafter.
    request.decided = Array(plain[..<2])
    request.collaboration = CollaborationParameters(method: .entropy)
    request.endTokens = [plain[end]]
    let heard = try await stage.run([request])[0]
    #expect(heard.tokens == Array(plain[...end]))
    let ending = try #require(heard.ending)
    #expect(ending.finishReason == .stop)
    request.ignoresEnd = true
    let whole = try await stage.run([request])[0]
    #expect(whole.tokens == plain && whole.ending?.finishReason == .length)
  }

  @Test func aCollaborationThatNobodyJoinsGoesOnAlone() async throws {
    let stage = try VerifierStage()
    var request = request(stage, tokenLimit: 12)
    let plain = try stage.plain([request])
    request.collaboration = CollaborationParameters(method: .entropy)
    let heard = try await stage.run([request])
    #expect(heard.map(\.tokens) == plain)
    #expect(heard[0].ending?.statistics.collaboration?.isDegraded == true)
  }

  /// The draft model was told to read what the target wrote, and answers with tokens of its own.
  @Test func anAnswerThatNobodyAskedForIsNotTaken() async throws {
    let stage = try VerifierStage()
    var request = request(stage, tokenLimit: 48)
    let plain = try stage.plain([request])
    var parameters = CollaborationParameters(method: .entropy)
    parameters.entropyThreshold = 0
    request.collaboration = parameters
    let told = Mutex(0)
    let drafter = ScriptedDrafter(isAssigned: true) { message in
      guard case .collaborateIngest(let ingest) = message else { return [] }
      var answer = CollaborateAnswer(range: ingest.range)
      let summary = CollaborateAnswer.Summary(entropy: 0, maxProbability: 1, gap: 0.5)
      answer.summaries = [summary]
      if ingest.want == .nothing {
        answer.summaries = [summary, summary, summary]
        answer.tokens = [1, 2, TokenID(.max)]
      }
      told.withLock { $0 += ingest.want == .nothing ? 1 : 0 }
      return [.collaborateAnswer(answer)]
    }
    let heard = try await stage.run([request], drafter: drafter)
    #expect(told.withLock { $0 } > 0, "nothing was read ahead")
    #expect(heard.map(\.tokens) == plain)
    #expect(heard[0].ending?.statistics.collaboration?.isDegraded == true)
  }

  /// Where verifier and drafter take turns, the target waits for drafts, but never for long.
  @Test func aDrafterThatSaysItIsFarAwayDelaysNothingForLong() async throws {
    let stage = try VerifierStage()
    var request = request(stage, tokenLimit: 6)
    let plain = try stage.plain([request])
    request.pipeline = .vanilla
    let drafter = ScriptedDrafter(isAssigned: true, roundTrip: .seconds(900_000)) { _ in [] }
    let heard = try await stage.run([request], methods: "none", drafter: drafter)
    #expect(heard.map(\.tokens) == plain)
  }

  /// A token that does not exist must not reach the model, nor end the text.
  @Test func aWriterThatMakesNoSenseIsLeftOut() async throws {
    let stage = try VerifierStage()
    var request = request(stage, tokenLimit: 24)
    let plain = try stage.plain([request])
    var parameters = CollaborationParameters(method: .entropy)
    parameters.entropyThreshold = .infinity
    request.collaboration = parameters
    let vocabularyCount = stage.identity.vocabularyCount
    let answered = Mutex(0)
    let drafter = ScriptedDrafter(isAssigned: true) { message in
      guard case .collaborateIngest(let ingest) = message else { return [] }
      var answer = CollaborateAnswer(range: ingest.range)
      if ingest.want != .nothing {
        answer.summaries = [.init(entropy: 0, maxProbability: 1, gap: 0.5)]
        answer.tokens = [TokenID(UInt32(vocabularyCount))]
      }
      answered.withLock { $0 += 1 }
      return [.collaborateAnswer(answer)]
    }
    let heard = try await stage.run([request], drafter: drafter)
    #expect(answered.withLock { $0 } > 0)
    #expect(heard.map(\.tokens) == plain)
    #expect(heard[0].refusal == nil)
    #expect(heard[0].ending?.statistics.collaboration?.isDegraded == true)
  }
}

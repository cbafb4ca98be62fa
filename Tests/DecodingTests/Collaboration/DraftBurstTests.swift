import Decoding
import InferenceTypes
import Testing

/// A target here and a draft model elsewhere that writes several tokens in one round trip.
private struct ToyDistance {
  let target = ToyModel(sharpness: 3, seed: 1)
  let draft = ToyModel(sharpness: 5, seed: 2)
  var configuration: VerifierSession.Configuration
  var parameters: CollaborationParameters
  /// Most tokens of a round trip; `nil` asks for one row at a time and chooses here.
  var burstMax: Int?
  /// The draft model is lost before this many of its answers have come.
  var answerMax = Int.max

  var tripCount = 0
  var writers: [CollaborationWriter] = []
  /// Whether a draft model was asked after it was lost.
  var asksTheLost = false

  init(_ method: CollaborationParameters.Method, seed: UInt64, burstMax: Int?) {
    configuration = ToyModel().configuration(temperature: 1, seed: seed, tokenLimit: 60)
    parameters = CollaborationParameters(method: method)
    parameters.entropyThreshold = 1.6
    parameters.entropyWindow = 2
    parameters.draftStay = 2
    parameters.targetStay = 2
    parameters.leadingTokens = 1
    parameters.ledSentences = 1000
    parameters.interventionThreshold = 0.5
    self.burstMax = burstMax
  }

  mutating func run() throws -> CollaborationSession {
    var session = try CollaborationSession(
      configuration, parameters: parameters, costs: CollaborationCosts(draftUnit: 0.1))
    var chooser = try TokenChooser(parameters: configuration.sampling, vocabularyCount: 5)
    var effects: [CollaborationEffect] = []
    var burst: DraftBurst?
    var isLost = false
    session.start(into: &effects)
    while !effects.isEmpty {
      switch effects.removeFirst() {
      case .ingest(.target, let range, let wantsRow):
        let row = RowSummary(logits: target.row(session.truth[..<range.upperBound]).span)
        session.handle(.ingested(.target, range, row: wantsRow ? row : nil), into: &effects)
      case .ingest(let model, let range, let wantsRow):
        asksTheLost = asksTheLost || isLost
        if wantsRow, let row = burst?.row(at: range.upperBound, of: session.truth) {
          session.handle(.ingested(model, range, row: row), into: &effects)
          continue
        }
        guard tripCount < answerMax else {
          isLost = true
          session.handle(.lost(model), into: &effects)
          continue
        }
        tripCount += 1
        let text = Array(session.truth[..<range.upperBound])
        burst = answer(text, entropySwitch: session.entropySwitch, &chooser)
        let row = burst?.row(at: range.upperBound, of: text)
        session.handle(.ingested(model, range, row: wantsRow ? row : nil), into: &effects)
      case .choose(let writer):
        let row = (writer == .target ? target : draft).row(session.truth[...])
        let here = chooser.choose(
          logits: row.span, top: Span(), recent: Span(), position: session.truth.count)
        let there = burst?.token(at: session.truth.count)
        if writer == .draft, burstMax != nil {
          // The far end has the same row, and chooses the same.
          #expect(there == here, "at \(session.truth.count)")
        }
        writers.append(writer)
        let text = [" a", "b", ".", "\n", " c"][Int(here.rawValue)]
        session.handle(.chosen(here, text: text), into: &effects)
      case .finish: break
      }
    }
    return session
  }

  /// What the far end says: the row behind `text`, and how it would go on.
  private func answer(
    _ text: [TokenID], entropySwitch: EntropySwitch?, _ chooser: inout TokenChooser
  ) -> DraftBurst {
    var text = text
    let position = text.count
    var rows: [RowSummary] = []
    var tokens: [TokenID] = []
    var turn = DraftTurn(
      parameters, burstMax: burstMax ?? 1, entropies: entropySwitch?.entropies ?? [],
      stay: entropySwitch?.stay ?? 0)
    while true {
      let row = draft.row(text[...])
      rows.append(RowSummary(logits: row.span))
      guard burstMax != nil, turn.wants(rows[rows.count - 1]) else { break }
      tokens.append(
        chooser.choose(logits: row.span, top: Span(), recent: Span(), position: text.count))
      text.append(tokens[tokens.count - 1])
      guard turn.count() else { break }
    }
    return DraftBurst(position: position, rows: rows, tokens: tokens)
  }
}

@Suite struct DraftBurstTests {
  private func generated(_ session: CollaborationSession) -> [TokenID] {
    Array(session.truth[session.promptCount...])
  }

  /// Whatever a round trip covers, text and writers are those of one row at a time.
  @Test(arguments: [.entropy, .leading, .oracle] as [CollaborationParameters.Method])
  func theTextDependsOnNoLengthOfBursts(method: CollaborationParameters.Method) throws {
    var trips = [0, 0]
    var switches = 0
    for seed in 0..<40 as Range<UInt64> {
      var single = ToyDistance(method, seed: seed, burstMax: nil)
      let expected = try single.run()
      switches += expected.statistics.switchCount
      trips[0] += single.tripCount
      for burstMax in [1, 2, 3, 5, 16] {
        var burst = ToyDistance(method, seed: seed, burstMax: burstMax)
        let session = try burst.run()
        #expect(generated(session) == generated(expected), "seed \(seed), bursts of \(burstMax)")
        #expect(burst.writers == single.writers)
        #expect(session.ignoredCount == 0 && !session.isDegraded)
        if burstMax == 16 { trips[1] += burst.tripCount }
      }
    }
    #expect(switches > 30, "\(method) hardly changed the writer")
    #expect(trips[1] < trips[0], "bursts save round trips: \(trips)")
  }

  /// A stay of the draft model, however many decisions it takes, is one round trip.
  @Test func aStayIsOneRoundTrip() throws {
    for seed in 0..<20 as Range<UInt64> {
      var toy = ToyDistance(.entropy, seed: seed, burstMax: 64)
      _ = try toy.run()
      let stays = toy.writers.indices.count { index in
        toy.writers[index] == .draft && (index == 0 || toy.writers[index - 1] != .draft)
      }
      // One more where the target begins: the draft model looks at the prompt first.
      #expect(toy.tripCount == stays + (toy.writers[0] == .target ? 1 : 0), "seed \(seed)")
    }
  }

  @Test func aBurstSpeaksOnlyOfTheTextItKnows() {
    let rows = (0..<3).map { RowSummary(entropy: Double($0), maxProbability: 1, gap: 0) }
    let burst = DraftBurst(position: 2, rows: rows, tokens: [7, 8])
    #expect(burst.row(at: 2, of: [1, 1]) == rows[0])
    #expect(burst.row(at: 3, of: [1, 1, 7]) == rows[1])
    #expect(burst.row(at: 4, of: [1, 1, 7, 8]) == rows[2])
    #expect(burst.row(at: 3, of: [1, 1, 9]) == nil, "another token was chosen")
    #expect(burst.row(at: 4, of: [1, 1, 9, 8]) == nil)
    #expect(burst.row(at: 1, of: [1]) == nil && burst.row(at: 5, of: [1, 1, 7, 8, 9]) == nil)
    #expect(burst.token(at: 1) == nil && burst.token(at: 4) == nil)
    #expect(burst.token(at: 2) == 7 && burst.token(at: 3) == 8)
  }

  /// Before every answer of the draft model in turn: what was written stays, the rest is the target's.
  @Test(arguments: CollaborationParameters.Method.allCases.filter { $0 != .proxy })
  func theTargetGoesOnAloneFromAnyLoss(method: CollaborationParameters.Method) throws {
    for seed in 0..<6 as Range<UInt64> {
      var whole = ToyDistance(method, seed: seed, burstMax: nil)
      // What both write together, this toy chooses from the draft model's row.
      let expected = generated(try whole.run())
      for answerMax in 0...whole.tripCount {
        var toy = ToyDistance(method, seed: seed, burstMax: nil)
        toy.parameters = whole.parameters
        toy.answerMax = answerMax
        let session = try toy.run()
        let isLost = answerMax < whole.tripCount
        #expect(session.isDegraded == isLost && session.finish == .length)
        #expect(session.generatedCount == 60 && session.ignoredCount == 0)
        #expect(!toy.asksTheLost)
        let last = toy.writers.lastIndex { $0 != .target } ?? -1
        #expect(
          generated(session)[...last] == expected[...last], "seed \(seed), lost at \(answerMax)")
        #expect(session.statistics.tokenCount == 60)
      }
    }
  }

  /// Lost while its choice is open: the choice is withdrawn, and an answer to it counts as none.
  @Test func anOpenChoiceOfTheLostModelIsWithdrawn() throws {
    let toy = ToyDistance(.oracle, seed: 1, burstMax: nil)
    var session = try CollaborationSession(
      toy.configuration, parameters: toy.parameters, costs: CollaborationCosts(draftUnit: 1))
    var effects: [CollaborationEffect] = []
    session.start(into: &effects)
    let row = RowSummary(entropy: 1, maxProbability: 0.9, gap: 0.4)
    effects = []
    session.handle(.ingested(.draft, 0..<3, row: row), into: &effects)
    #expect(effects == [.choose(.draft)])
    effects = []
    session.handle(.lost(.draft), into: &effects)
    #expect(effects == [.ingest(.target, 0..<3, wantsRow: true)])
    effects = []
    session.handle(.chosen(1, text: "b"), into: &effects)
    session.handle(.ingested(.draft, 0..<3, row: row), into: &effects)
    session.handle(.lost(.draft), into: &effects)
    #expect(effects.isEmpty && session.ignoredCount == 2 && session.generatedCount == 0)
    session.handle(.ingested(.target, 0..<3, row: row), into: &effects)
    #expect(effects == [.choose(.target)])
    // The target's own open choice stays.
    effects = []
    session.handle(.lost(.antiexpert), into: &effects)
    #expect(effects.isEmpty)
    session.handle(.chosen(1, text: "b"), into: &effects)
    #expect(session.generatedCount == 1)
  }

  /// Lost before the start, after tokens of an earlier session: the target goes on behind them.
  @Test func aTextGoesOnBehindDecidedTokens() throws {
    var toy = ToyDistance(.entropy, seed: 3, burstMax: nil)
    let expected = try toy.target.plain(toy.configuration).tokens
    for count in [1, 30, 60] {
      toy.configuration.decided = Array(expected.prefix(count))
      toy.answerMax = 0
      let session = try toy.run()
      #expect(generated(session) == expected && session.finish == .length)
      #expect(session.statistics.tokenCount == 60 - count)
    }
    toy.configuration.decided = [4, 1]
    toy.configuration.stopTokens = [1]
    toy.configuration.ignoresEndOfSequence = false
    #expect(try toy.run().finish == .stop)
  }
}

import Decoding
import InferenceTypes
import Testing

private func text(_ tokens: [TokenID], answerStart: Int? = nil) -> SessionText {
  var text = SessionText()
  for token in tokens { text.append(token) }
  text.answerStart = answerStart ?? tokens.count
  return text
}

private func plan(
  _ source: some PlannedSource, after tokens: [TokenID]
) -> PlannedDraft {
  var source = source
  var draft = PlannedDraft()
  var text = text(tokens)
  source.plan(after: &text, into: &draft)
  return draft
}

private func tokens(_ range: Range<UInt32>) -> [TokenID] { range.map { TokenID($0) } }

@Suite struct CopySourceTests {
  @Test func theLongestOfTheLatestMatchesIsCopied() {
    // 1 2 3 stands twice: after 8 9 with a longer match, then after 7 with a shorter one.
    let prompt: [TokenID] = [8, 9, 1, 2, 3, 20, 21, 22, 7, 1, 2, 3, 30, 31, 8, 9, 1, 2, 3]
    #expect(plan(CopySource(), after: prompt).tokens.prefix(3) == [20, 21, 22])
    let even: [TokenID] = [1, 2, 3, 20, 21, 7, 1, 2, 3, 30, 31, 9, 1, 2, 3]
    #expect(plan(CopySource(), after: even).tokens.prefix(2) == [30, 31])
  }

  @Test func theBlockGrowsWithTheMatch() {
    let passage = tokens(100..<200)
    #expect(plan(CopySource(), after: passage + [1] + passage[..<3]).count == 13)
    #expect(plan(CopySource(), after: passage + [1] + passage[..<8]).count == 18)
    #expect(plan(CopySource(), after: passage + [1] + passage[..<60]).count == 32)
    #expect(plan(CopySource(), after: passage + [1] + passage[..<2]).count == 0)
  }

  @Test func theEndOfTheTextIsNoMatch() {
    #expect(plan(CopySource(), after: [1, 2, 3]).count == 0)
    #expect(plan(CopySource(), after: [4, 4]).count == 0)
    #expect(plan(CopySource(), after: []).count == 0)
    #expect(plan(CopySource(), after: [4, 4, 4, 4]).tokens == [4])
  }

  @Test func anIndexBuiltPieceByPieceIsTheSame() {
    var random = SmallRandom(3)
    var growing = SessionText()
    var all: [TokenID] = []
    for _ in 0..<300 {
      all.append(TokenID(UInt32(random.below(4))))
      growing.append(all[all.count - 1])
      guard random.below(3) == 0 else { continue }
      var draft = PlannedDraft()
      var source = CopySource()
      source.plan(after: &growing, into: &draft)
      #expect(draft.tokens == plan(CopySource(), after: all).tokens)
    }
  }
}

@Suite struct LookupSourceTests {
  @Test func theWorkedExample() {
    let source = LookupSource(lengths: 2...3, draftLength: 4)
    #expect(plan(source, after: [1, 2, 3, 4, 2, 3]).tokens == [4, 2, 3])
  }

  @Test func theLongestMatchWinsThenTheEarliestPlace() {
    let source = LookupSource(lengths: 1...3, draftLength: 1)
    #expect(plan(source, after: [5, 6, 7, 10, 4, 6, 7, 11, 5, 6, 7]).tokens == [10])
    #expect(plan(source, after: [6, 7, 10, 9, 6, 7, 11, 6, 7]).tokens == [10])
    #expect(plan(source, after: [1, 2, 3]).count == 0)
    #expect(plan(source, after: [1]).count == 0)
  }
}

@Suite struct NgramSourceTests {
  @Test func aPeriodIsContinued() {
    #expect(plan(NgramSource(), after: [1, 2, 3, 1, 2, 3, 1, 2]).tokens.prefix(4) == [3, 1, 2, 3])
    #expect(plan(NgramSource(), after: [1, 2, 3, 4]).count == 0)
  }

  @Test func anUnsureSuccessorIsNotDrafted() {
    // After 1 came 2, 3 and 4 alike: no share of 66 percent, and no longer key.
    #expect(plan(NgramSource(), after: [1, 2, 9, 1, 3, 8, 1, 4, 7, 1]).count == 0)
  }

  @Test func earlierAnswersCountWhereTheyAreSure() {
    var source = NgramSource()
    source.remember([1, 2, 3, 4, 5])
    #expect(plan(source, after: [1, 2, 3]).count == 0, "seen once only")
    source.remember([1, 2, 3, 4, 5])
    #expect(plan(source, after: [9, 1, 2, 3]).tokens == [4, 5])
  }
}

@Suite struct SuffixSourceTests {
  @Test func whatCameMoreOftenIsSurer() {
    // After 5 6 came 7 twice and 8 once.
    let draft = plan(SuffixSource(), after: [5, 6, 7, 1, 5, 6, 8, 2, 5, 6, 7, 3, 5, 6])
    #expect(draft.tokens.first == 7)
  }

  @Test func aMatchPromisesAsManyTokensAsItIsLong() {
    let passage = tokens(100..<200)
    for length in [1, 2, 5, 20] {
      let draft = plan(SuffixSource(), after: passage + [1] + passage[..<length])
      #expect(draft.tokens == Array(passage[length..<2 * length]))
    }
    let long = plan(SuffixSource(), after: passage + [1] + passage[..<60])
    #expect(long.tokens == Array(passage[60..<84]))
  }

  @Test func anEarlierAnswerIsContinuedInAnotherSession() {
    var source = SuffixSource()
    #expect(plan(source, after: [1, 100, 101, 102]).count == 0)
    source.remember(tokens(100..<150)[...])
    #expect(plan(source, after: [1, 100, 101, 102]).tokens == tokens(103..<106))
  }

  @Test func oldAnswersMakeRoom() {
    var source = SuffixSource(byteMax: 40_000)
    var random = SmallRandom(5)
    let answers = (0..<30).map { _ in
      (0..<100).map { _ in TokenID(UInt32(random.below(500))) }
    }
    for answer in answers {
      source.remember(answer[...])
      #expect(source.answers.byteCount <= 40_000)
      #expect(source.answers.isConsistent)
    }
    #expect(source.answers.textCount < 10)
    #expect(plan(source, after: Array(answers[29][..<8])).tokens.prefix(4) == answers[29][8..<12])
    #expect(
      source.answers.count(of: answers[0][..<8].map(\.rawValue)) == 0, "the oldest one is gone")
  }

  @Test func anAnswerLargerThanAllRoomIsNotKept() {
    var source = SuffixSource(byteMax: 1000)
    source.remember(tokens(0..<100)[...])
    #expect(source.answers.textCount == 0)
  }
}

@Suite struct PredictionSourceTests {
  private func plan(prediction: [TokenID], answers: [[TokenID]]) -> [TokenID] {
    var session = text([900, 901])
    session.prediction = prediction
    var source = PredictionSource()
    var draft = PlannedDraft()
    for answer in answers {
      for token in answer { session.append(token) }
      draft.removeAll()
      source.plan(after: &session, into: &draft)
    }
    return draft.tokens
  }

  @Test func theExpectedTextIsDraftedFromItsBeginning() {
    #expect(plan(prediction: tokens(0..<50), answers: [[]]) == tokens(0..<32))
    #expect(plan(prediction: tokens(0..<50), answers: [tokens(0..<30)]) == tokens(30..<50))
    #expect(plan(prediction: tokens(0..<50), answers: [tokens(0..<50)]).isEmpty)
    #expect(plan(prediction: [], answers: [[1, 2]]).isEmpty)
  }

  @Test func thePlaceIsFoundAgainAfterAChange() {
    let expected = tokens(0..<20)
    // A replaced token: lost at first, found with the next one.
    #expect(plan(prediction: expected, answers: [tokens(0..<5), [70]]).isEmpty)
    #expect(
      plan(prediction: expected, answers: [tokens(0..<5), [70], [6]]) == tokens(7..<20))
    // An insertion and a deletion.
    #expect(
      plan(prediction: expected, answers: [tokens(0..<5), [70, 71, 5]]) == tokens(6..<20))
    #expect(plan(prediction: expected, answers: [tokens(0..<5), [9]]) == tokens(10..<20))
  }

  @Test func aMovedBlockIsFoundFromTheBeginning() {
    #expect(
      plan(prediction: tokens(0..<20), answers: [tokens(0..<18), [3, 4]]) == tokens(5..<20))
  }

  @Test func anAmbiguousTokenTakesTheNearestPlaceAhead() {
    let expected: [TokenID] = [1, 2, 5, 3, 5, 4]
    #expect(plan(prediction: expected, answers: [[1, 7, 5]]) == [3, 5, 4])
    #expect(plan(prediction: expected, answers: [[1, 3, 5]]) == [4])
  }
}

@Suite struct RecycleTemplateTests {
  @Test func theTemplateHasEightyNodesInSixLayers() {
    var depths: [Int] = []
    var paths: [[Int]] = []
    for (parent, rank) in RecycleTemplate.template {
      #expect(parent < paths.count)
      depths.append(parent < 0 ? 1 : depths[parent] + 1)
      paths.append((parent < 0 ? [] : paths[parent]) + [rank])
    }
    #expect((1...6).map { depth in depths.count { $0 == depth } } == [8, 21, 25, 15, 8, 3])
    #expect(Set(paths).count == 80)
    // A few by name, the last of each layer among them.
    for path in [
      [7], [7, 0], [1, 3], [5, 0, 0], [1, 0, 1], [0, 2, 1], [3, 0, 0, 0], [0, 1, 0, 0],
    ] {
      #expect(paths.contains(path), "\(path)")
    }
    for path in [[1, 0, 0, 0, 0], [0, 0, 0, 2, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0]] {
      #expect(paths.contains(path), "\(path)")
    }
    #expect(!paths.contains([6, 0, 0]))
    #expect(!paths.contains([0, 7, 0, 0]))
  }

  @Test func theTreeIsFilledFromTheLatestRows() {
    var source = RecycleTemplate(vocabularyCount: 100)
    #expect(plan(source, after: [1]).count == 0)
    func observe(_ token: UInt32, _ successors: [TokenID]) {
      let top = successors.enumerated().map { TokenLogit(token: $1, logit: -Float($0)) }
      source.observe(token, top: top.span)
    }
    observe(1, [50, 51])
    observe(1, [10, 11, 12])
    observe(10, [20])
    observe(20, [1])
    let draft = plan(source, after: [5, 1])
    #expect(draft.tokens == [10, 11, 12, 20, 1, 10, 11, 12, 20, 1])
    #expect(draft.parents == [-1, -1, -1, 0, 3, 4, 4, 4, 5, 8])
    observe(200, [3])
    #expect(plan(source, after: [TokenID(200)]).count == 0, "no such token")
  }
}

/// A target that repeats a fixed text.
@Suite struct SourceSetTests {
  private static let names: [(String, DraftSourceSet)] = [
    ("copy", .copy), ("lookup", .lookup), ("ngram", .ngram), ("suffix", .suffix),
    ("published", .recyclePublished), ("aded", .aded), ("recycling", .recycling),
    ("trigram", .trigram), ("all", DraftSourceSet(rawValue: .max)),
  ]

  private func run(
    _ set: DraftSourceSet, model: ToyModel, configuration: VerifierSession.Configuration
  ) throws -> (tokens: [TokenID], steps: Int, statistics: DraftStatistics) {
    var sources = LocalSources(set, vocabularyCount: model.vocabularyCount)
    var session = try VerifierSession(configuration)
    while session.finish == nil {
      let batch = session.nextBatch(sources: &sources, costs: .assumed, limit: 16)
      _ = model.step(&session, batch, sources: &sources)
    }
    return (
      Array(session.truth[session.promptCount...]), session.statistics.stepCount,
      session.statistics
    )
  }

  @Test(arguments: names.indices)
  func noSourceChangesTheTextAndEachSavesSteps(index: Int) throws {
    let (name, set) = Self.names[index]
    var saved = 0
    for seed in 0..<12 as Range<UInt64> {
      let model = ToyModel(vocabularyCount: 7, memory: 2, sharpness: 8, seed: seed)
      let configuration = model.configuration(
        temperature: seed % 2 == 0 ? 0 : 0.5, seed: seed, tokenLimit: 120)
      let expected = try model.plain(configuration).tokens
      let result = try run(set, model: model, configuration: configuration)
      #expect(result.tokens == expected, "\(name), seed \(seed)")
      saved += expected.count - result.steps
    }
    #expect(saved > 12 * 30, "\(name) saved \(saved) steps")
  }

  @Test func aRightPredictionIsAcceptedAndAWrongOneCostsLittle() throws {
    let model = ToyModel(vocabularyCount: 50, memory: 4, sharpness: 8, seed: 3)
    var configuration = model.configuration(temperature: 0, tokenLimit: 100)
    let expected = try model.plain(configuration).tokens
    configuration.prediction = expected
    let right = try run(.prediction, model: model, configuration: configuration)
    #expect(right.tokens == expected)
    #expect(right.steps < 20)
    #expect(
      (1...16).reduce(0) { $0 + right.statistics.acceptedCount(.prediction, depth: $1) } > 80)
    configuration.prediction = expected.map { TokenID(($0.rawValue + 1) % 50) }
    let wrong = try run(.prediction, model: model, configuration: configuration)
    #expect(wrong.tokens == expected)
    #expect(wrong.statistics.verifiedCount < 60)
    configuration.prediction = []
    #expect(
      try run(.prediction, model: model, configuration: configuration).statistics.verifiedCount
        == 0)
  }

  @Test func aDrafterWithATextCopiesFromIt() throws {
    let passage = tokens(100..<130)
    let configuration = DrafterSession.Configuration(
      truth: passage + [1] + passage[..<6], sampling: SamplingParameters(),
      contextLength: 1000, vocabularyCount: 200)
    for set in [.copy, .suffix, .recycling] as [DraftSourceSet] {
      var session = try DrafterSession(configuration)
      var sources = LocalSources(set, vocabularyCount: 200)
      let update = session.propose(sources: &sources, limit: 16)
      #expect(update.nodes.first?.token == passage[6])
      #expect(update.nodes.contains { $0.token == passage[8] })
    }
  }
}

@Suite struct RejectedRowsTests {
  @Test func whatFollowedAWrongWordIsGuessedAfterTheRightOne() throws {
    // The target goes 1 2 3 …, but a drafter says 9 in place of 2; after either word the target
    // means 3, and nothing else is known of 2.
    var configuration = VerifierSession.Configuration(
      prompt: [1], sampling: SamplingParameters(), contextLength: 100, vocabularyCount: 20)
    configuration.sampling.temperature = 0
    var session = try VerifierSession(configuration)
    var sources = LocalSources(recycling: TokenRecycling(vocabularyCount: 20))
    func conclude(_ batch: VerifyBatch, _ next: [TokenID]) {
      var logits: [Float] = []
      var top: [TokenLogit] = []
      for token in next {
        var row = [Float](repeating: 0, count: 20)
        row[Int(token.rawValue)] = 20
        logits += row
        top += topEntries(row, count: 4)
      }
      _ = session.conclude(
        batch, logits: logits.span, top: top.span, topCount: 4, sources: &sources)
    }
    session.receive(
      [DraftNode(id: NodeID(rawValue: 1), parent: .none, token: 9, score: -0.01)], anchor: 1,
      link: 0)
    let first = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 4)
    #expect(first.tokens == [1, 9])
    conclude(first, [2, 3])
    #expect(session.truth == [1, 2])
    let second = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 8)
    #expect(second.tree.child(of: 0, token: 3) != nil)
  }
}

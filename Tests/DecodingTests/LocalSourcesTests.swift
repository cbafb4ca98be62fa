import Decoding
import InferenceTypes
import Testing

/// A target that repeats a fixed text, whatever was decided before.
private struct Recitation {
  var text: [TokenID]
  var vocabularyCount: Int

  /// What comes at a position after a token; after a wrong one anything may come.
  func row(position: Int, after token: TokenID) -> [Float] {
    var row = [Float](repeating: 0, count: vocabularyCount)
    var random = SmallRandom(UInt64(position) << 32 | UInt64(token.rawValue))
    let isRight = token == text[(position - 1) % text.count]
    let next = text[position % text.count].rawValue
    row[isRight ? Int(next) : random.below(vocabularyCount)] = 20
    return row
  }

  /// Decodes `count` tokens; returns the tokens per step over the positions of `measured`.
  func run(
    count: Int, measured: Range<Int>, sources: inout LocalSources, temperature: Float = 0,
    limit: Int = 16, costs: VerifyCosts = .assumed,
    origins: Set<DraftOrigin> = Set(DraftOrigin.allCases)
  ) throws -> (rate: Double, lastBatch: Int, origins: Set<DraftOrigin>) {
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    var configuration = VerifierSession.Configuration(
      prompt: [text[0]], sampling: sampling, contextLength: 10_000,
      vocabularyCount: vocabularyCount)
    configuration.tokenLimit = count
    configuration.draftOrigins = origins
    var session = try VerifierSession(configuration)
    var steps = 0
    var tokens = 0
    var lastBatch = 0
    var seen: Set<DraftOrigin> = []
    while session.finish == nil {
      let batch = session.nextBatch(sources: &sources, costs: costs, limit: limit)
      lastBatch = batch.count
      seen.formUnion(batch.origins.dropFirst())
      var logits: [Float] = []
      var top: [TokenLogit] = []
      for (position, token) in zip(batch.positions, batch.tokens) {
        let row = row(position: position + 1, after: token)
        logits += row
        top += topEntries(row, count: 8)
      }
      let outcome = session.conclude(
        batch, logits: logits.span, top: top.span, topCount: 8, sources: &sources)
      if measured.contains(outcome.fromPosition) {
        steps += 1
        tokens += outcome.tokens.count
      }
    }
    return (Double(tokens) / Double(max(1, steps)), lastBatch, seen)
  }
}

private func randomText(_ count: Int, over vocabularyCount: Int, seed: UInt64) -> [TokenID] {
  var random = SmallRandom(seed)
  return (0..<count).map { _ in TokenID(UInt32(random.below(vocabularyCount))) }
}

@Suite struct LocalSourcesTests {
  @Test func aLoopIsDraftedFromTrigramsAfterTwoPeriods() throws {
    var sources = LocalSources(trigram: TrigramStore())
    let target = Recitation(text: [4, 5, 6], vocabularyCount: 10)
    // Two periods end at position 7.
    let (rate, _, _) = try target.run(count: 60, measured: 8..<50, sources: &sources)
    #expect(rate >= 4)
  }

  /// After a prompt somebody else begins to speak: its words say little of the first one.
  @Test func theFirstTokenOfAnAnswerIsDoubted() throws {
    func expected(prompt: [TokenID], decided: [TokenID]) throws -> Float {
      var configuration = VerifierSession.Configuration(
        prompt: prompt, sampling: SamplingParameters(), contextLength: 1000, vocabularyCount: 200)
      configuration.decided = decided
      var session = try VerifierSession(configuration)
      var sources = LocalSources(recycling: TokenRecycling(vocabularyCount: 200))
      let top = [TokenLogit(token: 5, logit: 9), TokenLogit(token: 6, logit: 5)]
      sources.observe(context: TokenContext(endOf: [90]), top: top.span)
      let costs = VerifyCosts(relative: (0..<16).map { 1 + 0.02 * Float($0) })
      return session.nextBatch(sources: &sources, costs: costs, limit: 2).expectedCount
    }
    // The same text, all of it the prompt, or its last token the answer's own.
    let atStart = try expected(prompt: [1, 2, 90], decided: [])
    let later = try expected(prompt: [1, 2], decided: [90])
    #expect(later > 1.1)
    #expect(atStart - 1 < (later - 1) / 2)
  }

  /// A drafter that is sure of its guesses leaves little to tokens that it does not name.
  @Test func localTokensShareWhatADrafterLeaves() throws {
    func batch(
      _ drafts: [(token: UInt32, probability: Double)],
      second: [(token: UInt32, probability: Double)] = [], limit: Int
    ) throws -> VerifyBatch {
      var configuration = VerifierSession.Configuration(
        prompt: [1, 2], sampling: SamplingParameters(), contextLength: 1000, vocabularyCount: 200)
      configuration.decided = [90]
      var session = try VerifierSession(configuration)
      for (link, drafts) in [drafts, second].enumerated() {
        session.receive(
          drafts.enumerated().map { index, draft in
            DraftNode(
              id: NodeID(rawValue: UInt32(index + 1)), parent: .none, token: TokenID(draft.token),
              score: Float(ExactMath.log(draft.probability)))
          }, anchor: 3, link: link)
      }
      var sources = LocalSources(recycling: TokenRecycling(vocabularyCount: 200))
      let top = [TokenLogit(token: 5, logit: 9), TokenLogit(token: 6, logit: 5)]
      sources.observe(context: TokenContext(endOf: [90]), top: top.span)
      return session.nextBatch(sources: &sources, costs: VerifyCosts(relative: []), limit: limit)
    }
    let sure = [(7, 0.6), (8, 0.25), (9, 0.1)] as [(token: UInt32, probability: Double)]
    #expect(try Set(batch(sure, limit: 4).tokens.dropFirst()) == [7, 8, 9])
    #expect(try batch([], limit: 2).tokens[1] == 5)
    // Where the drafter has doubts they come in.
    #expect(try batch([(7, 0.1)], limit: 2).tokens[1] == 5)
    // Two that agree are surer than one.
    let (alone, agreed) = (try batch([(9, 0.5)], limit: 2), try batch([(5, 0.5)], limit: 2))
    #expect(alone.tokens[1] == 9 && agreed.tokens[1] == 5)
    #expect(agreed.expectedCount > alone.expectedCount)
    // To be named with little confidence is not worse than not to be named.
    let unnamed = try batch([(7, 0.05)], limit: 2)
    #expect(try batch([(7, 0.05), (5, 0.01)], limit: 2).tokens[1] == 5)
    #expect(
      try batch([(7, 0.05), (5, 0.01)], limit: 2).expectedCount >= unnamed.expectedCount - 0.01)
    // Drafters that contradict each other leave what the surest one leaves, not nothing.
    let torn = try batch([(7, 0.3)], second: [(8, 0.3)], limit: 4).expectedCount
    #expect(torn - 1.6 > 0.6 * (try batch([], limit: 2).expectedCount - 1))
  }

  /// What a session does not allow is not used, though the sources are there for others.
  @Test(
    arguments: [[], [.trigram], [.recycling, .remote], [.trigram, .recycling]]
      as [Set<DraftOrigin>])
  func onlyAllowedSourcesSpeak(origins: Set<DraftOrigin>) throws {
    var sources = LocalSources(vocabularyCount: 10)
    let target = Recitation(text: [4, 5, 6], vocabularyCount: 10)
    let result = try target.run(
      count: 200, measured: 100..<190, sources: &sources, origins: origins)
    #expect(result.origins.isSubset(of: origins))
    #expect(result.origins.isEmpty == origins.isEmpty)
    #expect(origins.isEmpty ? result.rate == 1 : result.rate >= 4)
  }

  @Test func trigramsAloneAnswerWithoutASearch() throws {
    var sources = LocalSources(trigram: TrigramStore(iterationCount: 0))
    let target = Recitation(text: [4, 5, 6], vocabularyCount: 10)
    let (rate, _, _) = try target.run(count: 60, measured: 8..<50, sources: &sources)
    #expect(rate >= 4)
  }

  @Test(arguments: [0, 0.8] as [Float])
  func aTextSeenOnceIsRecycled(temperature: Float) throws {
    var sources = LocalSources(recycling: TokenRecycling(vocabularyCount: 200))
    let target = Recitation(text: randomText(300, over: 200, seed: 1), vocabularyCount: 200)
    let (cold, _, _) = try target.run(
      count: 298, measured: 0..<290, sources: &sources, temperature: temperature)
    let (warm, _, _) = try target.run(
      count: 298, measured: 0..<290, sources: &sources, temperature: temperature)
    #expect(cold < 2)
    #expect(warm > 2)
    #expect(warm > 1.5 * cold)
  }

  /// The first batch below a prompt that nothing was learned from.
  private func firstBatch(prompt: [TokenID], temperature: Float = 0) throws -> VerifyBatch {
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    var session = try VerifierSession(
      VerifierSession.Configuration(
        prompt: prompt, sampling: sampling, contextLength: 10_000, vocabularyCount: 200))
    var sources = LocalSources(recycling: TokenRecycling(vocabularyCount: 200))
    // Cheap enough that a new session can pay for several drafts.
    let costs = VerifyCosts(relative: (0..<16).map { 1 + 0.02 * Float($0) })
    return session.nextBatch(sources: &sources, costs: costs, limit: 16)
  }

  @Test(arguments: [0, 0.8] as [Float])
  func whatFollowedTheSameWordsIsDrafted(temperature: Float) throws {
    let passage = (0..<40).map { TokenID(UInt32($0)) }
    let batch = try firstBatch(prompt: passage + [90] + passage[..<12], temperature: temperature)
    var node = 0
    var depth = 0
    while let next = batch.tree.child(of: node, token: passage[12 + depth]) {
      node = next
      depth += 1
    }
    #expect(depth >= 4)
    #expect(try firstBatch(prompt: passage, temperature: temperature).count == 1)
  }

  @Test func aLongerMatchIsBelievedMore() throws {
    let passage = (0..<40).map { TokenID(UInt32($0)) }
    var last = -Float.infinity
    for length in [2, 4, 8, 15] {
      let batch = try firstBatch(prompt: passage + [90] + passage[(20 - length)..<20])
      let child = try #require(batch.tree.child(of: 0, token: 20))
      #expect(batch.scores[child] > last)
      last = batch.scores[child]
    }
  }

  @Test func aMatchMayReachFromTheDraftsIntoTheText() throws {
    // After "5 6" both 7 and 9 came; only the words before tell which comes now.
    let prompt: [TokenID] = [1, 2, 3, 4, 5, 6, 7, 50, 51, 52, 5, 6, 9, 53, 1, 2, 3, 4]
    let batch = try firstBatch(prompt: prompt)
    let five = try #require(batch.tree.child(of: 0, token: 5))
    let six = try #require(batch.tree.child(of: five, token: 6))
    let seven = try #require(batch.tree.child(of: six, token: 7))
    if let nine = batch.tree.child(of: six, token: 9) {
      #expect(batch.scores[seven] > batch.scores[nine])
    }
  }

  @Test func aWrongSourceSoonGetsNoBudget() throws {
    // Every token is new: what follows is never what followed before.
    let vocabularyCount = 400
    let steps = randomText(400, over: 7, seed: 2)
    var position = 0
    let text = steps.map { step in
      position = (position + 1 + Int(step.rawValue) * 53) % vocabularyCount
      return TokenID(UInt32(position))
    }
    var sources = LocalSources(vocabularyCount: vocabularyCount)
    sources.observe(prompt: randomText(4000, over: vocabularyCount, seed: 3))
    let target = Recitation(text: text, vocabularyCount: vocabularyCount)
    let (_, lastBatch, _) = try target.run(count: 120, measured: 0..<1, sources: &sources)
    #expect(lastBatch == 1)
  }

  @Test func aLyingDrafterSoonGetsNoBudget() throws {
    let model = ToyModel(vocabularyCount: 50, seed: 6)
    let configuration = model.configuration(temperature: 0, tokenLimit: 60)
    let text = try model.plain(configuration).tokens
    var session = try VerifierSession(configuration)
    var sources = LocalSources.none
    var id: UInt32 = 0
    var sizes: [Int] = []
    while session.finish == nil {
      let wrong = TokenID((text[session.generatedCount].rawValue + 1) % 50)
      for depth in 0..<4 {
        id += 1
        session.receive(
          [
            DraftNode(
              id: NodeID(rawValue: id), parent: depth == 0 ? .none : NodeID(rawValue: id - 1),
              token: wrong, score: 0)
          ], anchor: session.truth.count, link: 0)
      }
      let batch = session.nextBatch(sources: &sources, costs: .assumed, limit: 16)
      sizes.append(batch.count)
      _ = model.step(&session, batch, sources: &sources)
    }
    #expect(sizes[0] <= 7 && sizes[0] > 1, "what the session may spend at its start")
    #expect(sizes[20...].allSatisfy { $0 == 1 })
  }

  @Test func aFloodingDrafterIsHeldToTheLimit() throws {
    let model = ToyModel(vocabularyCount: 50, seed: 6)
    var configuration = model.configuration(temperature: 0, tokenLimit: 40)
    configuration.pendingNodeMax = 500
    let expected = try model.plain(configuration).tokens
    var session = try VerifierSession(configuration)
    var sources = LocalSources.none
    var random = SmallRandom(1)
    var id: UInt32 = 0
    while session.finish == nil {
      var nodes: [DraftNode] = []
      for _ in 0..<3000 {
        id += 1
        let parent = random.below(2) == 0 ? 0 : id - 1 - UInt32(random.below(Int(min(id, 40))))
        nodes.append(
          DraftNode(
            id: NodeID(rawValue: id), parent: NodeID(rawValue: parent),
            token: TokenID(UInt32(random.below(50))), score: -0.01))
      }
      session.receive(nodes, anchor: session.truth.count, link: 0)
      #expect(session.pendingCount <= 500)
      let batch = session.nextBatch(sources: &sources, costs: freeOfCost, limit: 16)
      _ = model.step(&session, batch, sources: &sources)
    }
    #expect(Array(session.truth[3...]) == expected)
    #expect(session.receptionCount(.refused) > 1000)
  }

  @Test func estimatesBecomeTheObservedRates() throws {
    // Two thirds of what the source claims at 0.9 is right.
    var table = HitRateTable(cellCount: HitRateTable.binCount)
    let cell = HitRateTable.bin(0.9)
    for trial in 0..<300 {
      table.record(cell: cell, claimed: 0.9, isHit: trial % 3 != 0)
    }
    #expect(abs(table.estimate(cell: cell, claimed: 0.9) - 0.667) < 0.02)
    for _ in 0..<12 { table.record(cell: 0, claimed: 0.005, isHit: false) }
    #expect(table.estimate(cell: 0, claimed: 0.005) < 0.002)
  }

  @Test(arguments: [0, 0.8] as [Float])
  func expectedCountsComeTrue(temperature: Float) throws {
    var sources = LocalSources(vocabularyCount: 12)
    var expected: Float = 0
    var emitted = 0
    var steps = 0
    for seed in 0..<18 as Range<UInt64> {
      let model = ToyModel(vocabularyCount: 12, memory: 2, sharpness: 6, seed: 1)
      let configuration = model.configuration(
        temperature: temperature, seed: seed, tokenLimit: 100)
      var session = try VerifierSession(configuration)
      while session.finish == nil {
        let batch = session.nextBatch(sources: &sources, costs: .assumed, limit: 16)
        let outcome = model.step(&session, batch, sources: &sources, topCount: 8)
        guard seed >= 8 else { continue }
        expected += batch.expectedCount
        emitted += outcome.tokens.count
        steps += 1
      }
    }
    #expect(abs(Double(expected) / Double(emitted) - 1) < 0.12)
    #expect(Double(emitted) / Double(steps) > 3)
  }

  @Test func draftsNeverChangeTheTextOfSharedSources() throws {
    var sources = LocalSources(vocabularyCount: 5)
    for seed in 0..<20 as Range<UInt64> {
      let model = ToyModel(memory: 2, seed: seed / 10)
      let configuration = model.configuration(
        temperature: seed % 2 == 0 ? 0 : 0.7, seed: seed, tokenLimit: 80)
      let expected = try model.plain(configuration).tokens
      var session = try VerifierSession(configuration)
      while session.finish == nil {
        let batch = session.nextBatch(sources: &sources, costs: .assumed, limit: 16)
        _ = model.step(&session, batch, sources: &sources)
      }
      #expect(Array(session.truth[3...]) == expected)
      if seed >= 15 { #expect(session.statistics.stepCount < 55) }
    }
  }
}

@Suite struct TrigramStoreTests {
  @Test func weightsGrowByTheIncrementUpToTheCap() {
    var store = TrigramStore()
    store.observe([1, 2, 3, 1, 2, 4])
    #expect(abs(store.weight(1, 2, 3) - 0.04) < 1e-6)
    #expect(abs(store.weight(1, 2, 4) - 0.04) < 1e-6)
    #expect(abs(store.weight(2, 3, 1) - 0.04) < 1e-6)
    #expect(store.weight(2, 4, 1) == 0)
    store.observe(endOf: [9, 9] + [TokenID](repeating: 7, count: 5) + [1, 2, 3])
    #expect(abs(store.weight(1, 2, 3) - 0.08) < 1e-6)
    #expect(abs(store.weight(7, 7, 7) - 0.12) < 1e-6)
    for _ in 0..<100 { store.observe([1, 2, 3]) }
    #expect(abs(store.weight(1, 2, 3) - 3) < 1e-5)
    #expect(abs(store.weight(1, 2, 4) - 0.04) < 1e-6)
  }

  @Test func onlyTheLastSixteenTokensAreReinforced() {
    var store = TrigramStore()
    let text = (0..<20).map { TokenID(UInt32($0)) }
    store.observe(endOf: text)
    #expect(store.weight(3, 4, 5) == 0)
    #expect(store.weight(4, 5, 6) > 0)
    #expect(store.weight(17, 18, 19) > 0)
  }

  @Test func theLightestSuccessorMakesRoom() {
    var store = TrigramStore()
    for token in 0..<40 as Range<UInt32> {
      for _ in 0..<(token < 31 ? 2 : 1) { store.observe([1, 2, TokenID(token)]) }
    }
    #expect((0..<31).allSatisfy { store.weight(1, 2, TokenID($0)) > 0.07 })
    #expect((31..<39).allSatisfy { store.weight(1, 2, TokenID($0)) == 0 })
    #expect(store.weight(1, 2, 39) > 0)
  }

  @Test func proposalsAreDeterministicAndHeaviestFirst() {
    var first = TrigramStore()
    var second = TrigramStore()
    let text = randomText(2000, over: 12, seed: 5)
    first.observe(text[...])
    second.observe(text[...])
    let root = DraftPlace(
      context: TokenContext(endOf: text), position: text.count,
      sampling: DraftSampling(SamplingParameters()))
    var candidates: [[DraftCandidate]] = [[], []]
    let place = first.searched(root)
    first.propose(at: place, into: &candidates[0])
    second.propose(at: second.searched(root), into: &candidates[1])
    #expect(candidates[0] == candidates[1])
    #expect(!candidates[0].isEmpty)
    #expect(zip(candidates[0], candidates[0].dropFirst()).allSatisfy { $0.claimed >= $1.claimed })
    var unknown = root
    unknown.context = TokenContext(endOf: [50, 51])
    var none: [DraftCandidate] = []
    first.propose(at: first.searched(unknown), into: &none)
    #expect(none.isEmpty)
  }
}

@Suite struct TokenRecyclingTests {
  private func propose(
    _ recycling: inout TokenRecycling, _ context: [TokenID], temperature: Float = 0,
    position: Int = 9
  ) -> [DraftCandidate] {
    var parameters = SamplingParameters()
    parameters.temperature = temperature
    var candidates: [DraftCandidate] = []
    recycling.propose(
      at: DraftPlace(
        context: TokenContext(endOf: context), position: position,
        sampling: DraftSampling(parameters)), into: &candidates)
    return candidates
  }

  private func observe(
    _ recycling: inout TokenRecycling, _ context: [TokenID], _ tokens: [TokenID]
  ) {
    let top = tokens.enumerated().map { TokenLogit(token: $1, logit: 5 - Float($0)) }
    recycling.observe(context: TokenContext(endOf: context), top: top.span)
  }

  @Test func theLongestKnownKeyAnswers() {
    var recycling = TokenRecycling(vocabularyCount: 100)
    #expect(propose(&recycling, [1, 2, 3]).isEmpty)
    observe(&recycling, [1, 2, 3], [10, 11])
    observe(&recycling, [7, 2, 3], [20, 21])
    observe(&recycling, [7, 8, 3], [30, 31])
    #expect(propose(&recycling, [1, 2, 3]).map(\.token) == [10, 11])
    #expect(propose(&recycling, [9, 2, 3]).map(\.token) == [20, 21])
    #expect(propose(&recycling, [2, 3]).map(\.token) == [20, 21])
    // The row of a single token is a mean of those seen, the latest one counts most.
    for context in [[9, 9, 3], [3]] as [[TokenID]] {
      let tokens = propose(&recycling, context).map(\.token)
      #expect(tokens.first == 30)
      #expect(Set(tokens).isSuperset(of: [10, 20, 30, 31]))
    }
  }

  /// Rows that come from no text are guessed from, with less trust, until a text shows its own.
  @Test(arguments: [0, 0.8] as [Float])
  func whatNoTextHasShownIsSupposed(temperature: Float) throws {
    func row(_ tokens: [TokenID]) -> [TokenLogit] {
      tokens.enumerated().map { TokenLogit(token: $1, logit: 5 - 2 * Float($0)) }
    }
    var recycling = TokenRecycling(vocabularyCount: 100)
    let isNew = recycling.suppose(after: 3, top: row([10, 11]).span)
    #expect(isNew)
    #expect(recycling.knowsRow(after: 3) && !recycling.knowsRow(after: 4))
    let supposed = propose(&recycling, [3], temperature: temperature)
    #expect(Set(supposed.map(\.token)).isSubset(of: [10, 11]) && !supposed.isEmpty)
    var other = TokenRecycling(vocabularyCount: 100)
    other.observe(context: TokenContext(endOf: [3]), top: row([10, 11]).span)
    let seen = propose(&other, [3], temperature: temperature)
    #expect(supposed[0].claimed < seen[0].claimed)
    // What is known stays.
    let isNewAgain = recycling.suppose(after: 3, top: row([20]).span)
    #expect(!isNewAgain)
    #expect(propose(&recycling, [3], temperature: temperature) == supposed)
    recycling.observe(context: TokenContext(endOf: [3]), top: row([30, 31]).span)
    let tokens = propose(&recycling, [3]).map(\.token)
    #expect(tokens.first == 30)
  }

  /// What stands before an answer is somebody else's text, unless three words of it are known.
  @Test func theFirstTokenOfAnAnswerIsDoubted() throws {
    var recycling = TokenRecycling(vocabularyCount: 100)
    func claim(answerStart: Int) throws -> Float {
      var text = SessionText()
      for token in [1, 2, 3] as [TokenID] { text.append(token) }
      text.answerStart = answerStart
      let place = DraftPlace(
        context: TokenContext(endOf: [1, 2, 3]), position: 3,
        sampling: DraftSampling(SamplingParameters()))
      var candidates: [DraftCandidate] = []
      recycling.propose(at: place, path: [], text: text, into: &candidates)
      return try #require(candidates.first { $0.token == 10 }).claimed
    }
    observe(&recycling, [3], [10, 11])
    let (first, later) = try (claim(answerStart: 3), claim(answerStart: 2))
    #expect(first < later)
    observe(&recycling, [1, 2, 3], [10, 11])
    let (firstKnown, laterKnown) = try (claim(answerStart: 3), claim(answerStart: 2))
    #expect(firstKnown == laterKnown && firstKnown > first)
  }

  @Test func supposedRowsSurviveTheStore() throws {
    var original = TokenRecycling(vocabularyCount: 100)
    let top = [TokenLogit(token: 10, logit: 2), TokenLogit(token: 11, logit: 1)]
    original.suppose(after: 3, top: top.span)
    let sources = LocalSources(recycling: original)
    func shelf() -> SourceShelf {
      SourceShelf(isolation: .shared, vocabularyCount: 100) {
        LocalSources(recycling: TokenRecycling(vocabularyCount: 100))
      }
    }
    var written = shelf()
    written.use(nil) { $0 = sources }
    var read = shelf()
    try read.restore(written.sections())
    let kept = read.use(nil) { $0.recycling }
    var restored = try #require(kept)
    #expect(propose(&restored, [3]) == propose(&original, [3]))
    #expect(!propose(&restored, [3]).isEmpty)
  }

  @Test func sampledProposalsFollowTheNoise() {
    var recycling = TokenRecycling(vocabularyCount: 100)
    let tokens = (10..<18).map { TokenID(UInt32($0)) }
    observe(&recycling, [1, 2, 3], tokens)
    let noise = GumbelNoise(seed: 0)
    var followed = 0
    for position in 0..<50 {
      let best = tokens.indices.max { left, right in
        5 - Double(left) + noise.value(position: position, token: tokens[left])
          < 5 - Double(right) + noise.value(position: position, token: tokens[right])
      }
      let proposal = propose(&recycling, [1, 2, 3], temperature: 1, position: position).first
      if proposal?.token == best.map({ tokens[$0] }) { followed += 1 }
    }
    // Shorter keys, which know of no noise, have a say, too.
    #expect(followed >= 40)
  }

  @Test func successorsWithoutLogitsAreRemembered() {
    var recycling = TokenRecycling(vocabularyCount: 100)
    let context = TokenContext(endOf: [1, 2, 3])
    recycling.observe(context: context, successor: 50)
    recycling.observe(context: context, successor: 51)
    recycling.observe(context: context, successor: 52)
    recycling.observe(context: context, successor: 51)
    #expect(propose(&recycling, [1, 2, 3]).map(\.token).prefix(2) == [51, 52])
    for token in 0..<30 as Range<UInt32> {
      recycling.observe(context: context, successor: TokenID(token))
    }
    #expect(propose(&recycling, [1, 2, 3]).first?.token == 29)
  }
}

@Suite struct VerifyCostsTests {
  @Test func measuredCostsAreSmoothedAndContinued() {
    let costs = VerifyCosts(relative: [2, 2.2, 2.1, .nan, 3, -1])
    #expect(costs.relative == [1, 1.1, 1.1, 1.1, 1.5, 1.5])
    #expect(abs(costs.cost(11) - 2) < 1e-5)
    #expect(VerifyCosts(relative: []).cost(100) == 1)
    #expect(abs(VerifyCosts.assumed.cost(11) - 1.45) < 1e-5)
  }

  @Test func longContextsMakeFurtherTokensDearer() {
    let costs = VerifyCosts(relative: [1, 1.1, 1.2], attention: 0.001)
    #expect(costs.at(context: 0) == costs)
    // (1.2 + 3) / (1 + 1)
    #expect(abs(costs.at(context: 1000).cost(3) - 2.1) < 1e-5)
    #expect(VerifyCosts(relative: [1, 1.1], attention: .nan).at(context: 1000).cost(2) == 1.1)
  }
}

@Suite struct TokenTreeTests {
  @Test func siblingsWithOneTokenMerge() {
    var tree = TokenTree(root: 7)
    let first = tree.add(1, below: 0, score: -0.693_147_2, origin: .trigram)
    let child = tree.add(1, below: first, score: 0, origin: .trigram)
    #expect(tree.add(1, below: 0, score: -0.1, origin: .recycling) == first)
    #expect(tree.count == 3)
    #expect(tree.origins[first] == .recycling)
    #expect(abs(tree.scores[first] - -0.048_7) < 0.001)
    #expect(tree.depths == [0, 1, 2])
    #expect(tree.parents == [-1, 0, first])
    #expect(tree.child(of: first, token: 1) == child)
    #expect(tree.child(of: child, token: 1) == nil)
  }

  @Test func truncationForgetsTheNewestNodes() {
    var tree = TokenTree(root: 0)
    for token in 1...4 as ClosedRange<UInt32> {
      tree.add(
        TokenID(token), below: token % 2 == 0 ? 0 : Int(token) - 1, score: -1, origin: .model)
    }
    tree.truncate(to: 3)
    #expect(tree.count == 3)
    #expect(tree.child(of: 0, token: 4) == nil)
    #expect(tree.child(of: 0, token: 2) == 2)
    #expect(tree.child(of: 0, token: 1) == 1)
    tree.add(9, below: 2, score: -1, origin: .model)
    #expect(tree.child(of: 2, token: 9) == 3)
  }
}

import Decoding
import InferenceTypes
import Testing

@Suite struct AdaptiveTrigramsTests {
  private func text(_ tokens: [TokenID]) -> SessionText {
    var text = SessionText()
    for token in tokens { text.append(token) }
    return text
  }

  private func plan(_ source: inout AdaptiveTrigrams, after tokens: [TokenID]) -> PlannedDraft {
    var draft = PlannedDraft()
    var text = text(tokens)
    source.plan(after: &text, into: &draft)
    return draft
  }

  /// All trigrams of the text weigh 0.04 and no random step has a choice, so the search can be done
  /// by hand. Its root is the pair 1 2, which 3 and 4 followed.
  ///
  /// | iteration | way | visits after it |
  /// |---|---|---|
  /// | 1 | the root's children appear, the last of them is taken: 4, and on to 1 2 | 4: 1 |
  /// | 2 | 3 was never visited; its child 1 appears, and on to 2 | 3: 1, 3 1: 1 |
  /// | 3 | 3 and 4 are worth the same, the first wins: 3, 1, whose child 2 appears | 3: 2, 3 1: 2, 3 1 2: 1 |
  ///
  /// So the paths by visits are none, 3, 3 1, 4 and 3 1 2, and each gets its heaviest successor.
  private let example: [TokenID] = [1, 2, 3, 1, 2, 4, 1, 2]

  @Test func theWorkedExample() {
    var source = AdaptiveTrigrams(iterationCount: 3)
    let draft = plan(&source, after: example)
    #expect(draft.tokens == [3, 1, 4, 1, 2, 3])
    #expect(draft.parents == [-1, 0, -1, 2, 1, 4])
  }

  @Test func theNumberOfPathsIsFixed() {
    // Without path 3 1 2, whose end was the token 3, and without path 4.
    var source = AdaptiveTrigrams(iterationCount: 3, pathMax: 3)
    #expect(plan(&source, after: example).tokens == [3, 1, 2])
    var single = AdaptiveTrigrams(iterationCount: 3, pathMax: 1)
    #expect(plan(&single, after: example).tokens == [3])
  }

  @Test func thePathsWithMostTokensLeaveFirst() {
    // The paths have 1, 2, 3, 2 and 3 different tokens, 11 together: both of 3 have to go.
    var source = AdaptiveTrigrams(iterationCount: 3, tokenMax: 6)
    let draft = plan(&source, after: example)
    #expect(draft.tokens == [3, 1, 4, 1])
    #expect(draft.parents == [-1, 0, -1, 2])
    // 8 tokens are few enough.
    var roomier = AdaptiveTrigrams(iterationCount: 3, tokenMax: 8)
    #expect(plan(&roomier, after: example).tokens == [3, 1, 4, 1, 2])
  }

  @Test func theFirstIterationTriesTheLastChild() {
    var source = AdaptiveTrigrams(iterationCount: 1)
    // Paths: none, continued by 3; 4 once visited, continued by 1; 3 never, continued by 1.
    #expect(plan(&source, after: example).tokens == [3, 4, 1, 1])
  }

  @Test func recentTextIsReinforcedAtEveryStepUpToALimit() {
    var source = AdaptiveTrigrams(iterationCount: 1)
    let six: [TokenID] = [1, 2, 3, 1, 2, 3]
    _ = plan(&source, after: six)
    #expect(source.weight(1, 2, 3) == 0.08)
    #expect(source.weight(2, 3, 1) == 0.04)
    #expect(source.weight(3, 1, 2) == 0.04)
    #expect(source.weight(1, 2, 9) == 0)
    for _ in 0..<50 { _ = plan(&source, after: six) }
    #expect(source.weight(1, 2, 3) == 3)
    #expect(source.weight(2, 3, 1) < 3)
    // Only the last 16 tokens count: of 17 the first trigram is out.
    var other = AdaptiveTrigrams(iterationCount: 1)
    _ = plan(&other, after: (1...17).map { TokenID($0) })
    #expect(other.weight(1, 2, 3) == 0)
    #expect(other.weight(2, 3, 4) == 0.04)
  }

  @Test func finishedAnswersAreTheCorpus() {
    var source = AdaptiveTrigrams()
    for _ in 0..<3 { source.remember([1, 2, 7]) }
    source.remember([1, 2, 8])
    #expect(source.weight(1, 2, 7) == 0.75)
    #expect(source.weight(1, 2, 8) == 0.25)
    #expect(plan(&source, after: [1, 2]).tokens.prefix(2) == [7, 8])
    // The corpus and recent text add up.
    _ = plan(&source, after: [1, 2, 8])
    let sum: Float = 0.25 + 0.04
    #expect(source.weight(1, 2, 8) == sum)
    // Twelve successors of a pair are kept, the rarest makes room.
    for token in 20..<40 as Range<UInt32> { source.remember([1, 2, TokenID(token)]) }
    #expect((20..<40).count { source.weight(1, 2, TokenID($0)) > 0 } == 10)
    #expect(source.weight(1, 2, 7) == 0.125)
  }

  @Test func aTextWithoutAKnownPairHasNoDrafts() {
    var source = AdaptiveTrigrams()
    #expect(plan(&source, after: []).count == 0)
    #expect(plan(&source, after: [1]).count == 0)
    #expect(plan(&source, after: [1, 2, 3]).count == 0)
  }

  @Test func aLoopIsFollowedAfterTwoPeriods() {
    var source = AdaptiveTrigrams()
    let draft = plan(&source, after: [1, 2, 3, 1, 2, 3])
    #expect(draft.tokens == [1, 2, 3, 1])
    #expect(draft.parents == [-1, 0, 1, 2])
  }

  @Test func theSameTextHasTheSameDrafts() {
    var random = SmallRandom(7)
    let tokens = (0..<200).map { _ in TokenID(UInt32(random.below(6))) }
    var sources = [AdaptiveTrigrams(), AdaptiveTrigrams()]
    for end in 0..<tokens.count {
      let drafts = sources.indices.map { plan(&sources[$0], after: Array(tokens[..<end])) }
      #expect(drafts[0].tokens == drafts[1].tokens)
      #expect(drafts[0].parents == drafts[1].parents)
      #expect(drafts[0].count <= 64)
    }
  }
}

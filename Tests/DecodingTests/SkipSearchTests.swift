import Decoding
import Testing

@Suite struct SkipSearchTests {
  @Test func itBeginsBetweenTheEndsAndKeepsTheSize() {
    var search = SkipSearch(layerCount: 30, seed: 7)
    #expect(search.best.count == 25)
    for _ in 0..<200 {
      let candidate = search.candidate()
      #expect(candidate.count == 25 && Set(candidate).count == 25)
      #expect(candidate == candidate.sorted())
      #expect(candidate.allSatisfy { (2..<58).contains($0) }, "the first and last layer stay")
      #expect(candidate == search.candidate(), "the same until something was learnt")
      search.learn(score: 0, bestScore: 0.5)
    }
    #expect(search.trialCount == 200)
  }

  /// Each sublayer has a worth; the search finds nearly the least valuable ones.
  @Test func itFindsWhatMattersLeast() {
    var search = SkipSearch(layerCount: 20, seed: 1)
    func worth(_ sublayer: Int) -> Double { Double(sublayer * 37 % 36) / 36 }
    func score(_ set: [Int]) -> Double { 0.9 - set.reduce(0) { $0 + worth($1) } / 20 }
    let first = score(search.best)
    let ideal = score(Array((2..<38).sorted { worth($0) < worth($1) }.prefix(search.best.count)))
    while !search.isFinished {
      search.learn(score: score(search.candidate()), bestScore: score(search.best))
    }
    let found = score(search.best)
    #expect(found - first > 0.8 * (ideal - first), "\(first) to \(found), \(ideal) is possible")
  }

  @Test func itEndsWhereNothingIsToBeFound() {
    #expect(SkipSearch(layerCount: 2).isFinished && SkipSearch(layerCount: 2).best.isEmpty)
    #expect(SkipSearch(layerCount: 0).best.isEmpty)
    #expect(SkipSearch(layerCount: 12, share: 1).isFinished)
    var good = SkipSearch(layerCount: 12)
    #expect(!good.isFinished)
    good.learn(score: 0.97, bestScore: 0.9)
    #expect(good.isFinished && good.bestScore == 0.97)
    var hopeless = SkipSearch(layerCount: 12)
    for _ in 0..<300 { hopeless.learn(score: 0.1, bestScore: 0.2) }
    #expect(hopeless.isFinished && hopeless.best == SkipSearch(layerCount: 12).best)
  }
}

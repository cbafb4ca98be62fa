import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import TestSupport
import Testing

@Suite struct RowSurveyTests {
  @Test func missingRowsAreWhatTheTargetThinks() throws {
    let file = try GGUFFile(path: TestFiles.modelPath())
    let engine = try InferenceEngine(
      model: Model(file: file), threadCount: 1, contextLength: 256)
    let vocabularyCount = engine.model.shape.vocabularyCount
    let opening: [TokenID] = [198]
    // All rows but some are there: a whole vocabulary takes a minute.
    let missing = stride(from: 300, to: 1300, by: 10).map { TokenID(UInt32($0)) }
    var recycling = TokenRecycling(vocabularyCount: vocabularyCount)
    let known = [TokenLogit(token: 7, logit: 1)]
    for token in (0..<vocabularyCount).map({ TokenID(UInt32($0)) }) where !missing.contains(token) {
      recycling.suppose(after: token, top: known.span)
    }
    var shares: [Double] = []
    let count = try RowSurvey.fill(&recycling, engine: engine, opening: opening) {
      shares.append($0)
    }
    #expect(count == missing.count)
    #expect(shares == shares.sorted() && shares.last == 1)
    for token in missing.prefix(3) + missing.suffix(3) {
      let cache = try engine.makeCache()
      try engine.forward(ForwardBatch(chain: opening + [token], logits: .last), cache: cache)
      let likely = Set(engine.topLogits(TokenRecycling.rowLength).map(\.token))
      var candidates: [DraftCandidate] = []
      recycling.propose(
        at: DraftPlace(
          context: TokenContext(endOf: [token]), position: 9,
          sampling: DraftSampling(SamplingParameters())), into: &candidates)
      #expect(!candidates.isEmpty)
      #expect(Set(candidates.map(\.token)).isSubset(of: likely), "token \(token)")
    }
    #expect(try RowSurvey.fill(&recycling, engine: engine, opening: opening) == 0)
  }
}

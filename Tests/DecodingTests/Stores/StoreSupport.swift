import Decoding
import InferenceTypes
import Testing

/// Names that tests use for a model.
enum StoreSamples {
  static func stamp(_ vocabularyCount: Int, model: UInt8 = 1, tokenizer: UInt8 = 2) -> StoreStamp {
    StoreStamp(
      modelFingerprint: [UInt8](repeating: model, count: 32),
      tokenizerFingerprint: [UInt8](repeating: tokenizer, count: 32),
      vocabularyCount: vocabularyCount)
  }

  static func tenant(_ number: UInt8) throws -> TenantID {
    try #require(TenantID(bytes: [UInt8](repeating: number, count: 16)))
  }

  static func shelf(
    _ vocabularyCount: Int, isolation: StoreIsolation = .shared, tenantMax: Int = 4
  ) -> SourceShelf {
    SourceShelf(
      isolation: isolation, tenantMax: tenantMax, vocabularyCount: vocabularyCount
    ) { sources(vocabularyCount) }
  }

  /// Every source that a file keeps, empty.
  static func sources(_ vocabularyCount: Int) -> LocalSources {
    LocalSources([.recycling, .trigram, .suffix, .ngram, .aded], vocabularyCount: vocabularyCount)
  }

  /// The bytes of a store whose owner nobody told apart, as small as one that knows something.
  static func smallFile() -> [UInt8] {
    let sections = smallSources().sections(owner: nil, vocabularyCount: 12)
    return StoreFormat.encode(sections[...], stamp: stamp(12))
  }

  static func smallSources() -> LocalSources {
    var sources = sources(12)
    sources.observe(prompt: [1, 2, 3, 4, 1, 2, 5])
    for answer in [[1, 2, 3, 1, 2], [4, 2]] as [[TokenID]] { sources.remember(answer[...]) }
    let top = [TokenLogit(token: 7, logit: 3), TokenLogit(token: 2, logit: 1)]
    sources.observe(context: TokenContext(endOf: [1, 2]), top: top.span)
    return sources
  }
}

/// What a session did, step by step.
struct Replay: Equatable {
  var tokens: [TokenID] = []
  var batches: [[TokenID]] = []
  var scores: [[Float]] = []

  var tokensPerStep: Double { Double(tokens.count) / Double(max(1, batches.count)) }

  init(
    _ model: ToyModel, _ configuration: VerifierSession.Configuration, sources: inout LocalSources,
    costs: VerifyCosts = .assumed
  ) throws {
    var session = try VerifierSession(configuration)
    sources.observe(prompt: configuration.prompt)
    while session.finish == nil {
      let batch = session.nextBatch(sources: &sources, costs: costs, limit: 16)
      batches.append(batch.tokens)
      scores.append(batch.scores)
      tokens += model.step(&session, batch, sources: &sources).tokens
    }
  }
}

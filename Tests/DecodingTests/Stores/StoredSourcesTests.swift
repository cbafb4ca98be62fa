import Decoding
import InferenceTypes
import Testing

@Suite struct StoredSourcesTests {
  /// Sources that a few texts of a model have taught, sampled ones among them.
  private func taught(_ model: ToyModel) throws -> LocalSources {
    var sources = StoreSamples.sources(model.vocabularyCount)
    for seed in 0..<6 as Range<UInt64> {
      let configuration = model.configuration(
        temperature: seed % 2 == 0 ? 0 : 1, seed: seed, tokenLimit: 120)
      _ = try Replay(model, configuration, sources: &sources, costs: freeOfCost)
    }
    return sources
  }

  private func reloaded(_ sources: LocalSources, _ vocabularyCount: Int) throws -> LocalSources {
    let stamp = StoreSamples.stamp(vocabularyCount)
    let bytes = StoreFormat.encode(
      sources.sections(owner: nil, vocabularyCount: vocabularyCount)[...], stamp: stamp)
    var copy = StoreSamples.sources(vocabularyCount)
    for section in try StoreFormat.decode(bytes, stamp: stamp) {
      #expect(try copy.restore(section, vocabularyCount: vocabularyCount))
    }
    return copy
  }

  @Test(arguments: [5, 40])
  func whatWasWrittenIsWrittenAgain(vocabularyCount: Int) throws {
    let sources = try taught(ToyModel(vocabularyCount: vocabularyCount))
    let copy = try reloaded(sources, vocabularyCount)
    #expect(
      copy.sections(owner: nil, vocabularyCount: vocabularyCount)
        == sources.sections(owner: nil, vocabularyCount: vocabularyCount))
  }

  /// Same drafts, same scores, same evictions: nothing that matters was lost.
  @Test(arguments: [0, 1] as [Float])
  func reloadedSourcesDraftTheSame(temperature: Float) throws {
    let model = ToyModel(vocabularyCount: 40, memory: 2)
    var sources = try taught(model)
    var copy = try reloaded(sources, 40)
    for seed in 10..<14 as Range<UInt64> {
      let configuration = model.configuration(
        temperature: temperature, seed: seed, tokenLimit: 200)
      let first = try Replay(model, configuration, sources: &sources)
      let second = try Replay(model, configuration, sources: &copy)
      #expect(first == second)
      #expect(first.batches.contains { $0.count > 1 })
    }
    #expect(
      copy.sections(owner: nil, vocabularyCount: 40)
        == sources.sections(owner: nil, vocabularyCount: 40))
  }

  @Test func whatOneProcessLearnedHelpsTheNext() throws {
    let model = ToyModel(vocabularyCount: 200, memory: 3, seed: 5)
    let configuration = model.configuration(temperature: 0, tokenLimit: 150)
    var first = StoreSamples.sources(200)
    let cold = try Replay(model, configuration, sources: &first)
    var second = try reloaded(first, 200)
    let warm = try Replay(model, configuration, sources: &second)
    #expect(warm.tokens == cold.tokens)
    #expect(warm.tokensPerStep > 1.5 * cold.tokensPerStep)
  }

  /// Whatever a store says, the text is that of plain decoding.
  @Test func aStoreNeverChangesTheText() throws {
    let liar = try taught(ToyModel(vocabularyCount: 12, seed: 99))
    for seed in 0..<20 as Range<UInt64> {
      let model = ToyModel(vocabularyCount: 12, seed: seed % 3)
      let configuration = model.configuration(
        temperature: seed % 2 == 0 ? 0 : 1, seed: seed, tokenLimit: 60)
      var sources = try reloaded(liar, 12)
      let replay = try Replay(model, configuration, sources: &sources)
      #expect(replay.tokens == (try model.plain(configuration).tokens))
    }
  }

  /// Bytes with the right checksum may still be nonsense: they are refused or harmless.
  @Test func everyChangedByteIsRefusedOrHarmless() throws {
    let model = ToyModel(vocabularyCount: 12)
    let configuration = model.configuration(temperature: 1, tokenLimit: 20)
    let plain = try model.plain(configuration).tokens
    var refused = 0
    var taken = 0
    for section in StoreSamples.smallSources().sections(owner: nil, vocabularyCount: 12) {
      for index in section.payload.indices {
        for mask in [1, 0xFF] as [UInt8] {
          var changed = section
          changed.payload[index] ^= mask
          var sources = StoreSamples.sources(12)
          do {
            _ = try sources.restore(changed, vocabularyCount: 12)
          } catch {
            refused += 1
            continue
          }
          taken += 1
          // Nothing was taken that would not be written: no token beyond the vocabulary, say.
          let written = sources.sections(owner: nil, vocabularyCount: 12)
          #expect(written.contains(changed), "kind \(section.kind), byte \(index)")
          let replay = try Replay(model, configuration, sources: &sources, costs: freeOfCost)
          #expect(replay.tokens == plain, "kind \(section.kind), byte \(index)")
        }
      }
    }
    #expect(refused > 100)
    #expect(taken > 100)
  }

  @Test func everyShortenedSectionIsRefused() throws {
    for section in StoreSamples.smallSources().sections(owner: nil, vocabularyCount: 12) {
      for count in section.payload.indices {
        var changed = section
        changed.payload.removeLast(section.payload.count - count)
        var sources = StoreSamples.sources(12)
        #expect(throws: StoreError.self, "kind \(section.kind), \(count) bytes") {
          try sources.restore(changed, vocabularyCount: 12)
        }
      }
      var longer = section
      longer.payload.append(0)
      var sources = StoreSamples.sources(12)
      #expect(
        throws: StoreError.trailingBytes(part: "section of kind \(section.kind)", count: 1)
      ) { try sources.restore(longer, vocabularyCount: 12) }
    }
  }

  @Test func tokensOfALargerVocabularyAreRefused() throws {
    for section in StoreSamples.smallSources().sections(owner: nil, vocabularyCount: 12).prefix(2) {
      var sources = StoreSamples.sources(4)
      #expect(throws: StoreError.self) { try sources.restore(section, vocabularyCount: 4) }
    }
  }

  @Test func anotherLayoutIsRefusedByName() throws {
    for section in StoreSamples.smallSources().sections(owner: nil, vocabularyCount: 12) {
      var changed = section
      changed.layout += 1
      var sources = StoreSamples.sources(12)
      #expect(
        throws: StoreError.otherLayout(
          part: "section of kind \(section.kind)", found: 2, expected: 1)
      ) { try sources.restore(changed, vocabularyCount: 12) }
    }
  }

  /// A drafter does not check the tokens of a truth; what it learned of foreign ones stays out of
  /// the file, which could not be read otherwise.
  @Test func tokensBeyondTheVocabularyAreNotWritten() throws {
    var sources = StoreSamples.sources(12)
    sources.observe(prompt: [1, 2, 90, 3, 4, TokenID(.max), 1, 2, 3])
    let copy = try reloaded(sources, 12)
    #expect(
      copy.sections(owner: nil, vocabularyCount: 12)
        == sources.sections(owner: nil, vocabularyCount: 12))
  }
}

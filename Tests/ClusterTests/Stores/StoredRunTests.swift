import Cluster
import Decoding
import Engine
import Foundation
import GGUF
import InferenceTypes
import TestSupport
import Testing
import Tokenizer

@Suite struct StoredRunTests {
  /// What `slipstream run --draft-store` does; each time as if in a process of its own.
  @Test(arguments: [0, 0.8] as [Float], ["recycle,trigram", "suffix,ngram,aded"])
  func aStoreMakesTheNextRunFasterAndChangesNoToken(temperature: Float, list: String) throws {
    let file = try GGUFFile(path: TestFiles.modelPath())
    let tokenizer = try BytePairTokenizer(file: file)
    let engine = try InferenceEngine(
      model: Model(file: file), threadCount: 1, contextLength: 256)
    let vocabularyCount = engine.model.shape.vocabularyCount
    let path = FileManager.default.temporaryDirectory
      .appending(path: "slipstream-run-\(UUID().uuidString).store").path()
    defer {
      for name in [path, path + ".lock"] {
        // What is left over in the temporary folder harms nobody.
        try? FileManager.default.removeItem(atPath: name)
      }
    }
    var configuration = VerifierSession.Configuration(
      prompt: tokenizer.encode("The history of the lighthouse begins", parseSpecial: false),
      sampling: SamplingParameters(), contextLength: 256, vocabularyCount: vocabularyCount)
    configuration.sampling.temperature = temperature
    configuration.tokenLimit = 40
    // Measured ones would make the number of steps depend on what else this machine does.
    let costs = MeasuredCosts(known: .assumed, single: .milliseconds(5))
    func run(_ list: String, stored: Bool) throws -> LocalGenerator.Result {
      let methods = try DraftMethods(parsing: list, hasDraftModel: false)
      var shelf = SourceShelf(isolation: .shared, vocabularyCount: vocabularyCount) {
        methods.makeSources(vocabularyCount: vocabularyCount)
      }
      let store = DraftStoreFile(
        path: path,
        stamp: StoreStamp(
          modelFingerprint: file.fingerprint, tokenizerFingerprint: tokenizer.fingerprint,
          vocabularyCount: vocabularyCount)
      ) { Issue.record("\($0)") }
      if stored { store.load(into: &shelf) }
      let generator = try LocalGenerator(
        engine: engine, draftEngine: nil, methods: methods, costs: costs,
        sources: shelf.use(nil) { $0 })
      let result = try generator.generate(configuration)
      if stored {
        shelf.use(nil) { $0 = generator.sources }
        #expect(store.save(shelf))
      }
      return result
    }
    let plain = try run("none", stored: false)
    let cold = try run(list, stored: true)
    let second = try run(list, stored: true)
    let warm = try run(list, stored: true)
    for result in [cold, second, warm] { #expect(result.tokens == plain.tokens) }
    #expect(warm.statistics.stepCount < cold.statistics.stepCount * 3 / 4)
  }
}

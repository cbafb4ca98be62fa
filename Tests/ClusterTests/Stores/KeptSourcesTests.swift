import Cluster
import Decoding
import Engine
import Foundation
import GGUF
import InferenceTypes
import Logging
import TestSupport
import Testing
import Tokenizer

@Suite struct KeptSourcesTests {
  /// A place for a store that goes with this object, and a worker of the default model.
  private final class Place {
    let path = FileManager.default.temporaryDirectory
      .appending(path: "slipstream-kept-\(UUID().uuidString).store").path()
    let identity: WorkerIdentity

    init() throws {
      let file = try GGUFFile(path: TestFiles.modelPath())
      identity = try WorkerIdentity(
        name: "w", modelID: "m", file: file, tokenizer: BytePairTokenizer(file: file),
        shape: ModelShape(file: file), contextLength: 64)
    }

    deinit {
      for name in [path, path + ".lock"] {
        // What is left over in the temporary folder harms nobody.
        try? FileManager.default.removeItem(atPath: name)
      }
    }

    func sources(
      every interval: Duration, methods: String = "trigram", isolation: StoreIsolation = .shared
    ) throws -> KeptSources {
      var settings = DraftStoreSettings()
      settings.isolation = isolation
      settings.path = path
      settings.saveInterval = interval
      return KeptSources(
        settings, methods: try DraftMethods(parsing: methods, hasDraftModel: false),
        identity: identity, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    var hasFile: Bool { FileManager.default.fileExists(atPath: path) }
  }

  private func knows(_ sources: inout KeptSources) -> Bool {
    sources.use(nil) { $0.trigram?.weight(1, 2, 3) ?? 0 > 0 }
  }

  @Test func changesAreSavedWhenItIsTime() throws {
    let place = try Place()
    var sources = try place.sources(every: .zero)
    var saves = [sources.saveIfDue()]
    sources.use(nil) { $0.observe(prompt: [1, 2, 3]) }
    for _ in 0..<2 { saves.append(sources.saveIfDue()) }
    #expect(saves == [false, true, false])
    sources.finish()
    #expect(place.hasFile)
    var next = try place.sources(every: .zero)
    let isKnown = knows(&next)
    #expect(isKnown)
    next.finish()
  }

  @Test func whatIsNotDueIsSavedAtTheEnd() throws {
    let place = try Place()
    var sources = try place.sources(every: .seconds(3600))
    sources.use(nil) { $0.observe(prompt: [1, 2, 3]) }
    let isSaved = sources.saveIfDue()
    #expect(!isSaved && !place.hasFile)
    sources.finish()
    var next = try place.sources(every: .seconds(3600))
    let isKnown = knows(&next)
    #expect(isKnown)
    next.finish()
  }

  /// Tokens of the first verification for a tenant whose text begins like an answer before.
  private func draftCount(_ sources: inout KeptSources, _ tenant: TenantID?) throws -> Int {
    var session = try VerifierSession(
      VerifierSession.Configuration(
        prompt: [9, 1, 2, 3, 4], sampling: SamplingParameters(), contextLength: 100,
        vocabularyCount: 40))
    return sources.use(tenant) {
      session.nextBatch(sources: &$0, costs: VerifyCosts(relative: []), limit: 8).count - 1
    }
  }

  @Test(arguments: ["suffix", "ngram", "aded"])
  func answersAreRememberedAfterARestartByTheirTenant(method: String) throws {
    let place = try Place()
    let ann = try #require(TenantID(bytes: [UInt8](repeating: 1, count: 16)))
    let bob = try #require(TenantID(bytes: [UInt8](repeating: 2, count: 16)))
    var first = try place.sources(every: .zero, methods: method, isolation: .tenant)
    #expect(try draftCount(&first, ann) == 0)
    // N-grams of all texts count from the second time on, and single tokens from the fourth.
    for _ in 0..<4 { first.use(ann) { $0.remember([1, 2, 3, 4, 5, 6, 7, 8]) } }
    let learned = try draftCount(&first, ann)
    #expect(learned > 1)
    first.finish()
    var second = try place.sources(every: .zero, methods: method, isolation: .tenant)
    #expect(try draftCount(&second, ann) == learned)
    #expect(try draftCount(&second, bob) == 0)
    second.finish()
  }

  @Test func nothingLearnedIsNothingSaved() throws {
    let place = try Place()
    try place.sources(every: .zero).finish()
    #expect(!place.hasFile)
    var unused = try place.sources(every: .zero, methods: "none")
    unused.use(nil) { $0.observe(prompt: [1, 2, 3]) }
    let isSaved = unused.saveIfDue()
    unused.finish()
    #expect(!isSaved && !place.hasFile)
  }
}

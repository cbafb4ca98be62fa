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

    func sources(every interval: Duration, methods: String = "trigram") throws -> KeptSources {
      var settings = DraftStoreSettings()
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

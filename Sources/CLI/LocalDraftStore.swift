import ArgumentParser
import Cluster
import Decoding
import Foundation
import GGUF
import InferenceTypes
import Tokenizer
import Wire

/// The draft store of one process that decodes for itself.
struct LocalDraftStore {
  let file: DraftStoreFile
  private var shelf: SourceShelf

  /// The file of this model's store; `nil` where nothing is kept. `argument` is what --draft-store
  /// says, or `nil` for the place of daemons, where `role` is that of the process.
  static func file(
    _ argument: String?, role: String, model: GGUFFile, tokenizer: BytePairTokenizer,
    vocabularyCount: Int
  ) -> DraftStoreFile? {
    let stamp = StoreStamp(
      modelFingerprint: model.fingerprint, tokenizerFingerprint: tokenizer.fingerprint,
      vocabularyCount: vocabularyCount)
    let place =
      argument.map { DraftStorePlace(argument: $0) }
      ?? .standard(environment: ProcessInfo.processInfo.environment)
    guard let model = Fingerprint(bytes: stamp.modelFingerprint),
      let path = place.path(model: model, role: role)
    else { return nil }
    return DraftStoreFile(path: path, stamp: stamp) { notice in
      printError("warning: draft store \(path): \(notice)")
    }
  }

  /// The store that every generation of a benchmark begins with; a comparison with a store that is
  /// not there would be one with empty stores.
  ///
  /// - Throws: `CommandFailure` where there is none, or one of another model.
  static func existing(
    _ argument: String, model: GGUFFile, tokenizer: BytePairTokenizer, vocabularyCount: Int
  ) throws -> DraftStoreFile {
    // Opening a store makes its folders and its lock.
    guard argument == "none" || FileManager.default.fileExists(atPath: argument) else {
      throw CommandFailure(
        description: "--draft-store \(argument): there is none; slipstream warm makes one")
    }
    guard
      let stored = file(
        argument, role: "verifier", model: model, tokenizer: tokenizer,
        vocabularyCount: vocabularyCount)
    else {
      throw ValidationError("--draft-store none: leave it out, stores are empty then")
    }
    guard !stored.load().isEmpty else {
      throw CommandFailure(
        description: "\(stored.path): no draft store of this model; slipstream warm makes one")
    }
    return stored
  }

  /// What the file holds for these methods.
  init(_ file: DraftStoreFile, methods: DraftMethods, vocabularyCount: Int) {
    self.file = file
    shelf = SourceShelf(isolation: .shared, vocabularyCount: vocabularyCount) {
      methods.makeSources(vocabularyCount: vocabularyCount)
    }
    file.load(into: &shelf)
  }

  var sources: LocalSources {
    mutating get { shelf.use(nil) { $0 } }
  }

  /// - Returns: whether that was done; why not was said.
  @discardableResult
  mutating func save(_ sources: LocalSources) -> Bool {
    shelf.use(nil) { $0 = sources }
    return file.save(shelf)
  }
}

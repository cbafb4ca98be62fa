import ArgumentParser
import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import Tokenizer

/// `slipstream warm`.
struct WarmCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "warm",
    abstract: "Fill a draft store with what a model thinks likely after each of its tokens.",
    discussion: """
      Token Recycling then has guesses from the first word of the first text on; without it, it \
      learns from the texts alone. One pass over the vocabulary, about a minute for a small model; \
      --tokens leaves rare words out. \
      What the store knows from texts stays as it is. No process may use the store meanwhile.
      """)

  @OptionGroup var model: ModelOptions

  @Option(
    help: "The store: a file, or a folder. That of verifiers in the user's cache unless told.")
  var draftStore: String?

  @Option(help: "Ask only about so many tokens; most vocabularies begin with the frequent ones.")
  var tokens: Int?

  func validate() throws {
    guard tokens ?? 1 >= 1 else {
      throw ValidationError("--tokens \(tokens ?? 0): expected at least 1")
    }
  }

  func run() throws {
    let file = try ModelLoading.file(model.model)
    let tokenizer = try BytePairTokenizer(file: file)
    let engine = try ModelLoading.engine(model, file: file)
    // Whatever else the file holds is kept as it is.
    let methods = try DraftMethods(parsing: "recycle", hasDraftModel: false)
    let vocabularyCount = engine.model.shape.vocabularyCount
    guard
      let place = LocalDraftStore.file(
        draftStore, role: "verifier", model: file, tokenizer: tokenizer,
        vocabularyCount: vocabularyCount)
    else {
      throw ValidationError(
        draftStore.map { "--draft-store \($0): expected a file or a folder" }
          ?? "this user has no home to keep a store in: name a file with --draft-store")
    }
    var store = LocalDraftStore(place, methods: methods, vocabularyCount: vocabularyCount)
    let path = store.file.path
    guard store.file.isWritable else {
      throw CommandFailure(description: "\(path): the store cannot be written, see above")
    }
    var sources = store.sources
    guard var recycling = sources.recycling else {
      throw CommandFailure(description: "\(path): no store of Token Recycling")
    }
    let opening = tokenizer.encode("\n", parseSpecial: false)
    var bar = ProgressBar()
    let count: Int
    do {
      count = try RowSurvey.fill(
        &recycling, engine: engine, opening: opening.isEmpty ? [TokenID(0)] : opening,
        tokenLimit: tokens ?? .max
      ) { bar.show($0, "asking the model") }
    } catch {
      bar.clear()
      throw error
    }
    bar.clear()
    sources.recycling = recycling
    guard store.save(sources) else {
      throw CommandFailure(description: "\(path): the store was not written, see above")
    }
    FileHandleStream.standardOutput.write("\(path): rows of \(count) tokens added\n")
  }
}

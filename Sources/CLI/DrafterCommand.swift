import ArgumentParser
import Cluster
import Engine
import Tokenizer
import Transport

/// `slipstream drafter`.
struct DrafterCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drafter", abstract: "Guess tokens for verifiers.")

  @OptionGroup var daemon: DaemonOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var stores: DraftStoreOptions

  @Option(help: "Where the router takes workers.")
  var router = "tcp://127.0.0.1:7070"

  @Option(help: "Name in the cluster; made of host and process id unless told.")
  var name: String?

  @Option(name: [.customLong("np"), .customLong("slots")], help: "Sessions at a time.")
  var slots = 8

  @Option(
    help: """
      draft (the model writes trees), draft-chain, or training-free: trigram, recycle, aded and others \
      of "slipstream run", in a list. Those need only the tokenizer of the model file.
      """)
  var specType = "draft"

  func validate() throws {
    guard (1...4096).contains(slots) else {
      throw ValidationError("--slots \(slots): expected 1 to 4096")
    }
    let methods = try DraftMethods(parsing: specType, hasDraftModel: true)
    let isModel = methods.usesModel && methods.list.count == 1
    guard isModel || methods.usesSources && !methods.usesModel, !methods.usesSkipping else {
      throw ValidationError(
        "--spec-type \(specType): a drafter runs either \"draft\", \"draft-chain\" or training-free "
          + "methods")
    }
  }

  func run() async throws {
    let logger = daemon.logger("drafter")
    let methods = try DraftMethods(parsing: specType, hasDraftModel: true)
    try Processors.prepare(range: model.cpuRange, threadCount: model.threads)
    let source = try WorkerFile(path: model.model)
    let loaded =
      methods.usesModel
      ? try ModelLoading.model(
        source.file, path: model.model, backend: model.backend, threadCount: model.threads,
        weights: model.weights) : nil
    let identity = try source.identity(
      name: name, role: "drafter", contextLength: try source.contextLength(model.contextLength))
    var configuration = DrafterWorker.Configuration(
      identity: identity, routerEndpoint: router, methods: methods)
    configuration.stopTokens = source.tokenizer.endOfGeneration
    configuration.slotCount = slots
    configuration.threadCount = model.threads
    configuration.keyValueMemoryBytes = model.kvMemory?.bytes
    configuration.cacheTypes = loaded.map { model.cacheTypes(backend: $0.backend) }
    configuration.stores = stores.settings(model: identity.modelFingerprint, role: "drafter")
    let context = try ZeroMQContext()
    let worker = DrafterWorker(
      configuration: configuration, model: loaded, context: context, logger: logger)
    let service = WorkerService(
      work: {
        try await worker.run {
          FileHandleStream.standardOutput.write("registered \(identity.name)\n")
        }
      },
      drain: {})
    try await daemon.serve([service], logger: logger)
    await context.close()
  }
}

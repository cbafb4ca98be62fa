import ArgumentParser
import Cluster
import Engine
import InferenceTypes
import Transport

/// `slipstream verifier`.
struct VerifierCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verifier", abstract: "Own the target model and decide the tokens.")

  @OptionGroup var daemon: DaemonOptions
  @OptionGroup var listener: ListenerOptions
  @OptionGroup var model: ModelOptions
  @OptionGroup var stores: DraftStoreOptions

  @Option(help: "Where the router takes workers.")
  var router = "tcp://127.0.0.1:7070"

  @Option(help: "Where drafters dial in; a port of * lets the system choose.")
  var bind = "tcp://127.0.0.1:*"

  @Option(help: "What drafters dial where it differs from --bind.")
  var advertise: String?

  @Option(help: "Name in the cluster; made of host and process id unless told.")
  var name: String?

  @Option(name: [.customLong("np"), .customLong("slots")], help: "Sessions at a time.")
  var slots = 8

  @Option(
    help: """
      Local drafts: none, auto, or any of trigram, recycle, recycle-published, aded, copy, lookup, \
      ngram, suffix and prediction, separated by commas.
      """)
  var specType = "auto"

  @Option(help: "Most nodes of one verification.")
  var specTreeNodes = 32

  @Option(
    help:
      "How drafting and verifying share the time of a session: streamed, lockstep or vanilla (in turns). Drafters follow."
  )
  var pipeline = Pipeline.streamed

  @OptionGroup var allowed: AllowedRulesOptions

  func validate() throws {
    guard (1...4096).contains(slots) else {
      throw ValidationError("--slots \(slots): expected 1 to 4096")
    }
    guard (1...128).contains(specTreeNodes) else {
      throw ValidationError("--spec-tree-nodes \(specTreeNodes): expected 1 to 128")
    }
  }

  func run() async throws {
    let logger = daemon.logger("verifier")
    let methods = try DraftMethods(parsing: specType, hasDraftModel: false)
    guard !methods.usesSkipping else {
      throw ValidationError("--spec-type \(specType): only \"slipstream run\" drafts with \"skip\"")
    }
    try Processors.prepare(range: model.cpuRange, threadCount: model.threads)
    let source = try WorkerFile(path: model.model)
    try model.checkVerifier()
    let loaded = try ModelLoading.model(
      source.file, path: model.model, threadCount: model.threads, weights: model.weights)
    let identity = try source.identity(
      name: name, role: "verifier", contextLength: try source.contextLength(model.contextLength))
    var configuration = VerifierWorker.Configuration(
      identity: identity, routerEndpoint: router, methods: methods)
    configuration.dataEndpoint = bind
    configuration.advertisedEndpoint = advertise
    configuration.allowsPlaintextOffLoopback = listener.insecurePlaintext
    configuration.slotCount = slots
    configuration.threadCount = model.threads
    configuration.keyValueMemoryBytes = model.kvMemory?.bytes
    configuration.nodeLimit = specTreeNodes
    configuration.pipeline = pipeline
    configuration.tokenizer = source.tokenizer
    configuration.verifyRules = allowed.rules
    configuration.stores = stores.settings(model: identity.modelFingerprint, role: "verifier")
    let context = try ZeroMQContext()
    let worker = VerifierWorker(
      configuration: configuration, model: loaded, context: context, logger: logger)
    let service = WorkerService(
      work: {
        try await worker.run {
          FileHandleStream.standardOutput.write("registered \(identity.name)\n")
        }
      },
      drain: { await worker.drain(timeout: .seconds(30)) })
    try await daemon.serve([service], logger: logger)
    await context.close()
  }
}

extension ModelOptions {
  /// - Throws: where a verifier would compute other bits than its peers.
  func checkVerifier() throws {
    guard backend == Backend.native.rawValue else {
      throw ValidationError(
        "--backend \(backend): a verifier computes with the default backend; others round "
          + "differently in every batch")
    }
    guard cacheTypes(backend: .native) == Backend.native.defaultCacheTypes else {
      throw ValidationError(
        "--cache-type-k, --cache-type-v: all verifiers of a model keep i16, so that any of them can "
          + "go on with the text of another")
    }
  }
}

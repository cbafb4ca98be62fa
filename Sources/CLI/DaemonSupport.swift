import ArgumentParser
import Cluster
import Engine
import Foundation
import GGUF
import InferenceTypes
import Logging
import ServiceLifecycle
import Tokenizer
import UnixSignals
import Wire

/// Options of daemons that others dial.
struct ListenerOptions: ParsableArguments {
  @Flag(help: "Bind addresses that other hosts reach, without encryption.")
  var insecurePlaintext = false
}

/// Options of every daemon.
struct DaemonOptions: ParsableArguments {
  @Option(
    help: "trace, debug, info, notice, warning, error or critical.",
    transform: { name in
      guard let level = Logger.Level(rawValue: name) else {
        let names = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("expected one of \(names)")
      }
      return level
    })
  var logLevel = Logger.Level.info

  @Flag(help: "Stop when standard input ends: a child ends with its parent.")
  var lifeline = false

  func logger(_ label: String) -> Logger {
    var logger = Logger(label: label) { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = logLevel
    return logger
  }

  /// Runs services until SIGTERM, Ctrl-C or the end of the lifeline; each may then finish its work.
  func serve(_ services: [any Service], logger: Logger) async throws {
    var configuration = ServiceGroupConfiguration(
      services: services.map {
        .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup)
      },
      gracefulShutdownSignals: [.sigterm, .sigint], logger: logger)
    configuration.maximumGracefulShutdownDuration = .seconds(40)
    let group = ServiceGroup(configuration: configuration)
    guard lifeline else { return try await group.run() }
    let watcher = Thread {
      while true {
        let data = FileHandle.standardInput.availableData
        if data.isEmpty { break }
      }
      // A task of its own: this thread has nothing else to do and ends.
      Task { await group.triggerGracefulShutdown() }
    }
    watcher.start()
    try await group.run()
  }
}

/// A daemon's work as a service: after the signal it drains, then its task is cancelled.
struct WorkerService: Service {
  let work: @Sendable () async throws -> Void
  let drain: @Sendable () async -> Void

  func run() async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await work() }
      group.addTask {
        try await gracefulShutdown()
        await drain()
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }
}

/// What every worker reads from its model file.
struct WorkerFile {
  let file: GGUFFile
  let tokenizer: BytePairTokenizer
  let shape: ModelShape
  let modelID: String

  init(path: String) throws {
    file = try ModelLoading.file(path)
    do {
      tokenizer = try BytePairTokenizer(file: file)
      shape = try ModelShape(file: file)
    } catch { throw CommandFailure(description: "\(path): \(error)") }
    modelID = Self.identifier(path)
  }

  /// The file's name without its ending, as printable ASCII.
  static func identifier(_ path: String) -> String {
    let name = URL(filePath: path).deletingPathExtension().lastPathComponent
    let printable = name.unicodeScalars.map { (0x21...0x7e).contains($0.value) ? $0 : "-" }
    var identifier = ""
    identifier.unicodeScalars.append(contentsOf: printable.prefix(Limits.modelIDLengthMax))
    return identifier.isEmpty ? "model" : identifier
  }

  func contextLength(_ wanted: Int?) throws -> Int {
    let context = wanted ?? min(shape.contextLength, Limits.contextLengthMax)
    guard (1...min(shape.contextLength, Limits.contextLengthMax)).contains(context) else {
      throw ValidationError(
        "--ctx-size \(context): expected 1 to \(min(shape.contextLength, Limits.contextLengthMax))")
    }
    return context
  }

  func identity(name: String?, role: String, contextLength: Int) throws -> WorkerIdentity {
    let host = ProcessInfo.processInfo.hostName.filter { $0.isLetter || $0.isNumber || $0 == "-" }
    let fallback = "\(role)-\(host.prefix(32))-\(ProcessInfo.processInfo.processIdentifier)"
    return try WorkerIdentity(
      name: name ?? fallback, modelID: modelID, file: file, tokenizer: tokenizer, shape: shape,
      contextLength: contextLength)
  }

  /// What the API tells of the model.
  func served(alias: String?, contextLength: Int) -> ServedModel {
    ServedModel(
      id: alias ?? modelID, created: Int(Date().timeIntervalSince1970),
      vocabularyCount: shape.vocabularyCount, contextLength: contextLength,
      embeddingLength: shape.embeddingLength,
      parameterCount: file.tensors.reduce(0) { $0 + $1.elementCount },
      sizeBytes: file.sizeBytes)
  }
}

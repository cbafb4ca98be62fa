import ArgumentParser
import Cluster
import Decoding
import Engine
import Foundation
import GGUF
import HTTPAPI
import InferenceTypes
import ServiceLifecycle
import Tokenizer
import Transport
import Wire

/// `slipstream router`.
struct RouterCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "router",
    abstract: "Take HTTP requests, pair them with workers and stream the text.",
    discussion: "Reads the tokenizer and the chat template from the model file, not the weights.")

  @OptionGroup var daemon: DaemonOptions
  @OptionGroup var listener: ListenerOptions

  @Option(name: [.customShort("m"), .long], help: "Model file (GGUF) of the verifiers.")
  var model: String

  @Option(help: "Address for HTTP.")
  var host = "127.0.0.1"

  @Option(help: "Port for HTTP; 0 lets the system choose.")
  var port = 8080

  @Option(help: "Where workers register.")
  var bind = "tcp://127.0.0.1:7070"

  @Option(help: "A key that HTTP clients must send; may be given several times.")
  var apiKey: [String] = []

  @Option(help: "Name of the model in the API; the file's unless told.")
  var alias: String?

  @Option(name: [.customShort("c"), .customLong("ctx-size")], help: "Context length in tokens.")
  var contextLength: Int?

  @Option(help: "Requests that wait for a verifier at most.")
  var queueLimit = 64

  func run() async throws {
    let logger = daemon.logger("router")
    let source = try WorkerFile(path: model)
    guard let fingerprint = Fingerprint(bytes: source.file.fingerprint) else {
      throw WorkerError.invalidFingerprint
    }
    let served = source.served(
      alias: alias, contextLength: try source.contextLength(contextLength))
    var configuration = RouterConfiguration()
    configuration.routing.queueCountMax = queueLimit
    let context = try ZeroMQContext()
    let transport = try ZeroMQRouter(
      context, bind: [bind], allowsPlaintextOffLoopback: listener.insecurePlaintext)
    let router = RouterService(
      configuration: configuration, tokenizer: source.tokenizer, served: served,
      modelFingerprint: fingerprint, transport: transport, logger: logger)
    let endpoint = transport.endpoints.first ?? bind
    let host = self.host
    let server = try APIServer(
      configuration: APIConfiguration(
        host: host, port: port, apiKeys: apiKey, version: Slipstream.configuration.version),
      service: router, codec: try ModelTextCodec(file: source.file, tokenizer: source.tokenizer),
      logger: logger,
      onRunning: { port in
        FileHandleStream.standardOutput.write(
          "listening http://\(host):\(port) workers \(endpoint)\n")
      })
    let routing = WorkerService(work: { await router.run() }, drain: {})
    try await daemon.serve([routing, server], logger: logger)
    await context.close()
  }
}

/// Tokenizer and chat template of a model file, as the HTTP layer wants them.
struct ModelTextCodec: TextCodec {
  private let tokenizer: BytePairTokenizer
  private let template: ChatTemplate?
  private let templateFailure: String

  /// A file without a supported template still answers plain completions.
  init(file: GGUFFile, tokenizer: BytePairTokenizer) throws {
    self.tokenizer = tokenizer
    do {
      template = try ChatTemplate(file: file)
      templateFailure = ""
    } catch {
      template = nil
      templateFailure = "\(error)"
    }
  }

  func encode(_ text: String) -> [TokenID] {
    let begin = tokenizer.addsBeginOfSequence ? tokenizer.beginOfSequence : nil
    return [begin].compactMap { $0 } + encode(continuation: text)
  }

  func encode(continuation text: String) -> [TokenID] {
    tokenizer.encode(text, parseSpecial: false)
  }

  func encode(chat: [ChatTurn]) throws(ChatTemplateFailure) -> [TokenID] {
    guard let template else { throw .refused(templateFailure) }
    let messages = chat.map { ChatMessage(role: $0.role.rawValue, content: $0.content) }
    do { return try template.encode(messages, tokenizer: tokenizer) } catch {
      throw .refused("\(error)")
    }
  }

  func text(of token: TokenID) -> [UInt8] {
    // A model may have more rows than its tokenizer has tokens.
    guard token.rawValue < tokenizer.vocabularyCount else { return [] }
    return tokenizer.bytes(of: token, includeSpecial: false)
  }
}

import ArgumentParser
import Cluster
import Decoding
import Engine
import Foundation
import InferenceTypes
import Synchronization
import UnixSignals

/// `slipstream up`.
struct UpCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "up",
    abstract: "Start a router, a verifier and a drafter on this machine, until Ctrl-C.")

  @Option(name: [.customShort("m"), .long], help: "Model file (GGUF) of the verifier.")
  var model: String

  @Option(
    name: [.customLong("md", withSingleDash: true), .customLong("model-draft")],
    help: "Draft model file (GGUF); without one the drafter is training-free.")
  var draftModel: String?

  @Option(help: "Address for HTTP.")
  var host = "127.0.0.1"

  @Option(help: "Port for HTTP; 0 lets the system choose.")
  var port = 8080

  @Option(help: "A key that HTTP clients must send; may be given several times.")
  var apiKey: [String] = []

  @Option(name: [.customShort("t"), .long], help: "Compute threads of the verifier.")
  var threads = 1

  @Option(name: [.customShort("c"), .customLong("ctx-size")], help: "Context length in tokens.")
  var contextLength: Int?

  @Option(help: "Memory of the verifier's KV caches, as 512M or 2G.")
  var kvMemory: String?

  @Option(
    help: """
      Local drafts of the verifier: none, auto, or any of trigram, recycle, recycle-published, \
      aded, copy, lookup, ngram, suffix and prediction, separated by commas.
      """)
  var specType = "auto"

  @Option(help: "How drafting and verifying share the time: streamed, lockstep or vanilla.")
  var pipeline = Pipeline.streamed

  @OptionGroup var weights: WeightCacheOptions
  @OptionGroup var stores: DraftStoreOptions

  @OptionGroup var allowed: AllowedRulesOptions

  @Option(help: "Seconds to wait until all three are ready.")
  var startTimeout = 120

  @Option(help: "Log level of the three processes.")
  var logLevel = "warning"

  func validate() throws {
    guard (1...256).contains(threads) else {
      throw ValidationError("--threads \(threads): expected 1 to 256")
    }
  }

  func run() async throws {
    let children = ChildProcesses()
    let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
    let listener = Task {
      for await _ in signals { children.requestStop() }
    }
    defer { listener.cancel() }
    do {
      let address = try await start(children)
      FileHandleStream.standardOutput.write("ready \(address)\n")
      try await children.waitForStop()
    } catch {
      await children.stopAll()
      throw error
    }
    await children.stopAll()
  }

  /// - Returns: the address of the HTTP API.
  private func start(_ children: ChildProcesses) async throws -> String {
    let timeout = Duration.seconds(startTimeout)
    let context = contextLength.map { ["--ctx-size", "\($0)"] } ?? []
    let common = ["--lifeline", "--log-level", logLevel] + context
    let keys = apiKey.flatMap { ["--api-key", $0] }
    let router = try children.start(
      "router",
      ["router", "-m", model, "--host", host, "--port", "\(port)", "--bind", "tcp://127.0.0.1:*"]
        + keys + common)
    // "listening ADDRESS workers ENDPOINT"
    let words = try await router.line(timeout: timeout).split(separator: " ").map(String.init)
    guard words.count == 4, words[0] == "listening" else {
      throw CommandFailure(description: "the router said \"\(words.joined(separator: " "))\"")
    }
    // A draft model computes as long as the target does: neither shall wait for the other's CPU.
    let ranges =
      draftModel == nil
      ? nil : ProcessorClaims.split(ProcessorClaims.allowedProcessors, among: [threads, 1])
    func placement(_ index: Int) -> [String] {
      ranges.map { ["--cpu-range", "\($0[index].lowerBound)-\($0[index].upperBound)"] } ?? []
    }
    let verifier = try children.start(
      "verifier",
      ["verifier", "-m", model, "--router", words[3], "--threads", "\(threads)"]
        + ["--spec-type", specType, "--pipeline", pipeline.rawValue]
        + ["--allow-verify-rules", allowed.allowVerifyRules]
        + (kvMemory.map { ["--kv-memory", $0] } ?? []) + weights.arguments
        + placement(0) + storeArguments(forDrafter: false) + common)
    let drafterMethods = draftModel == nil ? "trigram,recycle" : "draft"
    let drafter = try children.start(
      "drafter",
      ["drafter", "-m", draftModel ?? model, "--router", words[3], "--spec-type", drafterMethods]
        + weights.arguments + placement(1) + storeArguments(forDrafter: true) + common)
    _ = try await verifier.line(timeout: timeout)
    _ = try await drafter.line(timeout: timeout)
    return words[1]
  }

  /// The options of a worker's store; two workers cannot share one file.
  private func storeArguments(forDrafter: Bool) -> [String] {
    var arguments = ["--store-isolation", stores.storeIsolation.rawValue]
    if let tenants = stores.storeTenants { arguments += ["--store-tenants", "\(tenants)"] }
    if let store = stores.draftStore {
      var path = store
      if forDrafter, case .file = DraftStorePlace(argument: store) { path += ".drafter" }
      arguments += ["--draft-store", path]
    }
    return arguments
  }
}

/// The processes of one machine's cluster.
private final class ChildProcesses: Sendable {
  private let children = Mutex<[ChildProcess]>([])
  private let stops: AsyncStream<String?>
  private let stop: AsyncStream<String?>.Continuation

  init() { (stops, stop) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(8)) }

  func start(_ name: String, _ arguments: [String]) throws -> ChildProcess {
    let child = try ChildProcess(name: name, arguments: arguments) { [stop] name in
      // A drafter is never needed; without one of the others nothing can be answered.
      if name == "drafter" {
        printError("the drafter ended; the cluster goes on without it")
      } else {
        stop.yield(name)
      }
    }
    children.withLock { $0.append(child) }
    return child
  }

  func requestStop() { stop.yield(nil) }

  /// - Throws: ``CommandFailure`` when a process that is needed ends by itself.
  func waitForStop() async throws {
    for await cause in stops {
      if let cause { throw CommandFailure(description: "the \(cause) ended unexpectedly") }
      return
    }
  }

  /// Asks all to end, and ends those that do not.
  func stopAll() async {
    let all = children.withLock { $0 }
    for child in all.reversed() { child.terminate() }
    for child in all { await child.waitUntilEnd() }
  }
}

/// One started process, whose standard output comes line by line.
private final class ChildProcess: Sendable {
  private let name: String
  private let process = Process()
  /// Its end tells the child that this process is gone.
  private let lifeline = Pipe()
  private let output = Pipe()
  private let lines: AsyncStream<String>
  private let ended: AsyncStream<Void>
  private let isStopping = Atomic(false)

  init(name: String, arguments: [String], onEnd: @escaping @Sendable (String) -> Void) throws {
    self.name = name
    let (lines, lineSink) = AsyncStream.makeStream(
      of: String.self, bufferingPolicy: .bufferingOldest(64))
    let (ended, endSink) = AsyncStream.makeStream(of: Void.self)
    self.lines = lines
    self.ended = ended
    guard let executable = Bundle.main.executableURL else {
      throw CommandFailure(description: "the path of this program is unknown")
    }
    process.executableURL = executable
    process.arguments = arguments
    process.standardInput = lifeline
    process.standardOutput = output
    let buffer = Mutex<[UInt8]>([])
    output.fileHandleForReading.readabilityHandler = { handle in
      let data = handle.availableData
      guard !data.isEmpty else {
        handle.readabilityHandler = nil
        lineSink.finish()
        return
      }
      let complete = buffer.withLock { bytes -> [String] in
        bytes.append(contentsOf: data)
        var parts = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let rest = parts.removeLast()
        bytes = Array(rest)
        return parts.map { String(decoding: $0, as: UTF8.self) }
      }
      for line in complete { lineSink.yield(line) }
    }
    process.terminationHandler = { [isStopping = IsStopping(self)] _ in
      endSink.finish()
      if !isStopping.value { onEnd(name) }
    }
    do { try process.run() } catch {
      throw CommandFailure(
        description: "the \(name) does not start: \(error.localizedDescription)")
    }
  }

  /// Looks whether the end was asked for, without keeping the process alive.
  private struct IsStopping: Sendable {
    weak let child: ChildProcess?
    init(_ child: ChildProcess) { self.child = child }
    var value: Bool { child?.isStopping.load(ordering: .relaxed) ?? true }
  }

  /// The next line of its output.
  /// - Throws: ``CommandFailure`` when it ends or the time is over first.
  func line(timeout: Duration) async throws -> String {
    let name = self.name
    return try await withThrowingTaskGroup(of: String.self) { group in
      group.addTask { [lines] in
        for await line in lines { return line }
        throw CommandFailure(description: "the \(name) ended at its start; see its message above")
      }
      group.addTask {
        try await Task.sleep(for: timeout)
        throw CommandFailure(description: "the \(name) was not ready after \(timeout)")
      }
      defer { group.cancelAll() }
      return try await group.next() ?? ""
    }
  }

  func terminate() {
    isStopping.store(true, ordering: .relaxed)
    if process.isRunning { process.terminate() }
  }

  /// Returns when the process has ended; one that takes longer than 45 seconds is killed.
  func waitUntilEnd() async {
    let killer = Task { [self] in
      try await Task.sleep(for: .seconds(45))
      if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }
    for await _ in ended {}
    killer.cancel()
  }
}

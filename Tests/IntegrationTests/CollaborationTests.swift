import Cluster
import Foundation
import GGUF
import HTTPAPI
import InferenceTypes
import Synchronization
import TestSupport
import Testing

extension SecondRowTests {
  /// Two models on two processes write what they write in one.
  @Suite struct CollaborationTests {
    private static let prompt = "The history of the lighthouse begins with fires on hills."
    private static let tokenLimit = 32

    private static func parameters(
      _ method: CollaborationParameters.Method
    ) -> CollaborationParameters {
      var parameters = CollaborationParameters(method: method)
      parameters.entropyThreshold = 2.5
      parameters.entropyWindow = 2
      parameters.draftStay = 3
      parameters.targetStay = 2
      parameters.leadingTokens = 3
      parameters.ledSentences = 100
      parameters.interventionThreshold = 0.3
      return parameters
    }

    /// What `slipstream run --mode collaborative` gives.
    private struct Report: Decodable {
      struct Collaboration: Decodable {
        var targetShare: Double
        var switches: Int
      }
      var tokens: [UInt32]
      var collaboration: Collaboration?
    }

    private func local(
      _ draft: SmallerDraft, _ parameters: CollaborationParameters, mirostat: Bool = false
    ) async throws -> Report {
      let collaboration: [(String, String)] = [
        ("collaboration", parameters.method.rawValue),
        ("entropy-threshold", "\(parameters.entropyThreshold)"),
        ("entropy-window", "\(parameters.entropyWindow)"),
        ("draft-stay", "\(parameters.draftStay)"), ("target-stay", "\(parameters.targetStay)"),
        ("leading-tokens", "\(parameters.leadingTokens)"),
        ("led-sentences", "\(parameters.ledSentences)"),
        ("intervention-threshold", "\(parameters.interventionThreshold)"),
      ]
      let cuts = ["--mirostat", "2", "--top-k", "0", "--top-p", "1", "--min-p", "0"]
      return try await run(
        ["-m", try TestFiles.modelPath(), "-md", draft.path, "--mode", "collaborative"]
          + collaboration.flatMap { ["--\($0)", $1] } + (mirostat ? cuts : []))
    }

    private func run(_ arguments: [String]) async throws -> Report {
      let result = try await Daemon.output(
        ["run", "--raw", "--json", "-p", Self.prompt, "-n", "\(Self.tokenLimit)"]
          + ["--temp", "0.8", "--seed", "5", "--ignore-eos"] + arguments)
      guard result.status == 0 else {
        throw Daemon.Failure(description: "run ended with \(result.status): \(result.errors)")
      }
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      return try decoder.decode(Report.self, from: result.output)
    }

    private func query(
      _ parameters: CollaborationParameters?, mirostat: Bool = false
    ) -> CompletionQuery {
      var query = CompletionQuery(prompt: .text(Self.prompt))
      query.sampling = mirostat ? SamplingParameters() : .commandLine
      query.sampling.temperature = 0.8
      query.sampling.mirostatTau = mirostat ? 5 : 0
      query.seed = 5
      query.tokenLimit = Self.tokenLimit
      query.ignoresEndOfSequence = true
      query.returnsTokens = true
      query.collaboration = parameters
      return query
    }

    private func ask(
      _ cluster: RunningCluster, _ query: CompletionQuery,
      onText: (String) async throws -> Void = { _ in }
    ) async throws -> CompletionResult {
      try await CompletionClient(url: cluster.url).complete(query, onText: onText)
    }

    @Test func idsAreThoseOfOneProcess() async throws {
      let draft = try SmallerDraft()
      let cluster = try await RunningCluster(specType: "none")
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      var switches = 0
      var all: [(query: CompletionQuery, tokens: [UInt32])] = []
      for method in [.entropy, .leading, .oracle, .contrastive]
        as [CollaborationParameters.Method]
      {
        let parameters = Self.parameters(method)
        let expected = try await local(draft, parameters)
        all.append((query(parameters), expected.tokens))
        let result = try await ask(cluster, query(parameters))
        #expect(result.tokens.map(\.rawValue) == expected.tokens, "\(method)")
        let label = try #require(result.collaboration)
        let other = try #require(expected.collaboration)
        #expect(label.method == method.rawValue && !label.isDegraded)
        #expect(label.targetShare == other.targetShare && label.switchCount == other.switches)
        switches += label.switchCount
      }
      #expect(switches > 4, "the models hardly took turns")
      // The state of Mirostat belongs to both writers together.
      let parameters = Self.parameters(.entropy)
      let expected = try await local(draft, parameters, mirostat: true)
      let result = try await ask(cluster, query(parameters, mirostat: true))
      #expect(result.tokens.map(\.rawValue) == expected.tokens)
      all.append((query(parameters, mirostat: true), expected.tokens))
      try await askAtOnce(cluster, all + all)
      #expect(drafter.isRunning && cluster.verifier.isRunning)
    }

    /// Under load: all of these and, between them, as many that nobody shares the writing of.
    private func askAtOnce(
      _ cluster: RunningCluster, _ all: [(query: CompletionQuery, tokens: [UInt32])]
    ) async throws {
      let alone = try await run(["-m", try TestFiles.modelPath(), "--spec-type", "none"])
      try await withThrowingTaskGroup { group in
        for (collaborative, tokens) in all {
          group.addTask {
            let result = try await ask(cluster, collaborative)
            #expect(result.tokens.map(\.rawValue) == tokens)
            #expect(result.collaboration?.isDegraded == false)
          }
          group.addTask {
            let result = try await ask(cluster, query(nil))
            #expect(result.tokens.map(\.rawValue) == alone.tokens)
            #expect(result.collaboration == nil)
          }
        }
        try await group.waitForAll()
      }
    }

    @Test func theEndsOfTheThresholdAreOneModelAlone() async throws {
      let draft = try SmallerDraft()
      let cluster = try await RunningCluster(specType: "auto")
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      let large = try await run(["-m", try TestFiles.modelPath(), "--spec-type", "none"])
      let small = try await run(["-m", draft.path, "--spec-type", "none"])
      #expect(large.tokens != small.tokens)
      var parameters = CollaborationParameters(method: .entropy)
      for (threshold, expected, share) in [(0, large, 1), (.infinity, small, 0)]
        as [(Float, Report, Double)]
      {
        parameters.entropyThreshold = threshold
        let result = try await ask(cluster, query(parameters))
        #expect(result.tokens.map(\.rawValue) == expected.tokens, "threshold \(threshold)")
        #expect(result.collaboration?.targetShare == share)
        #expect(result.collaboration?.isDegraded == false)
      }
      // Nothing is collaborative unless it is asked for.
      let exact = try await ask(cluster, query(nil))
      #expect(exact.tokens.map(\.rawValue) == large.tokens && exact.collaboration == nil)
      #expect(drafter.isRunning)
    }

    @Test func theTargetGoesOnAloneWhenTheDrafterDies() async throws {
      let draft = try SmallerDraft()
      let cluster = try await RunningCluster(specType: "none")
      let drafter = try await cluster.startDrafter(specType: "draft", model: draft.path)
      var parameters = CollaborationParameters(method: .entropy)
      parameters.entropyThreshold = .infinity
      let whole = try await ask(cluster, query(parameters))
      #expect(whole.collaboration?.isDegraded == false)
      let pieces = Mutex(0)
      let result = try await ask(cluster, query(parameters)) { _ in
        let count = pieces.withLock { count in
          count += 1
          return count
        }
        if count == 1 { drafter.signal(SIGKILL) }
      }
      #expect(result.tokens.count == Self.tokenLimit)
      let label = try #require(result.collaboration)
      #expect(label.isDegraded && label.targetShare > 0 && label.draftShare > 0)
      let written = Int((label.draftShare * Double(Self.tokenLimit)).rounded())
      #expect(result.tokens.prefix(written) == whole.tokens.prefix(written))
      #expect(cluster.verifier.isRunning && cluster.router.isRunning)
    }

    @Test func withoutADraftModelItIsRefused() async throws {
      let cluster = try await RunningCluster(specType: "none")
      let drafter = try await cluster.startDrafter(specType: "trigram")
      let error = await #expect(throws: CompletionClientError.self) {
        _ = try await ask(cluster, query(CollaborationParameters(method: .entropy)))
      }
      guard case .refused(let status, let code, _) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(status == 503 && code == "no_draft_model")
      #expect(drafter.isRunning)
    }

    /// Mirostat's state follows the text to another verifier.
    @Test func mirostatSurvivesTheVerifier() async throws {
      let expected = try await run([
        "-m", try TestFiles.modelPath(), "--spec-type", "none", "--mirostat", "2", "--top-k", "0",
        "--top-p", "1", "--min-p", "0",
      ])
      let cluster = try await RunningCluster(specType: "auto")
      let other = try Daemon(
        "second verifier",
        [
          "verifier", "-m", cluster.model, "--router", cluster.workers, "--draft-store", "none",
          "--lifeline",
        ])
      _ = try await other.line()
      let pieces = Mutex(0)
      let result = try await ask(cluster, query(nil, mirostat: true)) { _ in
        let count = pieces.withLock { count in
          count += 1
          return count
        }
        if count == 4 { cluster.verifier.signal(SIGKILL) }
      }
      #expect(!cluster.verifier.isRunning && pieces.withLock { $0 } >= 4)
      #expect(result.tokens.map(\.rawValue) == expected.tokens)
    }
  }
}

/// The default model without a third of its blocks, in a file of its own: faster, and worse. Removed
/// with this object.
private final class SmallerDraft: Sendable {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory
      .appending(path: "slipstream-small-\(UUID().uuidString).gguf").path()
    let file = try GGUFFile(path: TestFiles.modelPath())
    let blockCount = try file.integer("llama.block_count")
    let kept = (0..<blockCount).filter { !(10..<18).contains($0) }
    var writer = GGUFWriter()
    for key in file.keys {
      guard let value = file[key] else { continue }
      writer.add(key, key == "llama.block_count" ? .uint32(UInt32(kept.count)) : value)
    }
    for tensor in file.tensors {
      guard let name = Self.newName(tensor.name, kept: kept) else { continue }
      let bytes = unsafe file.withTensorBytes(tensor) { unsafe Array($0) }
      writer.add(tensor: name, dimensions: tensor.dimensions, type: tensor.type, bytes: bytes)
    }
    try writer.write(to: path)
  }

  // The file may be gone already; nothing depends on it.
  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// `nil` for tensors of dropped blocks.
  private static func newName(_ name: String, kept: [Int]) -> String? {
    let parts = name.split(separator: ".", maxSplits: 2)
    guard parts.count == 3, parts[0] == "blk", let block = Int(parts[1]) else { return name }
    return kept.firstIndex(of: block).map { "blk.\($0).\(parts[2])" }
  }
}

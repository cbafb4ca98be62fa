import Cluster
import Foundation
import HTTPAPI
import InferenceTypes
import TestSupport

/// A router and a verifier of this machine, and drafters as a test wants them.
struct RunningCluster {
  let router: Daemon
  let verifier: Daemon
  /// Address of the HTTP API.
  let url: String
  /// Where workers register.
  let workers: String
  let model: String

  /// `specType` names the local drafts of the verifier, `options` are further ones of it and
  /// `environment` adds to its environment; `keys` are those that clients need.
  init(
    specType: String, slots: Int = 8, options: [String] = [], keys: [String] = [],
    environment: [String: String] = [:]
  ) async throws {
    model = try TestFiles.modelPath()
    router = try Daemon(
      "router",
      ["router", "-m", model, "--port", "0", "--bind", "tcp://127.0.0.1:*", "--lifeline"]
        + keys.flatMap { ["--api-key", $0] })
    let words = try await router.line().split(separator: " ").map(String.init)
    guard words.count == 4 else {
      throw Daemon.Failure(description: "the router said \(words)")
    }
    url = words[1]
    workers = words[3]
    verifier = try Daemon(
      "verifier",
      [
        "verifier", "-m", model, "--router", workers, "--spec-type", specType, "--slots",
        "\(slots)", "--draft-store", "none", "--lifeline",
      ] + options, environment: environment)
    _ = try await verifier.line(timeout: .seconds(120))
  }

  /// Starts a drafter and returns when the router has taken it.
  func startDrafter(
    specType: String, model: String? = nil, options: [String] = []
  ) async throws -> Daemon {
    let drafter = try Daemon(
      "drafter",
      [
        "drafter", "-m", model ?? self.model, "--router", workers, "--spec-type", specType,
        "--draft-store", "none", "--lifeline",
      ] + options)
    _ = try await drafter.line()
    return drafter
  }

  /// One completion over HTTP; `onText` is called with each stretch of text as it comes.
  func complete(
    _ request: ReferenceRequest, apiKey: String? = nil, rule: VerifyRuleParameters? = nil,
    onText: (String) async throws -> Void = { _ in }
  ) async throws -> CompletionResult {
    var query = CompletionQuery(prompt: .text(request.prompt))
    query.sampling = .commandLine
    query.sampling.temperature = request.temperature
    query.seed = request.seed
    query.tokenLimit = request.tokenLimit
    query.returnsTokens = true
    query.rule = rule
    return try await CompletionClient(url: url, apiKey: apiKey).complete(query, onText: onText)
  }
}

/// A generation whose token ids are known from plain decoding.
struct ReferenceRequest: Sendable, Hashable {
  let prompt: String
  let temperature: Float
  let seed: UInt64
  let tokenLimit: Int
}

/// Prompts of the project's own benchmark.
enum Prompts {
  static func load() throws -> [String] {
    struct Line: Decodable { let turns: [String] }
    let text = try String(contentsOf: TestFiles.golden("prompts.jsonl"), encoding: .utf8)
    return try text.split(separator: "\n").map {
      try JSONDecoder().decode(Line.self, from: Data($0.utf8)).turns[0]
    }
  }
}

/// Token ids of plain decoding, one process, no drafts: asked for once.
actor References {
  static let shared = References()
  private var known: [ReferenceRequest: [TokenID]] = [:]

  func tokens(_ request: ReferenceRequest) async throws -> [TokenID] {
    if let tokens = known[request] { return tokens }
    struct Report: Decodable { let tokens: [UInt32] }
    let result = try await Daemon.output([
      "run", "-m", try TestFiles.modelPath(), "--spec-type", "none", "--raw", "--json", "-p",
      request.prompt, "-n", "\(request.tokenLimit)", "--temp", "\(request.temperature)", "--seed",
      "\(request.seed)",
    ])
    guard result.status == 0 else {
      throw Daemon.Failure(description: "run ended with \(result.status): \(result.errors)")
    }
    let report = try JSONDecoder().decode(Report.self, from: result.output)
    let tokens = report.tokens.map { TokenID($0) }
    known[request] = tokens
    return tokens
  }
}

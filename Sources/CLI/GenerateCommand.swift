import ArgumentParser
import Cluster
import HTTPAPI
import InferenceTypes

/// `slipstream generate`.
struct GenerateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "generate", abstract: "Ask a running cluster over HTTP.")

  @Argument(help: "The prompt.")
  var prompt: String

  @Option(help: "Address of the router.")
  var url = "http://127.0.0.1:8080"

  @Option(help: "Key for the router.")
  var apiKey: String?

  @Flag(help: "Use the chat endpoint: the prompt is a user's message.")
  var chat = false

  @Flag(help: "Print the text as it comes.")
  var stream = false

  @Option(
    name: [.customShort("n"), .customLong("n-predict")], parsing: .unconditional,
    help: "Most new tokens; -1 goes on to the end of the context.")
  var tokenLimit = -1

  @OptionGroup var sampling: SamplingOptions

  @OptionGroup var verification: VerifyRuleOptions

  @Option(help: "Text that the answer is expected to be like, to draft from.")
  var prediction = ""

  func validate() throws {
    guard tokenLimit >= -1, tokenLimit != 0 else {
      throw ValidationError("-n \(tokenLimit): expected -1 or a number of tokens")
    }
  }

  func run() async throws {
    let client = try CompletionClient(url: url, apiKey: apiKey)
    var query = CompletionQuery(
      prompt: chat ? .chat([ChatTurn(role: .user, content: prompt)]) : .text(prompt))
    query.sampling = try sampling.parameters()
    query.seed = sampling.seed
    query.tokenLimit = tokenLimit < 0 ? nil : tokenLimit
    query.streams = stream
    let rule = verification.settings.parameters(verification.verifyRule)
    if rule != VerifyRuleParameters() { query.rule = rule }
    query.prediction = prediction
    let result = try await client.complete(query) { piece in
      FileHandleStream.standardOutput.write(piece)
    }
    FileHandleStream.standardOutput.write("\n")
    printError(summary(result.summary))
    if result.isLossless == false, let rule = result.rule {
      printError(
        "note: the verify rule \(rule.rawValue) is lossy: the text does not have the target "
          + "model's law")
    }
  }

  private func summary(_ summary: GenerationSummary) -> String {
    let seconds = summary.decodeDuration.milliseconds / 1e3
    let count = Double(summary.completionTokenCount)
    var parts = ["\(summary.completionTokenCount) tokens"]
    if seconds > 0 { parts.append("\(rounded(count / seconds)) tokens/s") }
    if summary.verifyStepCount > 0 {
      parts.append(
        "\(rounded(count / Double(summary.verifyStepCount))) tokens per verifier step")
    }
    if summary.draftTokenCount > 0 {
      let share = Double(summary.acceptedTokenCount) / Double(summary.draftTokenCount)
      parts.append("\(rounded(share * 100))% of drafts accepted")
    }
    return parts.joined(separator: ", ")
  }
}

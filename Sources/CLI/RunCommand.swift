import ArgumentParser
import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import Tokenizer

/// `slipstream run`: one process, no network.
struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Generate text in this process, without a cluster.")

  @OptionGroup var model: ModelOptions
  @OptionGroup var sampling: SamplingOptions

  @Option(
    name: [.customLong("md", withSingleDash: true), .customLong("model-draft")],
    help: "Draft model file (GGUF).")
  var draftModel: String?

  @Option(
    help: """
      Draft methods: none, auto, draft, or any of trigram, recycle, recycle-published, copy, lookup, \
      ngram, suffix and prediction, separated by commas.
      """)
  var specType = "auto"

  @Option(help: "Text that the answer is expected to be like, to draft from.")
  var prediction = ""

  @Option(name: [.customShort("p"), .long], help: "Prompt.")
  var prompt: String

  @Option(
    name: [.customShort("n"), .customLong("n-predict")], parsing: .unconditional,
    help: "Most new tokens; -1 goes on to the end of the context.")
  var tokenLimit = -1

  @Option(help: "Most nodes of one verification.")
  var specTreeNodes = 32

  @Flag(help: "Take the prompt as it is, without the chat template.")
  var raw = false

  @Flag(help: "Go on past end tokens.")
  var ignoreEos = false

  @Flag(help: "Print one JSON object instead of the text.")
  var json = false

  func validate() throws {
    guard tokenLimit >= -1 else {
      throw ValidationError("-n \(tokenLimit): expected -1 or a number of tokens")
    }
    guard (1...128).contains(specTreeNodes) else {
      throw ValidationError("--spec-tree-nodes \(specTreeNodes): expected 1 to 128")
    }
  }

  func run() throws {
    let file = try ModelLoading.file(model.model)
    let tokenizer = try BytePairTokenizer(file: file)
    let tokens = try promptTokens(file: file, tokenizer: tokenizer)
    let methods = try DraftMethods(parsing: specType, hasDraftModel: draftModel != nil)
    let engine = try ModelLoading.engine(model, file: file)
    let draftEngine =
      methods.usesModel
      ? try draftModel.map {
        try ModelLoading.draftEngine($0, tokenizer: tokenizer, target: engine, options: model)
      } : nil
    let generator = try LocalGenerator(
      engine: engine, draftEngine: draftEngine,
      methods: methods, nodeLimit: specTreeNodes)
    var configuration = VerifierSession.Configuration(
      prompt: tokens, sampling: try sampling.parameters(), contextLength: engine.contextLength,
      vocabularyCount: engine.model.shape.vocabularyCount)
    configuration.tokenLimit = tokenLimit < 0 ? nil : tokenLimit
    configuration.stopTokens = tokenizer.endOfGeneration
    configuration.ignoresEndOfSequence = ignoreEos
    configuration.prediction = tokenizer.encode(prediction, parseSpecial: false)
    var detokenizer = StreamingDetokenizer(tokenizer: tokenizer, after: tokens)
    var text = ""
    let result = try generator.generate(configuration) { newTokens in
      let piece = newTokens.map { detokenizer.append($0) }.joined()
      text += piece
      if !json { FileHandleStream.standardOutput.write(piece) }
    }
    let rest = detokenizer.finish()
    text += rest
    let report = RunReport(
      text: text, result: result, promptCount: tokens.count, seed: configuration.sampling.seed)
    if json {
      try printJSON(report)
    } else {
      FileHandleStream.standardOutput.write(rest + "\n")
      printError(report.summary)
    }
  }

  private func promptTokens(file: GGUFFile, tokenizer: BytePairTokenizer) throws -> [TokenID] {
    guard !raw else {
      let begin = tokenizer.addsBeginOfSequence ? tokenizer.beginOfSequence : nil
      let tokens = [begin].compactMap { $0 } + tokenizer.encode(prompt, parseSpecial: true)
      guard !tokens.isEmpty else { throw CommandFailure(description: "the prompt has no tokens") }
      return tokens
    }
    let template = try ChatTemplate(file: file)
    return try template.encode([ChatMessage(role: "user", content: prompt)], tokenizer: tokenizer)
  }
}

/// What `slipstream run --json` prints.
struct RunReport: Encodable {
  let text: String
  let tokens: [UInt32]
  let finishReason: String
  let seed: UInt64
  let timings: RunTimings
  let speculation: RunSpeculation

  init(text: String, result: LocalGenerator.Result, promptCount: Int, seed: UInt64) {
    self.text = text
    self.seed = seed
    tokens = result.tokens.map(\.rawValue)
    finishReason = result.finishReason.rawValue
    timings = RunTimings(result: result, promptCount: promptCount)
    speculation = RunSpeculation(statistics: result.statistics)
  }

  var summary: String {
    let perStep = speculation.tokensPerStep
    let accepted = speculation.acceptanceRate.map { ", \(rounded($0 * 100))% of drafts accepted" }
    return "\(tokens.count) tokens, \(rounded(timings.predictedPerSecond)) tokens/s, "
      + "\(rounded(perStep)) tokens per verifier step\(accepted ?? "")"
  }
}

/// llama-server's timing fields.
struct RunTimings: Encodable {
  let promptN: Int
  let promptMs: Double
  let promptPerTokenMs: Double
  let promptPerSecond: Double
  let predictedN: Int
  let predictedMs: Double
  let predictedPerTokenMs: Double
  let predictedPerSecond: Double
  let draftN: Int?
  let draftNAccepted: Int?

  init(result: LocalGenerator.Result, promptCount: Int) {
    promptN = promptCount
    promptMs = result.promptDuration.milliseconds
    promptPerTokenMs = promptMs / Double(max(1, promptCount))
    promptPerSecond = promptMs > 0 ? Double(promptCount) / promptMs * 1e3 : 0
    predictedN = result.tokens.count
    predictedMs = result.decodeDuration.milliseconds
    predictedPerTokenMs = predictedMs / Double(max(1, predictedN))
    predictedPerSecond = predictedMs > 0 ? Double(predictedN) / predictedMs * 1e3 : 0
    let drafted = result.statistics.verifiedCount
    draftN = drafted > 0 ? drafted : nil
    draftNAccepted = drafted > 0 ? result.statistics.acceptedCount : nil
  }
}

/// Counts of the drafts and verifications of one run.
struct RunSpeculation: Encodable {
  let steps: Int
  let tokensPerStep: Double
  let draftTokens: Int
  let acceptedTokens: Int
  /// Absent where nothing was drafted.
  let acceptanceRate: Double?

  init(statistics: DraftStatistics) {
    steps = statistics.stepCount
    tokensPerStep =
      steps > 0 ? Double(statistics.emittedCount) / Double(steps) : 0
    draftTokens = statistics.verifiedCount
    acceptedTokens = statistics.acceptedCount
    acceptanceRate =
      draftTokens > 0 ? Double(acceptedTokens) / Double(draftTokens) : nil
  }
}

/// Two decimals, for people.
func rounded(_ value: Double) -> String {
  let hundredths = Int((value * 100).rounded())
  let fraction = abs(hundredths % 100)
  return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
}

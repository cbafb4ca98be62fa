import ArgumentParser
import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import Tokenizer
import Wire

/// `slipstream run`: one process, no network.
struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Generate text in this process, without a cluster.")

  @OptionGroup var model: ModelOptions
  @OptionGroup var sampling: SamplingOptions
  @OptionGroup var choice: ChoiceOptions
  @OptionGroup var collaboration: CollaborationOptions
  @OptionGroup var verification: VerifyRuleOptions

  @Option(
    help: "exact: the target model's own text; collaborative: one of two models in turns.")
  var mode = RunMode.exact

  @Option(
    name: [.customLong("md", withSingleDash: true), .customLong("model-draft")],
    help: "Draft model file (GGUF).")
  var draftModel: String?

  @Option(
    help: """
      Draft methods: none, auto, draft (trees of a draft model), draft-chain, skip (the target \
      itself without some sublayers), or any of trigram, recycle, recycle-published, aded, copy, \
      lookup, ngram, suffix and prediction, separated by commas.
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

  // One command is not asked to leave traces of its prompt, and should be as fast as the last time.
  @Option(
    help: "What local drafts learn is kept here for later runs: a folder, a file, or none.")
  var draftStore = "none"

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
    try validateMode()
  }

  func run() throws {
    let file = try ModelLoading.file(model.model)
    let tokenizer = try BytePairTokenizer(file: file)
    let tokens = try promptTokens(file: file, tokenizer: tokenizer)
    if mode == .collaborative {
      try collaborate(prompt: tokens, file: file, tokenizer: tokenizer)
      return
    }
    let methods = try DraftMethods(parsing: specType, hasDraftModel: draftModel != nil)
    let engine = try ModelLoading.engine(model, file: file)
    let drafting =
      methods.usesModel
      ? try draftModel.map {
        try ModelLoading.drafting($0, tokenizer: tokenizer, target: engine, options: model)
      } : nil
    if drafting?.vocabularies != nil {
      printError(
        "note: the draft model has another tokenizer; its text is drafted token by token of the "
          + "target's")
    }
    var configuration = VerifierSession.Configuration(
      prompt: tokens, sampling: try samplingParameters(), contextLength: engine.contextLength,
      vocabularyCount: engine.model.shape.vocabularyCount)
    configuration.tokenLimit = tokenLimit < 0 ? nil : tokenLimit
    configuration.stopTokens = tokenizer.endOfGeneration
    configuration.ignoresEndOfSequence = ignoreEos
    configuration.prediction = tokenizer.encode(prediction, parseSpecial: false)
    configuration.rule = try verification.settings.choice(
      verification.verifyRule, sampling: configuration.sampling,
      vocabularyCount: configuration.vocabularyCount)
    guard choice.cautiousTrials == 0 else {
      return try runCautiously(configuration, engine: engine, tokenizer: tokenizer)
    }
    let vocabularyCount = engine.model.shape.vocabularyCount
    let stored =
      methods.usesSources
      ? LocalDraftStore.file(
        draftStore, role: "run", model: file, tokenizer: tokenizer,
        vocabularyCount: vocabularyCount) : nil
    var store = stored.map {
      LocalDraftStore($0, methods: methods, vocabularyCount: vocabularyCount)
    }
    let generator = try LocalGenerator(
      engine: engine, draftEngine: drafting?.engine, methods: methods, nodeLimit: specTreeNodes,
      vocabularies: drafting?.vocabularies, sources: store?.sources)
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
      text: text, result: result, promptCount: tokens.count, seed: configuration.sampling.seed,
      rule: RunRule(verification.verifyRule, relaxedCount: result.relaxedCount))
    try show(report, rest: rest)
    store?.save(generator.sources)
  }

  func samplingParameters() throws -> SamplingParameters {
    var parameters = try sampling.parameters()
    choice.apply(to: &parameters)
    return parameters
  }

  /// Ends the output: `rest` is what the text still lacks.
  func show(_ report: RunReport, rest: String) throws {
    if json {
      try printJSON(report)
    } else {
      FileHandleStream.standardOutput.write(rest + "\n")
      printError(report.summary)
    }
    if let warning = report.warning { printError(warning) }
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
  /// Absent where nothing could be drafted.
  let speculation: RunSpeculation?
  /// Absent where the text is the target model's own.
  let collaboration: RunCollaboration?
  /// Absent without the cautious choice.
  let caution: RunCaution?
  /// What judged the drafts; absent where the text is made without any.
  let verifyRule: String?
  /// Whether the text has the target model's law; absent likewise.
  let lossless: Bool?
  /// Drafts that owe their acceptance to a lossy rule; absent under the others.
  let relaxedTokens: Int?
  /// What goes to standard error in any case.
  private let rule: RunRule?

  private enum CodingKeys: String, CodingKey {
    case text, tokens, finishReason, seed, timings, speculation, collaboration, caution
    case verifyRule, lossless, relaxedTokens
  }

  init(
    text: String, result: LocalGenerator.Result, promptCount: Int, seed: UInt64,
    collaboration: RunCollaboration? = nil, caution: RunCaution? = nil, rule: RunRule? = nil
  ) {
    self.rule = rule
    verifyRule = rule?.name
    lossless = rule?.isLossless
    relaxedTokens = rule?.relaxedCount
    self.collaboration = collaboration
    self.caution = caution
    self.text = text
    self.seed = seed
    tokens = result.tokens.map(\.rawValue)
    finishReason = result.finishReason.rawValue
    timings = RunTimings(result: result, promptCount: promptCount)
    let isPlain = collaboration == nil && caution == nil
    speculation = isPlain ? RunSpeculation(statistics: result.statistics) : nil
  }

  var warning: String? { rule?.warning }

  var summary: String {
    let speed = "\(tokens.count) tokens, \(rounded(timings.predictedPerSecond)) tokens/s"
    if let collaboration { return "\(speed), \(collaboration.summary)" }
    if let caution { return "\(speed), \(caution.summary)" }
    guard let speculation else { return speed }
    let perStep = speculation.tokensPerStep
    let accepted = speculation.acceptanceRate.map { ", \(rounded($0 * 100))% of drafts accepted" }
    return "\(speed), \(rounded(perStep)) tokens per verifier step\(accepted ?? "")"
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
  let sign = hundredths < 0 ? "-" : ""
  return "\(sign)\(abs(hundredths / 100)).\(fraction < 10 ? "0" : "")\(fraction)"
}

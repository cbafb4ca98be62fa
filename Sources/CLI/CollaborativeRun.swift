import ArgumentParser
import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import Tokenizer

extension RunCommand {
  /// What belongs to the other mode is refused rather than ignored.
  func validateMode() throws {
    guard choice.cautiousTrials == 0 || mode == .exact && specType == "none" && draftModel == nil
    else {
      throw ValidationError(
        "--cautious-trials goes together with neither drafts nor collaborations: it needs "
          + "--spec-type none and no -md")
    }
    guard
      verification.verifyRule == .gumbelMatch || mode == .exact && choice.cautiousTrials == 0
    else {
      throw ValidationError(
        "--verify-rule judges drafts: collaborations and --cautious-trials make none")
    }
    guard verification.verifyRule == .gumbelMatch || choice.mirostat == 0 else {
      throw ValidationError(
        "--verify-rule \(verification.verifyRule.rawValue) does not go together with --mirostat")
    }
    switch mode {
    case .exact:
      guard !collaboration.isUsed else {
        throw ValidationError("the options of collaborations need --mode collaborative")
      }
    case .collaborative:
      guard draftModel != nil else {
        throw ValidationError("--mode collaborative needs a small model: name one with -md FILE")
      }
      guard specType == "auto" || specType == "none" else {
        throw ValidationError(
          "--spec-type \(specType): a collaboration makes no drafts; leave it out")
      }
      let method = collaboration.parameters().method
      guard (method == .proxy) == (collaboration.antiexpert != nil) else {
        throw ValidationError(
          method == .proxy
            ? "--collaboration proxy needs --antiexpert FILE"
            : "--antiexpert belongs to --collaboration proxy")
      }
    }
  }

  /// Two models, or three, write one text.
  func collaborate(prompt: [TokenID], file: GGUFFile, tokenizer: BytePairTokenizer) throws {
    let parameters = collaboration.parameters()
    try parameters.validate()
    let target = try ModelLoading.engine(model, file: file)
    func small(_ path: String) throws -> InferenceEngine {
      try ModelLoading.draftEngine(path, tokenizer: tokenizer, target: target, options: model)
    }
    guard let draftModel else { preconditionFailure("no draft model") }
    let models = try LocalCollaboration(
      target: target, draft: try small(draftModel),
      antiexpert: try collaboration.antiexpert.map(small))
    var configuration = VerifierSession.Configuration(
      prompt: prompt, sampling: try samplingParameters(), contextLength: models.contextLength,
      vocabularyCount: target.model.shape.vocabularyCount)
    configuration.tokenLimit = tokenLimit < 0 ? nil : tokenLimit
    configuration.stopTokens = tokenizer.endOfGeneration
    configuration.ignoresEndOfSequence = ignoreEos
    var detokenizer = StreamingDetokenizer(tokenizer: tokenizer, after: prompt)
    var text = ""
    let result = try models.generate(configuration, parameters: parameters) { token in
      let piece = detokenizer.append(token)
      text += piece
      if !json { FileHandleStream.standardOutput.write(piece) }
      return piece
    }
    let rest = detokenizer.finish()
    var run = LocalGenerator.Result()
    run.tokens = result.tokens
    run.finishReason = result.finishReason
    run.promptDuration = result.promptDuration
    run.decodeDuration = result.decodeDuration
    try show(
      RunReport(
        text: text + rest, result: run, promptCount: prompt.count,
        seed: configuration.sampling.seed,
        collaboration: RunCollaboration(
          method: parameters.method, statistics: result.statistics)),
      rest: rest)
  }
}

/// Who wrote a text that is no model's own.
struct RunCollaboration: Encodable {
  let mode: String
  /// Shares of the tokens, 0...1.
  let targetShare: Double
  let draftShare: Double
  /// Chosen from the logits of both.
  let combinedShare: Double
  let switches: Int
  /// Estimated share of the time that the target model alone would have taken; below 0 where it took
  /// longer.
  let computeSaved: Double

  init(method: CollaborationParameters.Method, statistics: CollaborationStatistics) {
    mode = method.rawValue
    targetShare = statistics.share(.target) ?? 0
    draftShare = statistics.share(.draft) ?? 0
    combinedShare = statistics.share(.combined) ?? 0
    switches = statistics.switchCount
    computeSaved = statistics.computeSaved ?? 0
  }

  var summary: String {
    let combined = combinedShare > 0 ? ", \(rounded(combinedShare * 100))% by both" : ""
    return "\(mode): \(rounded(targetShare * 100))% by the target model\(combined), "
      + "\(switches) changes, about \(rounded(computeSaved * 100))% of the time saved"
  }
}

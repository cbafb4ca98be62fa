import Decoding
import InferenceTypes
import Wire

extension WorkerRegistration {
  init(_ register: Register) {
    let role: Role =
      switch register.role {
      case .drafter: .drafter
      case .verifier: .verifier
      }
    self.init(
      role: role, name: register.name, epoch: register.epoch.rawValue,
      modelFingerprint: register.modelFingerprint.bytes,
      tokenizerFingerprint: register.tokenizerFingerprint.bytes,
      vocabularyCount: register.vocabularyCount, contextLength: register.contextLength,
      slotCount: register.slotCount)
    endpoint = register.dataEndpoint
    hasDraftModel = register.draftMethods.contains { DraftMethods.modelNames.contains($0) }
    verifyRules = register.verifyRules
  }
}

extension RoutedEnding {
  init(_ ending: SessionEnding) {
    var totals = RoutedTotals()
    totals.promptDuration = ending.statistics.promptDuration
    totals.decodeDuration = ending.statistics.decodeDuration
    totals.cachedTokenCount = ending.statistics.cachedTokenCount
    totals.verifyStepCount = ending.statistics.verifyStepCount
    totals.draftTokenCount = ending.statistics.drafted.total
    totals.acceptedTokenCount = ending.statistics.accepted.total
    totals.collaboration = ending.statistics.collaboration
    totals.predictionTokenCount = ending.statistics.drafted[.prediction]
    totals.acceptedPredictionTokenCount = ending.statistics.accepted[.prediction]
    self.init(reason: ending.finishReason, totals: totals)
  }
}

extension RefusalCode {
  init(_ refusal: RegistrationRefusal) {
    self =
      switch refusal {
      case .modelsDiffer: .modelsDiffer
      case .tokenizersDiffer: .tokenizersDiffer
      case .tooManyWorkers: .tooManyWorkers
      case .nameTaken: .nameTaken
      }
  }

  /// Whether the session may go on elsewhere. A worker that forgot a session, or a drafter that
  /// cannot have it, is no reason to end it.
  var letsSessionGoOn: Bool { isRetryable || self == .unknownSession }
}

extension OpenSession {
  init(_ request: RoutedRequest, decided: [TokenID]) {
    self.init(prompt: request.prompt, sampling: request.sampling)
    self.decided = decided
    tokenLimit = request.tokenLimit
    endTokens = request.endTokens
    ignoresEnd = request.ignoresEnd
    tenant = request.tenant
    collaboration = request.collaboration
    mirostatLimit = request.mirostatLimit
    rule = request.rule
    prediction = request.prediction
  }
}

extension ServiceError {
  init(_ failure: RouteFailure) {
    self =
      switch failure {
      case .noVerifier: .noVerifier
      case .noDraftModel: .noDraftModel
      case .draining: .draining
      case .overloaded(let queueLimit): .overloaded(queueLimit: queueLimit)
      case .workerLost(let name): .workerLost(name)
      case .workerFailed(let message): .workerFailed(message)
      case .refused(let message): .refused(message)
      }
  }
}

extension GenerationSummary {
  init(_ totals: RoutedTotals, reason: FinishReason, promptCount: Int, completionCount: Int) {
    self.init()
    finishReason = reason
    promptTokenCount = promptCount
    cachedTokenCount = totals.cachedTokenCount
    completionTokenCount = completionCount
    promptDuration = totals.promptDuration
    decodeDuration = totals.decodeDuration
    verifyStepCount = totals.verifyStepCount
    draftTokenCount = totals.draftTokenCount
    acceptedTokenCount = totals.acceptedTokenCount
    collaboration = totals.collaboration
    predictionTokenCount = totals.predictionTokenCount
    acceptedPredictionTokenCount = totals.acceptedPredictionTokenCount
  }
}

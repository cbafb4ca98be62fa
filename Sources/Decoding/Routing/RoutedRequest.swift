package import InferenceTypes

/// One generation as it is routed: everything that a verifier needs to begin or to take over.
package struct RoutedRequest: Sendable, Equatable {
  package var prompt: [TokenID]
  package var sampling: SamplingParameters
  /// Upper bound of generated tokens; the prompt and as many tokens fit in the context.
  package var tokenLimit: Int
  /// The text ends with the first of these.
  package var endTokens: [TokenID] = []
  /// Goes on past end tokens.
  package var ignoresEnd = false
  /// Whose text this is; `nil` where it is not told.
  package var tenant: TenantID?
  /// How two models share the text; `nil` for exact sessions.
  package var collaboration: CollaborationParameters?
  /// Of Mirostat behind the decided tokens, as the latest verifier told it; `nil` without.
  package var mirostatLimit: Double?
  /// How drafts are judged.
  package var rule = VerifyRuleParameters()
  /// A text that the answer is expected to be like; empty means none.
  package var prediction: [TokenID] = []

  package init(prompt: [TokenID], sampling: SamplingParameters, tokenLimit: Int) {
    self.prompt = prompt
    self.sampling = sampling
    self.tokenLimit = tokenLimit
  }

  /// Why a text of these generated tokens goes no further; `nil` where it does.
  func ending(after decided: [TokenID]) -> FinishReason? {
    if let last = decided.last, !ignoresEnd, endTokens.contains(last) { return .stop }
    return decided.count >= tokenLimit ? .length : nil
  }
}

/// Counters and times of one generation, those of all verifiers that had a part in it together.
package struct RoutedTotals: Sendable, Equatable {
  package var promptDuration = Duration.zero
  package var decodeDuration = Duration.zero
  /// Prompt tokens whose keys and values were reused.
  package var cachedTokenCount = 0
  /// Forward passes of the target after the prompt.
  package var verifyStepCount = 0
  /// Draft tokens that were verified.
  package var draftTokenCount = 0
  /// Verified draft tokens that were right.
  package var acceptedTokenCount = 0
  /// `nil` for exact sessions.
  package var collaboration: CollaborationReport?
  /// Of the verified draft tokens those that came from the prediction, and of the right ones.
  package var predictionTokenCount = 0
  package var acceptedPredictionTokenCount = 0

  package init() {}

  static func += (total: inout RoutedTotals, part: RoutedTotals) {
    total.promptDuration += part.promptDuration
    total.decodeDuration += part.decodeDuration
    total.cachedTokenCount += part.cachedTokenCount
    total.verifyStepCount += part.verifyStepCount
    total.draftTokenCount += part.draftTokenCount
    total.acceptedTokenCount += part.acceptedTokenCount
    if var report = total.collaboration, let more = part.collaboration {
      report += more
      total.collaboration = report
    } else {
      total.collaboration = total.collaboration ?? part.collaboration
    }
    total.predictionTokenCount += part.predictionTokenCount
    total.acceptedPredictionTokenCount += part.acceptedPredictionTokenCount
  }
}

/// How a verifier ended a session.
package struct RoutedEnding: Sendable, Equatable {
  package var reason: FinishReason
  package var totals: RoutedTotals

  package init(reason: FinishReason, totals: RoutedTotals) {
    self.reason = reason
    self.totals = totals
  }
}

/// Why a generation could not start or go on.
package enum RouteFailure: Error, Sendable, Equatable {
  case noVerifier
  /// A collaboration needs a drafter that has a model.
  case noDraftModel
  case draining
  /// The bounded queue is full.
  case overloaded(queueLimit: Int)
  /// The worker of this name is gone, and no other took over in time.
  case workerLost(String)
  /// What the worker said.
  case workerFailed(String)
  /// The request asks for what no verifier here does.
  case refused(String)
}

package import Cluster
package import InferenceTypes

/// A whole answer of a completion endpoint.
package struct CompletionResult: Sendable, Equatable {
  package var text = ""
  /// Ids of the text, if ``CompletionQuery/returnsTokens`` asked for them.
  package var tokens: [TokenID] = []
  /// Counters and times as the server told them.
  package var summary = GenerationSummary()
  package var model = ""
  /// Repeats the text when it is sent with the same request.
  package var seed: UInt64?
  /// `nil` where the text is the target's own.
  package var collaboration: CollaborationLabel?
  /// How drafts were judged, where the server tells it.
  package var rule: VerifyRule?
  /// Whether the text has the law of decoding without drafts, where the server tells it.
  package var isLossless: Bool?

  package init() {}
}

/// What a server says of a text that two models wrote.
package struct CollaborationLabel: Sendable, Equatable {
  package var method: String
  /// Of the tokens, 0...1.
  package var targetShare: Double
  package var draftShare: Double
  package var combinedShare: Double
  package var switchCount: Int
  package var computeSaved: Double
  /// The target went on alone.
  package var isDegraded: Bool

  /// What is not told is 0.
  init(_ value: JSONValue) {
    method = value["mode"]?.string ?? ""
    targetShare = value["target_share"]?.double ?? 0
    draftShare = value["draft_share"]?.double ?? 0
    combinedShare = value["combined_share"]?.double ?? 0
    switchCount = value["switches"]?.exactInteger ?? 0
    computeSaved = value["compute_saved"]?.double ?? 0
    isDegraded = value["degraded"] == true
  }
}

extension CompletionResult {
  /// Takes over what a body or chunk tells.
  ///
  /// - Returns: the new text.
  mutating func merge(_ value: JSONValue) -> String {
    if let model = value["model"]?.string { self.model = model }
    if let seed = value["seed"]?.exactInteger { self.seed = UInt64(UInt(bitPattern: seed)) }
    if let rule = value["verify_rule"]?.string { self.rule = VerifyRule(rawValue: rule) }
    if case .boolean(let isLossless) = value["lossless"] { self.isLossless = isLossless }
    var piece = ""
    if let choice = value["choices"]?.array?.first {
      piece =
        choice["text"]?.string ?? choice["delta"]?["content"]?.string
        ?? choice["message"]?["content"]?.string ?? ""
      tokens += (choice["tokens"]?.array ?? []).compactMap { id in
        id.exactInteger.flatMap { UInt32(exactly: $0) }.map { TokenID($0) }
      }
      if let reason = choice["finish_reason"]?.string.flatMap({ FinishReason(rawValue: $0) }) {
        summary.finishReason = reason
      }
    }
    if let usage = value["usage"] { mergeUsage(usage) }
    if let timings = value["timings"] { mergeTimings(timings) }
    if let label = value["collaboration"] { collaboration = CollaborationLabel(label) }
    text += piece
    return piece
  }

  private mutating func mergeUsage(_ usage: JSONValue) {
    if let count = usage["prompt_tokens"]?.exactInteger { summary.promptTokenCount = count }
    if let count = usage["completion_tokens"]?.exactInteger {
      summary.completionTokenCount = count
    }
    if let count = usage["prompt_tokens_details"]?["cached_tokens"]?.exactInteger {
      summary.cachedTokenCount = count
    }
    let details = usage["completion_tokens_details"]
    if let accepted = details?["accepted_prediction_tokens"]?.exactInteger,
      let rejected = details?["rejected_prediction_tokens"]?.exactInteger,
      accepted >= 0, rejected >= 0, rejected <= .max - accepted
    {
      summary.acceptedPredictionTokenCount = accepted
      summary.predictionTokenCount = accepted + rejected
    }
  }

  private mutating func mergeTimings(_ timings: JSONValue) {
    if let count = timings["draft_n"]?.exactInteger { summary.draftTokenCount = count }
    if let count = timings["draft_n_accepted"]?.exactInteger { summary.acceptedTokenCount = count }
    if let count = timings["verify_n"]?.exactInteger { summary.verifyStepCount = count }
    if let time = Self.duration(timings["prompt_ms"]) { summary.promptDuration = time }
    if let time = Self.duration(timings["predicted_ms"]) { summary.decodeDuration = time }
  }

  /// `nil` also where the number is too large to be a time.
  private static func duration(_ milliseconds: JSONValue?) -> Duration? {
    guard let value = milliseconds?.double, (0...1e12).contains(value) else { return nil }
    return .nanoseconds(Int64((value * 1e6).rounded()))
  }
}

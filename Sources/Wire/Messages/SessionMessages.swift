package import InferenceTypes

/// Starts a session at a verifier, or takes over one that a lost verifier had begun.
package struct OpenSession: Sendable, Equatable {
  /// At least one token. Prompt and decided tokens: ``Limits/contextLengthMax`` together.
  package var prompt: [TokenID]
  /// Tokens generated already, in order; the verifier goes on after them.
  package var decided: [TokenID] = []
  package var sampling: SamplingParameters
  /// Upper bound of generated tokens, decided ones included; `nil` where there is none.
  package var tokenLimit: Int?
  /// The text ends with the first of these.
  package var endTokens: [TokenID] = []
  /// Goes on past end tokens.
  package var ignoresEnd = false
  /// Where drafts may come from. Empty means decoding without drafts.
  package var draftOrigins = Set(DraftOrigin.allCases)
  /// Whose text this is; `nil` where it is not told.
  package var tenant: TenantID?
  /// How drafting and verifying share the time; `nil` leaves it to the verifier.
  package var pipeline: Pipeline?
  /// `nil` for exact sessions. What is read ahead is the verifier's own affair and does not travel.
  package var collaboration: CollaborationParameters?
  /// What the earlier verifier said of Mirostat after `decided`; there exactly where the sampling
  /// uses it and tokens are decided.
  package var mirostatLimit: Double?
  /// How drafts are judged.
  package var rule = VerifyRuleParameters()
  /// A text that the answer is expected to be like, ``Limits/predictionCountMax`` tokens at most;
  /// empty means none.
  package var prediction: [TokenID] = []

  package init(prompt: [TokenID], sampling: SamplingParameters) {
    self.prompt = prompt
    self.sampling = sampling
  }
}

/// Newly decided tokens of a session.
package struct SessionTokens: Sendable, Equatable {
  /// Index of the first token, counted from the first generated one.
  package var firstIndex: Int
  /// Without any, and without an ending, the verifier says but that the session lives.
  package var tokens: [TokenID]
  /// Present in the last message of a session.
  package var ending: SessionEnding?
  /// Bits that Mirostat lets through after the last token; `nil` where it is off.
  package var mirostatLimit: Double?

  package init(firstIndex: Int, tokens: [TokenID], ending: SessionEnding? = nil) {
    self.firstIndex = firstIndex
    self.tokens = tokens
    self.ending = ending
  }
}

/// How a session ended, and what it took.
package struct SessionEnding: Sendable, Equatable {
  package var finishReason: FinishReason
  package var statistics: SessionStatistics

  package init(finishReason: FinishReason, statistics: SessionStatistics) {
    self.finishReason = finishReason
    self.statistics = statistics
  }
}

/// Counters and times of one session at one verifier. Durations travel as whole nanoseconds.
package struct SessionStatistics: Sendable, Equatable {
  package var promptDuration = Duration.zero
  package var decodeDuration = Duration.zero
  /// Prompt tokens whose keys and values were reused.
  package var cachedTokenCount = 0
  /// Forward passes of the target after the prompt.
  package var verifyStepCount = 0
  /// Draft tokens that were verified.
  package var drafted = OriginCounts()
  /// Verified draft tokens that were right: at most ``drafted``, origin by origin.
  package var accepted = OriginCounts()
  /// ``drafted`` by origin and place, row after row of ``placeCount``; empty where it is not told.
  package var draftedAt: [Int] = []
  /// ``accepted`` in the same order, as many as ``draftedAt`` and none above its neighbour there.
  package var acceptedAt: [Int] = []
  /// Bytes of frames that came from drafters, and went to them.
  package var draftBytes = TrafficCount()
  /// Tokens that the planner expected of all steps.
  package var expectedTokenCount: Float = 0
  /// To the drafter that attached last, as it measured; zero where unknown.
  package var roundTrip = Duration.zero
  /// `nil` for exact sessions.
  package var collaboration: CollaborationReport?

  /// Places counted apart: distances from the last truth token, the last for all longer ones.
  package static let placeCount = 16

  package init() {}
}

/// Bytes of one session on a link, or on several.
package struct TrafficCount: Sendable, Equatable {
  package var inbound = 0
  package var outbound = 0

  package init() {}
}

/// One count for each draft origin.
package struct OriginCounts: Sendable, Equatable {
  private(set) var values = [Int](repeating: 0, count: DraftOrigin.allCases.count)

  package init() {}

  package subscript(origin: DraftOrigin) -> Int {
    get { values[Int(origin.rawValue)] }
    set { values[Int(origin.rawValue)] = newValue }
  }

  package var total: Int { values.reduce(0, +) }
}

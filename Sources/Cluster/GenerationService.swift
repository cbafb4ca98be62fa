package import InferenceTypes

/// One generation as the router sees it: text is already tokenised and templated.
package struct GenerationRequest: Sendable {
  package var prompt: [TokenID]
  package var sampling: SamplingParameters
  /// Upper bound of new tokens; `nil` goes on to the end of the context.
  package var tokenLimit: Int?
  /// The text ends before the first of these; up to four, none empty.
  package var stopStrings: [String] = []
  /// Goes on past end tokens, for runs of a fixed length.
  package var ignoresEndOfSequence = false
  /// Whose text this is; `nil` where it is not told.
  package var tenant: TenantID?
  /// How two models share the text; `nil` for the target's own.
  package var collaboration: CollaborationParameters?
  /// How drafts are judged.
  package var rule = VerifyRuleParameters()
  /// A text that the answer is expected to be like; empty means none.
  package var prediction: [TokenID] = []

  package init(prompt: [TokenID], sampling: SamplingParameters, tokenLimit: Int?) {
    self.prompt = prompt
    self.sampling = sampling
    self.tokenLimit = tokenLimit
  }
}

/// What a generation tells while it runs. The last event is `finished`; a failure ends the stream
/// by throwing ``ServiceError``.
package enum GenerationEvent: Sendable {
  /// Newly decided tokens, in order. `text` holds whole characters only and lags behind `tokens`
  /// where a character, or a possible stop string, is incomplete; it may be empty.
  case tokens(ids: [TokenID], text: String)
  /// Text held back until the end comes with it.
  case finished(GenerationSummary, text: String)
}

/// Counters and times of one ended generation.
package struct GenerationSummary: Sendable, Equatable {
  package var finishReason: FinishReason = .stop
  package var promptTokenCount = 0
  /// Prompt tokens whose keys and values were reused.
  package var cachedTokenCount = 0
  package var completionTokenCount = 0
  /// Time to process the prompt.
  package var promptDuration: Duration = .zero
  /// Time from the end of the prompt to the last token.
  package var decodeDuration: Duration = .zero
  /// Forward passes of the target after the prompt.
  package var verifyStepCount = 0
  /// Draft tokens that were verified.
  package var draftTokenCount = 0
  /// Verified draft tokens that were right.
  package var acceptedTokenCount = 0
  /// Who wrote it; `nil` where it is the target's own text.
  package var collaboration: CollaborationReport?
  /// Of the verified draft tokens those that came from the prediction, and of the right ones.
  package var predictionTokenCount = 0
  package var acceptedPredictionTokenCount = 0

  package init() {}
}

/// The model behind a service.
package struct ServedModel: Sendable {
  package var id: String
  /// Seconds since 1970.
  package var created: Int
  package var vocabularyCount: Int
  package var contextLength: Int
  package var embeddingLength: Int
  package var parameterCount: Int
  package var sizeBytes: Int

  package init(
    id: String, created: Int, vocabularyCount: Int, contextLength: Int, embeddingLength: Int,
    parameterCount: Int, sizeBytes: Int
  ) {
    self.id = id
    self.created = created
    self.vocabularyCount = vocabularyCount
    self.contextLength = contextLength
    self.embeddingLength = embeddingLength
    self.parameterCount = parameterCount
    self.sizeBytes = sizeBytes
  }
}

/// Whether requests can be answered now.
package struct ServiceHealth: Sendable, Equatable {
  package var verifierCount: Int
  package var drafterCount: Int
  package var isDraining: Bool

  package init(verifierCount: Int, drafterCount: Int, isDraining: Bool) {
    self.verifierCount = verifierCount
    self.drafterCount = drafterCount
    self.isDraining = isDraining
  }
}

/// Why a generation could not start or go on.
package enum ServiceError: Error, Equatable, Sendable {
  case noVerifier
  /// A collaboration was asked for, and no drafter has a model.
  case noDraftModel
  /// Proxy tuning was asked for, which takes a third model.
  case noAntiexpert
  /// The method sends whole rows of logits, which are too large for this vocabulary.
  case rowsTooLarge(vocabularyCount: Int, limit: Int)
  case draining
  /// The bounded queue is full.
  case overloaded(queueLimit: Int)
  case promptTooLong(promptTokenCount: Int, contextLength: Int)
  case emptyPrompt
  /// A prompt token is not in the vocabulary.
  case unknownToken(TokenID, vocabularyCount: Int)
  /// The worker that held the session is gone and no other took over.
  case workerLost(String)
  case workerFailed(String)
  /// No verifier does what the request asks for; the text says why and can be shown to the client.
  case refused(String)
  case predictionTooLong(tokenCount: Int, limit: Int)
}

/// What the HTTP layer asks of the cluster.
package protocol GenerationService: Sendable {
  var model: ServedModel { get }
  func health() async -> ServiceHealth
  /// What there is to measure.
  func metrics() async -> [MetricFamily]
  /// Starts a generation. Ending the iteration early (cancelling the task that iterates, or
  /// dropping the stream) cancels the generation on all workers.
  func generate(
    _ request: GenerationRequest
  ) async throws(ServiceError) -> AsyncThrowingStream<GenerationEvent, any Error>
}

extension GenerationService {
  /// Nothing is measured.
  package func metrics() async -> [MetricFamily] { [] }
}

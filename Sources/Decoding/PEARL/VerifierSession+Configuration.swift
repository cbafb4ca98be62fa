package import InferenceTypes

extension VerifierSession {
  /// What a generation needs to know at its start.
  package struct Configuration: Sendable {
    package var prompt: [TokenID]
    /// Tokens that an earlier session decided after the prompt; they count towards the limit.
    package var decided: [TokenID] = []
    /// ``VerifierSession/mirostatLimit`` after `decided`; needed where Mirostat goes on.
    package var mirostatLimit: Double?
    package var sampling: SamplingParameters
    /// How drafts are judged.
    package var rule = RuleChoice.standard
    /// Upper bound of new tokens; `nil` goes on to the end of the context.
    package var tokenLimit: Int?
    /// Tokens that end the text.
    package var stopTokens: [TokenID] = []
    /// Goes on past the stop tokens.
    package var ignoresEndOfSequence = false
    /// A text that the answer is expected to be like, for the source ``PredictionSource``; it may
    /// hold any tokens, and empty means none.
    package var prediction: [TokenID] = []
    /// Whose drafts may enter a batch; those of others are not used, whoever sends them. Empty
    /// decodes without drafts.
    package var draftOrigins = Set(DraftOrigin.allCases)
    /// Tokens that the target can hold.
    package var contextLength: Int
    package var vocabularyCount: Int
    /// Drafts held at once, those of all links together.
    package var pendingNodeMax = 4096

    package init(
      prompt: [TokenID], sampling: SamplingParameters, contextLength: Int, vocabularyCount: Int
    ) {
      self.prompt = prompt
      self.sampling = sampling
      self.contextLength = contextLength
      self.vocabularyCount = vocabularyCount
    }
  }
}

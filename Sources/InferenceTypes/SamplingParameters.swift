/// How the next token is chosen from the target's logits. Together with the model, the prompt and
/// the seed it determines the text of an exact session.
package struct SamplingParameters: Sendable, Equatable {
  /// 0 is greedy decoding: the largest logit, ties to the smaller id.
  package var temperature: Float = 1
  /// Number of largest logits kept; 0 keeps all.
  package var topK: Int = 0
  /// Smallest prefix of the sorted tokens with at least this probability is kept; 1 keeps all.
  package var topP: Float = 1
  /// Tokens below this share of the largest probability are dropped; 0 keeps all.
  package var minP: Float = 0
  /// Divides (positive) or multiplies (negative) logits of tokens seen lately; 1 is neutral.
  package var repetitionPenalty: Float = 1
  /// Number of latest tokens, prompt included, that all three penalties look at.
  package var penaltyWindow: Int = 64
  /// Subtracted once per occurrence in the window.
  package var frequencyPenalty: Float = 0
  /// Subtracted once if the token occurs in the window.
  package var presencePenalty: Float = 0
  /// Added to the logits; -infinity bans a token. Sorted by token, no duplicates.
  package var logitBias: [LogitBias] = []
  /// Mirostat 2: bits of surprise that a token has on average; 0 switches it off. Takes the place of
  /// ``topK``, ``topP`` and ``minP``.
  package var mirostatTau: Float = 0
  /// Mirostat 2: how fast it corrects itself.
  package var mirostatEta: Float = 0.1
  /// Cautious choice: most continuations tried where the entropy is high; 0 switches it off. Not
  /// possible together with drafts.
  package var cautiousTrials: Int = 0
  /// Cautious choice: entropy, in nats, up to which there is one continuation.
  package var cautiousLow: Float = 0.01
  /// Cautious choice: entropy, in nats, from which there are all.
  package var cautiousHigh: Float = 1.5
  /// Cautious choice: most tokens of a continuation.
  package var cautiousLength: Int = 32
  /// Key of the session's noise.
  package var seed: UInt64 = 0

  package init() {}

  /// What `slipstream run` uses when nothing is said (as llama.cpp's command line does).
  package static var commandLine: SamplingParameters {
    var parameters = SamplingParameters()
    parameters.temperature = 0.8
    parameters.topK = 40
    parameters.topP = 0.95
    parameters.minP = 0.05
    return parameters
  }
}

/// One entry of ``SamplingParameters/logitBias``.
package struct LogitBias: Sendable, Equatable {
  package var token: TokenID
  package var bias: Float

  package init(token: TokenID, bias: Float) {
    self.token = token
    self.bias = bias
  }
}

/// A token and its logit.
package struct TokenLogit: Sendable, Equatable {
  package var token: TokenID
  package var logit: Float

  package init(token: TokenID, logit: Float) {
    self.token = token
    self.logit = logit
  }
}

/// Why a generation ended.
package enum FinishReason: String, Sendable, Equatable, CaseIterable {
  /// The model emitted an end token, or the text reached a stop string.
  case stop
  /// The token limit or the end of the context was reached.
  case length
  /// The client went away or asked to stop.
  case cancelled
}

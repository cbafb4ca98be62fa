/// How a small and a large model share the writing of one text.
///
/// The text is neither model's own: nothing uses this unless a request asks for it.
package struct CollaborationParameters: Sendable, Equatable {
  /// Who decides the tokens.
  package enum Method: String, Sendable, Equatable, CaseIterable {
    /// The model that writes changes with the rolling entropy of its own distributions.
    case entropy
    /// The target model writes the first tokens of each sentence, the draft model the rest.
    case leading
    /// The target's logits, away from what the draft model likes as well.
    case contrastive
    /// The target's logits, shifted by what tuning changed in a small model.
    case proxy
    /// The target model writes the tokens at which the draft model is unsure.
    case oracle
  }

  /// At which tokens the target model, and the logits of both, come into play.
  package enum Intervention: String, Sendable, Equatable, CaseIterable {
    case always
    /// Where the draft model's largest probability is below the threshold.
    case probability
    /// Where half the distance of its two largest probabilities is below the threshold.
    case gap
  }

  package var method: Method

  /// Bits; the target model takes over where the mean entropy reaches it. 0 leaves all tokens to
  /// the target model, infinity to the draft model.
  package var entropyThreshold: Float = 0.6
  /// Bits below ``entropyThreshold`` that the mean entropy has to fall to for the draft model to
  /// take over again.
  package var entropyHysteresis: Float = 0.1
  /// Latest tokens whose entropies the mean is of.
  package var entropyWindow = 5
  /// Tokens that the draft model writes at least before the target model may take over.
  package var draftStay = 10
  /// Tokens that the target model writes at least before the draft model may take over.
  package var targetStay = 10

  /// Tokens of each led sentence that the target model writes.
  package var leadingTokens = 15
  /// Probability that a sentence is led.
  package var leadProbability: Float = 1
  /// Sentences at the beginning that are led in any case.
  package var ledSentences = 3

  /// Tokens below this share of the target's largest probability are out; 0 keeps all.
  package var plausibility: Float = 0.1
  /// 1 is the target alone, less goes towards the draft model, more goes away from it.
  package var contrast: Float = 1.5
  /// Weight of what tuning changed in the small model.
  package var tuningStrength: Float = 1

  package var intervention = Intervention.always
  /// Strictly below it is an intervention.
  package var interventionThreshold: Float = 0.5

  /// Tokens that a waiting model may lack before it reads them ahead of its turn; `nil` lets it
  /// read them when its turn comes. Worth it only where it has a machine of its own.
  package var catchUpLag: Int?

  /// Intervenes always, but in ``Method/oracle``, which would then be the target model alone.
  package init(method: Method) {
    self.method = method
    if method == .oracle { intervention = .probability }
  }
}

package import InferenceTypes

/// One text in which uncertain places are tried several times: where the entropy is high, several
/// short continuations are sampled, and the least perplexing one is kept.
///
/// Asks for logits with ``nextPass`` and hears them in ``conclude(logits:)``. A continuation goes to
/// the next token of `breakTokens`. The text depends on prompt, parameters and seed alone, but it is
/// not the text of plain decoding, and drafts cannot be verified against it.
///
/// | state | the next pass |
/// |---|---|
/// | reading | reads the truth that the model lacks |
/// | trying | adds a token to one continuation |
/// | finished | none |
///
/// Input comes from the own model only, so what is wrong is our bug.
///
/// - SeeAlso: Wang et al. 2025, arXiv:2507.03038. The first continuation has the session's own noise,
///   so that a text without uncertain places is that of plain decoding; the others have noise keyed by
///   the seed and their number.
package struct CautiousSession: Sendable {
  /// What the model computes next. It holds the truth up to the first of these positions.
  package enum Pass: Sendable, Equatable {
    /// These positions of the truth; the logits behind the last one are wanted.
    case read(Range<Int>)
    /// A token of continuation `trial`, in a copy of the cache that is made where `isFirst`.
    case extend(trial: Int, token: TokenID, isFirst: Bool)
  }

  /// What the driver does before the next pass.
  package struct Conclusion: Sendable, Equatable {
    /// Newly decided tokens.
    package var tokens: [TokenID] = []
    /// The continuation whose cache becomes that of the session; all others are dropped. `nil` where
    /// the session's own cache goes on.
    package var keptTrial: Int?
  }

  private struct Trial {
    var tokens: [TokenID] = []
    var logProbability = 0.0
    var meanLogProbability: Double { logProbability / Double(tokens.count) }
  }

  /// What the seed of further continuations uses of the generator's third counter word.
  private static let stream: UInt32 = 7

  package private(set) var truth: [TokenID]
  package let promptCount: Int
  package private(set) var finish: FinishReason?
  /// Places with more than one continuation, and tokens that were computed and thrown away.
  package private(set) var uncertainCount = 0
  package private(set) var discardedCount = 0
  private let sampling: SamplingParameters
  private let stopTokens: [TokenID]
  private let breakTokens: Set<TokenID>
  private let lengthMax: Int
  private var choosers: [TokenChooser]
  private var trials: [Trial] = []
  /// Continuation that is being extended.
  private var current = 0
  /// Positions that the session's cache holds.
  private var heldCount = 0

  /// - Parameters:
  ///   - configuration: without decided tokens; its sampling parameters are cautious.
  ///   - breakTokens: punctuation, after which a continuation ends.
  /// - Throws: ``DecodingError`` for an unfit configuration.
  package init(
    _ configuration: VerifierSession.Configuration, breakTokens: [TokenID]
  ) throws(DecodingError) {
    precondition(configuration.decided.isEmpty, "a cautious session is not resumed")
    truth = configuration.prompt
    guard !truth.isEmpty else { throw .emptyPrompt }
    guard truth.count < configuration.contextLength else {
      throw .promptTooLong(tokenCount: truth.count, contextLength: configuration.contextLength)
    }
    for token in truth where token.rawValue >= configuration.vocabularyCount {
      throw .unknownToken(token, vocabularyCount: configuration.vocabularyCount)
    }
    try SamplingParameters.check("tokenLimit", configuration.tokenLimit ?? 0, 0...Int.max)
    sampling = configuration.sampling
    promptCount = truth.count
    stopTokens = configuration.ignoresEndOfSequence ? [] : configuration.stopTokens
    self.breakTokens = Set(breakTokens)
    let room = configuration.contextLength - promptCount
    lengthMax = promptCount + min(room, configuration.tokenLimit ?? room)
    choosers = []
    for trial in 0..<max(1, sampling.cautiousTrials) {
      var own = sampling
      if trial > 0 {
        let words = Philox4x32.block(
          key: sampling.seed, counter: (UInt32(trial), 0, Self.stream, 0))
        own.seed = UInt64(words[0]) << 32 | UInt64(words[1])
      }
      choosers.append(
        try TokenChooser(parameters: own, vocabularyCount: configuration.vocabularyCount))
    }
    if truth.count >= lengthMax { finish = .length }
  }

  /// Number of continuations at a place with this entropy, in nats.
  package static func trialCount(entropy: Double, _ parameters: SamplingParameters) -> Int {
    guard parameters.isCautious else { return 1 }
    let low = Double(parameters.cautiousLow)
    let share = min(1, max(0, (entropy - low) / (Double(parameters.cautiousHigh) - low)))
    return Int(1 + Double(parameters.cautiousTrials - 1) * share)
  }

  /// `nil` where the text has ended.
  package var nextPass: Pass? {
    guard finish == nil else { return nil }
    guard current < trials.count else { return .read(heldCount..<truth.count) }
    let tokens = trials[current].tokens
    return .extend(trial: current, token: tokens[tokens.count - 1], isFirst: tokens.count == 1)
  }

  /// Takes the logits of ``nextPass`` in.
  ///
  /// - Shape: `logits`: `[vocabulary]`.
  /// - Returns: what was decided, if anything.
  package mutating func conclude(logits: Span<Float>) -> Conclusion {
    precondition(finish == nil, "session of \(truth.count) tokens is finished")
    if current < trials.count {
      extend(current, law: law(logits, trial: current), logits: logits)
    } else {
      heldCount = truth.count
      let law = law(logits, trial: nil)
      let count = Self.trialCount(entropy: law.entropy, sampling)
      trials = [Trial](repeating: Trial(), count: count)
      current = 0
      for trial in 0..<count { extend(trial, law: law, logits: logits) }
      // A certain place is one token, as in plain decoding.
      if count == 1 { return decide(trials[0], keptTrial: nil) }
      uncertainCount += 1
    }
    while current < trials.count, isComplete(trials[current]) { current += 1 }
    guard current == trials.count else { return Conclusion() }
    var best = 0
    for trial in 1..<trials.count
    where trials[trial].meanLogProbability > trials[best].meanLogProbability { best = trial }
    for trial in trials.indices where trial != best { discardedCount += trials[trial].tokens.count }
    return decide(trials[best], keptTrial: trials[best].tokens.count > 1 ? best : nil)
  }

  /// The law does not depend on the noise, so any chooser will do.
  private mutating func law(_ logits: Span<Float>, trial: Int?) -> TokenDistribution {
    let recent = truth.suffix(choosers[0].historyLength) + (trial.map { trials[$0].tokens } ?? [])
    let context = Array(recent)
    return choosers[0].distribution(logits: logits, recent: context.span)
  }

  private mutating func extend(_ trial: Int, law: TokenDistribution, logits: Span<Float>) {
    let context = Array(truth.suffix(choosers[trial].historyLength)) + trials[trial].tokens
    let token = choosers[trial].choose(
      logits: logits, top: Span(), recent: context.span,
      position: truth.count + trials[trial].tokens.count)
    trials[trial].tokens.append(token)
    trials[trial].logProbability += ExactMath.log(law.probability(of: token))
  }

  private func isComplete(_ trial: Trial) -> Bool {
    guard let last = trial.tokens.last else { return false }
    return breakTokens.contains(last) || stopTokens.contains(last)
      || trial.tokens.count >= sampling.cautiousLength
      || truth.count + trial.tokens.count >= lengthMax
  }

  private mutating func decide(_ trial: Trial, keptTrial: Int?) -> Conclusion {
    heldCount += trial.tokens.count - 1
    truth += trial.tokens
    trials.removeAll()
    current = 0
    if stopTokens.contains(truth[truth.count - 1]) {
      finish = .stop
    } else if truth.count >= lengthMax {
      finish = .length
    }
    return Conclusion(tokens: trial.tokens, keptTrial: keptTrial)
  }
}

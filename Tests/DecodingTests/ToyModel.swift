import Decoding
import InferenceTypes

/// A target whose logits are a hash of the last tokens.
struct ToyModel {
  var vocabularyCount = 5
  /// Latest tokens that matter.
  var memory = 4
  /// Largest logits; the smaller, the more even the distribution.
  var sharpness: Float = 4
  var seed: UInt64 = 0
  /// Mixes the logits of another model in.
  var blend: (seed: UInt64, share: Float)?

  func row(_ context: ArraySlice<TokenID>) -> [Float] {
    guard let (other, share) = blend else { return row(context, seed: seed) }
    return zip(row(context, seed: seed), row(context, seed: other)).map {
      $0 * (1 - share) + $1 * share
    }
  }

  private func row(_ context: ArraySlice<TokenID>, seed: UInt64) -> [Float] {
    var state = seed
    for token in context.suffix(memory) {
      var random = SmallRandom(state ^ UInt64(token.rawValue + 1))
      state = random.next()
    }
    var random = SmallRandom(state)
    return (0..<vocabularyCount).map { _ in random.unit() * sharpness }
  }

  /// Decoding one token at a time, written independently of the session.
  func plain(_ configuration: VerifierSession.Configuration) throws -> (
    tokens: [TokenID], finish: FinishReason
  ) {
    var chooser = try TokenChooser(
      parameters: configuration.sampling, vocabularyCount: vocabularyCount)
    var text = configuration.prompt
    let limit = configuration.tokenLimit ?? .max
    while true {
      let count = text.count - configuration.prompt.count
      if count >= limit || text.count >= configuration.contextLength { break }
      let row = row(text[...])
      let token = chooser.choose(
        logits: row.span, top: Span(), recent: text.span, position: text.count)
      text.append(token)
      if !configuration.ignoresEndOfSequence, configuration.stopTokens.contains(token) {
        return (Array(text[configuration.prompt.count...]), .stop)
      }
    }
    return (Array(text[configuration.prompt.count...]), .length)
  }

  /// Evaluates a batch and concludes it.
  func step(
    _ session: inout VerifierSession, _ batch: VerifyBatch, sources: inout LocalSources,
    topCount: Int = 4
  ) -> VerifyOutcome {
    let topCount = min(topCount, vocabularyCount)
    var logits: [Float] = []
    var top: [TokenLogit] = []
    var contexts: [[TokenID]] = []
    for node in 0..<batch.count {
      let context =
        node == 0 ? session.truth : contexts[batch.parents[node]] + [batch.tokens[node]]
      contexts.append(context)
      let row = row(context[...])
      logits += row
      top += topEntries(row, count: topCount)
    }
    return session.conclude(
      batch, logits: logits.span, top: top.span, topCount: topCount, sources: &sources)
  }

  /// A configuration with this model's vocabulary.
  func configuration(
    temperature: Float = 1, seed: UInt64 = 0, tokenLimit: Int? = 12
  ) -> VerifierSession.Configuration {
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    sampling.seed = seed
    var configuration = VerifierSession.Configuration(
      prompt: [1, 0, 2], sampling: sampling, contextLength: 4096,
      vocabularyCount: vocabularyCount)
    configuration.tokenLimit = tokenLimit
    return configuration
  }
}

/// Nothing costs anything, so that every pending draft is verified.
let freeOfCost = VerifyCosts(relative: [])

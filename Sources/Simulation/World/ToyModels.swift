package import Decoding
package import InferenceTypes

/// A target whose logits are a pure function of the whole prefix and a seed.
///
/// The hash of a prefix stands for its keys and values: a worker that keeps the wrong ones gets
/// other logits, and so another text.
package struct ToyTarget: Sendable, Equatable {
  package var vocabularyCount: Int
  package var seed: UInt64

  package init(vocabularyCount: Int = 24, seed: UInt64) {
    precondition(vocabularyCount > 16, "\(vocabularyCount) tokens")
    self.vocabularyCount = vocabularyCount
    self.seed = seed
  }

  /// Of no token at all.
  var emptyHash: UInt64 { mixed(seed) }

  @inline(__always)
  func extend(_ hash: UInt64, by token: TokenID) -> UInt64 {
    mixed(hash ^ UInt64(token.rawValue &+ 1) &* 0x2545_f491_4f6c_dd1d)
  }

  /// Appends the logits of the token after a prefix, from 0 to 4, and returns the largest one.
  func appendRow(_ hash: UInt64, to logits: inout [Float]) -> TokenLogit {
    var best = TokenLogit(token: 0, logit: -1)
    var state = hash
    for token in 0..<vocabularyCount {
      state &+= 0x9e37_79b9_7f4a_7c15
      let z = (state ^ state >> 31) &* 0xbf58_476d_1ce4_e5b9
      let logit = Float(z >> 40) * 0x1p-22
      if logit > best.logit { best = TokenLogit(token: TokenID(UInt32(token)), logit: logit) }
      logits.append(logit)
    }
    return best
  }

  /// The text that decoding one token at a time gives; independent of the sessions.
  ///
  /// - Returns: the generated tokens and why they end.
  package func plainText(
    prompt: [TokenID], sampling: SamplingParameters, tokenLimit: Int, endTokens: [TokenID]
  ) throws(DecodingError) -> (tokens: [TokenID], finish: FinishReason) {
    var chooser = try TokenChooser(parameters: sampling, vocabularyCount: vocabularyCount)
    var hash = prompt.reduce(emptyHash) { extend($0, by: $1) }
    var tokens: [TokenID] = []
    var row: [Float] = []
    while tokens.count < tokenLimit {
      row.removeAll(keepingCapacity: true)
      _ = appendRow(hash, to: &row)
      let token = chooser.choose(
        logits: row.span, top: Span(), recent: Span(), position: prompt.count + tokens.count)
      tokens.append(token)
      if endTokens.contains(token) { return (tokens, .stop) }
      hash = extend(hash, by: token)
    }
    return (tokens, .length)
  }
}

/// A draft model that ranks the target's own choice first with a given probability, independently
/// for every prefix.
package struct ToyDrafter: Sendable, Equatable {
  package let target: ToyTarget
  /// `[w - 1]`: probability that the choice is among the first w guesses.
  package let hitRates: [Double]
  package let seed: UInt64
  /// Nats between a guess and the next.
  private static let gap = 2.0

  package init(target: ToyTarget, hitRates: [Double], seed: UInt64) {
    precondition(hitRates.count <= 16, "\(hitRates.count) hit rates")
    self.target = target
    self.hitRates = hitRates
    self.seed = seed
  }

  /// The logits after a prefix. The target's choice stands at the drawn place of the order in which
  /// a session ranks them: by logit, and by the noise too where the temperature is not 0.
  ///
  /// - Parameters:
  ///   - hash: of the prefix.
  ///   - position: of the token after it.
  ///   - chooser: makes the target's choice.
  ///   - logits: replaced, `[vocabulary]`.
  ///   - top: replaced by all of them, larger first.
  func answer(
    after hash: UInt64, position: Int, chooser: inout TokenChooser, logits: inout [Float],
    top: inout [TokenLogit]
  ) {
    logits.removeAll(keepingCapacity: true)
    _ = target.appendRow(hash, to: &logits)
    let choice = chooser.choose(
      logits: logits.span, top: Span(), recent: Span(), position: position)
    let draw = mixed(hash ^ seed &* 0xd6e8_feb8_6659_fd93)
    let share = Double(draw >> 11) * 0x1p-53
    let count = target.vocabularyCount
    let place = hitRates.firstIndex { share < $0 } ?? count - 1
    let temperature = chooser.parameters.temperature
    let noise = chooser.noise
    top.removeAll(keepingCapacity: true)
    // The others follow each other from a drawn one on.
    var other = Int(draw & 0xff) % count
    for rank in 0..<count {
      var token = choice
      if rank != place {
        if other == Int(choice.rawValue) { other = (other + 1) % count }
        token = TokenID(UInt32(other))
        other = (other + 1) % count
      }
      let score = -Self.gap * Double(rank)
      let logit =
        temperature == 0
        ? Float(score) : Float(score - noise.value(position: position, token: token)) * temperature
      logits[Int(token.rawValue)] = logit
      top.append(TokenLogit(token: token, logit: logit))
    }
    guard temperature > 0 else { return }
    top.sort { ($1.logit, $0.token) < ($0.logit, $1.token) }
  }
}

package import InferenceTypes

/// The last three tokens of a context, nearest first.
package struct TokenContext: Sendable, Hashable {
  /// Most tokens of a context.
  static let length = 3
  /// Stands for a token before the beginning.
  static let absent = UInt32.max

  package private(set) var last = absent
  package private(set) var second = absent
  package private(set) var third = absent

  /// The empty context.
  package init() {}

  /// The end of `tokens`.
  package init(endOf tokens: [TokenID]) {
    for token in tokens.suffix(Self.length) { append(token) }
  }

  package mutating func append(_ token: TokenID) {
    third = second
    second = last
    last = token.rawValue
  }

  package func appending(_ token: TokenID) -> TokenContext {
    var context = self
    context.append(token)
    return context
  }

  /// What is known of the context before the last token.
  var preceding: TokenContext {
    var context = TokenContext()
    context.last = second
    context.second = third
    return context
  }

  /// Name of the last `length` tokens, or `nil` where there are fewer.
  func key(length: Int) -> UInt64? {
    switch length {
    case 1: last == Self.absent ? nil : UInt64(last)
    case 2: second == Self.absent ? nil : UInt64(second) << 21 | UInt64(last)
    default:
      third == Self.absent ? nil : UInt64(third) << 42 | UInt64(second) << 21 | UInt64(last)
    }
  }
}

/// What a source needs to know of the session's way of choosing.
package struct DraftSampling: Sendable {
  package let temperature: Float
  package let noise: GumbelNoise
  package let minP: Float

  package init(_ parameters: SamplingParameters) {
    temperature = parameters.temperature
    noise = GumbelNoise(seed: parameters.seed)
    minP = parameters.minP
  }
}

/// A place in a tree where a source may propose children.
package struct DraftPlace: Sendable {
  /// The path up to here, this node's own token included.
  package var context: TokenContext
  /// Index in the whole sequence of the token to guess.
  package var position: Int
  package var sampling: DraftSampling
  /// The searched node that the trigram store gave with this node's token; -1 for none.
  package var searchNode: Int

  package init(
    context: TokenContext, position: Int, sampling: DraftSampling, searchNode: Int = -1
  ) {
    self.context = context
    self.position = position
    self.sampling = sampling
    self.searchNode = searchNode
  }
}

/// One guess of one source for the token at a place.
package struct DraftCandidate: Sendable, Equatable {
  package var token: TokenID
  /// What the source itself believes, a probability.
  package var claimed: Float
  /// The claim corrected by experience.
  package var estimate: Float
  package var origin: DraftOrigin
  /// Cell of the hit rate table that made the estimate.
  package var cell: Int
  /// Node of the trigram store's search, or of the drafts that a session holds; -1 for none.
  package var handle = -1
}

/// A training-free drafter: guesses from what was seen before.
package protocol DraftSource: Sendable {
  /// Appends guesses for the token at `place`, best first.
  mutating func propose(at place: DraftPlace, into candidates: inout [DraftCandidate])

  /// Learns how good the guesses were: `candidates` are some of those that this source proposed at
  /// one place, all of them, and `truth` is the token that came.
  mutating func learn(_ candidates: ArraySlice<DraftCandidate>, truth: TokenID)
}

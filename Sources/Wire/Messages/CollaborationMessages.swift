package import InferenceTypes

/// Verifier to drafter: the draft model of a collaboration reads these tokens.
package struct CollaborateIngest: Sendable, Equatable {
  /// What the verifier needs to know of the logits that follow the last token.
  package enum Want: Sendable, Equatable {
    /// The tokens are read ahead of their use.
    case nothing
    case summary
    /// The drafter writes on, with the session's noise.
    case choice(CollaborateTurn)
    case row
  }

  /// What the draft model holds from here on is void; it holds everything before.
  package var firstPosition: Int
  /// 1 to ``Limits/ingestTokenCountMax``.
  package var tokens: [TokenID]
  package var want: Want

  package init(firstPosition: Int, tokens: [TokenID], want: Want) {
    self.firstPosition = firstPosition
    self.tokens = tokens
    self.want = want
  }

  /// Positions that are read.
  package var range: Range<Int> { firstPosition..<firstPosition + tokens.count }
}

/// How far a drafter may write on, and where its entropy switch stands.
package struct CollaborateTurn: Sendable, Equatable {
  /// Most tokens: 1 to ``Limits/burstCountMax``.
  package var burstMax: Int
  /// Bits; of the latest tokens, oldest first, at most ``Limits/entropyWindowMax``.
  package var entropies: [Double] = []
  /// Tokens since the latest change of the writer.
  package var stay = 0

  package init(burstMax: Int) { self.burstMax = burstMax }
}

/// Drafter to verifier: a ``CollaborateIngest`` was carried out.
package struct CollaborateAnswer: Sendable, Equatable {
  /// What a distribution says about its certainty.
  package struct Summary: Sendable, Equatable {
    /// Bits.
    package var entropy: Double
    package var maxProbability: Double
    /// Half the distance of the two largest probabilities.
    package var gap: Double

    package init(entropy: Double, maxProbability: Double, gap: Double) {
      self.entropy = entropy
      self.maxProbability = maxProbability
      self.gap = gap
    }
  }

  /// Positions of the ingest.
  package var range: Range<Int>
  /// Of the distribution that follows the ingest, then of those behind each chosen token.
  package var summaries: [Summary] = []
  /// Chosen tokens, at most ``Limits/burstCountMax``: one for each summary, but perhaps for the
  /// last.
  package var tokens: [TokenID] = []
  /// Logits of the first distribution, at most ``Limits/rowCountMax``; empty where they are not
  /// wanted.
  package var row: [Float] = []

  package init(range: Range<Int>) { self.range = range }
}

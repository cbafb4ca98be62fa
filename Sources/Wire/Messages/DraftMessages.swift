package import InferenceTypes

/// Router to drafter: draft for this session at that verifier.
package struct AssignDraft: Sendable, Equatable {
  package var verifierEndpoint: String
  package var verifierName: String
  package var verifierEpoch: InstanceEpoch

  package init(verifierEndpoint: String, verifierName: String, verifierEpoch: InstanceEpoch) {
    self.verifierEndpoint = verifierEndpoint
    self.verifierName = verifierName
    self.verifierEpoch = verifierEpoch
  }
}

/// Router to verifier: this drafter may attach to the session.
package struct DraftAssigned: Sendable, Equatable {
  package var drafterName: String
  package var drafterEpoch: InstanceEpoch

  package init(drafterName: String, drafterEpoch: InstanceEpoch) {
    self.drafterName = drafterName
    self.drafterEpoch = drafterEpoch
  }
}

/// Drafter to verifier: opens or resumes the stream of a session.
package struct AttachDraft: Sendable, Equatable {
  package var drafterName: String
  package var drafterEpoch: InstanceEpoch
  /// Truth tokens known, prompt included.
  package var truthLength: Int
  /// ``TruthHash/value`` of those tokens.
  package var truthHash: UInt64

  package init(
    drafterName: String, drafterEpoch: InstanceEpoch, truthLength: Int, truthHash: UInt64
  ) {
    self.drafterName = drafterName
    self.drafterEpoch = drafterEpoch
    self.truthLength = truthLength
    self.truthHash = truthHash
  }
}

/// Verifier to drafter: answer to ``AttachDraft``.
package enum AttachReply: Sendable, Equatable {
  case accepted(AttachAcceptance)
  case refused(Refusal)
}

/// What a drafter learns about a session before its truth.
package struct AttachAcceptance: Sendable, Equatable {
  package var sampling: SamplingParameters
  /// Tokens of the prompt; the truth starts with them.
  package var promptLength: Int
  /// Where the truth goes on: the length that the drafter knows, or 0 where the hashes differ.
  package var truthLength: Int
  /// Whose text this is; `nil` where it is not told.
  package var tenant: TenantID?
  /// How drafting and verifying share the time.
  package var pipeline = Pipeline.streamed
  /// Time of a step of 1, 2, … columns over that of one column; empty where it is not told.
  package var relativeVerifyCosts: [Float] = []
  /// Time of a step of one column; zero where it is not told.
  package var verifyDuration = Duration.zero
  /// Where it is there, no truth follows but a ``CollaborateIngest``.
  package var collaboration: CollaborationParameters?
  /// How drafts are judged.
  package var rule = VerifyRule.gumbelMatch

  package init(sampling: SamplingParameters, promptLength: Int, truthLength: Int) {
    self.sampling = sampling
    self.promptLength = promptLength
    self.truthLength = truthLength
  }
}

/// Drafter to verifier: at most ``Limits/nodeCountMax`` draft nodes, parents before children.
/// Without nodes it opens a round in lockstep, or ends one in which nothing was drafted.
package struct Nodes: Sendable, Equatable {
  /// Position of the truth token that nodes without a parent continue.
  package var anchor: Int
  /// Ids strictly increase, and no parent is younger than its child. Scores travel as sixteenths:
  /// see ``quantised(score:)``.
  package var nodes: [DraftNode]
  /// Where drafts were drawn: the laws of their places, parents strictly increasing. The message is
  /// a whole tree then, siblings in the order of their draws.
  package var laws: [PlaceLaw] = []

  package init(anchor: Int, nodes: [DraftNode]) {
    self.anchor = anchor
    self.nodes = nodes
  }

  /// The score that arrives where `score` was sent: a multiple of 1/16, at least −255/16.
  package static func quantised(score: Float) -> Float {
    -Float(sixteenths(score: score)) / 16
  }

  /// - Returns: what travels for a score that is at most 0.
  static func sixteenths(score: Float) -> UInt8 {
    UInt8(min(255, (-16 * score).rounded()))
  }
}

/// Verifier to drafter: tokens that can no longer change.
package struct Truth: Sendable, Equatable {
  /// Position of the first token in the whole sequence, prompt included.
  package var from: Int
  /// At most ``Limits/truthTokenCountMax``; empty only where `isFinished`.
  package var tokens: [TokenID]
  /// The draft node that each token matched, or ``NodeID/none``. As many as tokens.
  package var nodeIDs: [NodeID]
  /// Time of the step that decided the tokens, in whole nanoseconds on the wire.
  package var verifyDuration = Duration.zero
  /// Draft nodes that the step evaluated.
  package var usedNodeCount = 0
  /// No truth follows.
  package var isFinished = false
  /// Columns of ``topTokens``.
  package var topWidth = 0
  /// The target's best tokens after each token, best first: `tokens.count` rows of ``topWidth``.
  package var topTokens: [TokenID] = []

  package init(from: Int, tokens: [TokenID], nodeIDs: [NodeID]) {
    self.from = from
    self.tokens = tokens
    self.nodeIDs = nodeIDs
  }

  /// Truth that no draft had foreseen, such as a prompt.
  package init(from: Int, tokens: [TokenID]) {
    self.init(
      from: from, tokens: tokens, nodeIDs: [NodeID](repeating: .none, count: tokens.count))
  }
}

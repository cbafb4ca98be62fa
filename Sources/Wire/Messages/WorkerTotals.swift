/// What a worker did since it began, told with every heartbeat to a router: counters that only grow,
/// and what the worker looks like now.
package enum WorkerTotals: Sendable, Equatable {
  case verifier(VerifierTotals)
  case drafter(DrafterTotals)
}

/// Of a verifier's steps: what was planned, what was expected of it, and what came.
package struct VerifierTotals: Sendable, Equatable {
  /// Forward passes, those over prompts alone included.
  package var stepCount = 0
  /// Sessions that decoded in them, added up.
  package var stepSessionCount = 0
  /// Prompt tokens computed.
  package var promptTokenCount = 0
  /// Draft nodes in the steps.
  package var plannedCount = 0
  /// Tokens that the planner expected of the steps, and those that were decided.
  package var expectedTokenCount: Double = 0
  package var tokenCount = 0
  /// Time of the forward passes as it was expected, and as it was.
  package var expectedPassDuration = Duration.zero
  package var passDuration = Duration.zero
  /// Planning and conclusions.
  package var overheadDuration = Duration.zero
  /// Steps that waited for drafts on their way, and how long they did.
  package var waitCount = 0
  package var waitDuration = Duration.zero
  /// Draft tokens that were verified, and those of them that were right.
  package var drafted = OriginCounts()
  package var accepted = OriginCounts()
  /// Sessions that wait for memory now.
  package var waitingSessionCount = 0
  /// Time of a pass over one token and over eight, without context, as the planner sees it now.
  package var singleDuration = Duration.zero
  package var eightDuration = Duration.zero

  package init() {}
}

/// Of the passes of a drafter's model.
package struct DrafterTotals: Sendable, Equatable {
  package var passCount = 0
  /// Stopped between two layers, because truth made them useless: at most ``passCount``.
  package var abortedPassCount = 0
  /// Sessions whose drafts come too late to help now.
  package var restingSessionCount = 0
  /// Time to draft a token now.
  package var draftDuration = Duration.zero

  package init() {}
}

/// How drafting and verifying share the time of one generation.
package enum Pipeline: String, Sendable, CaseIterable {
  /// Neither side waits: truth streams down, drafts stream up.
  case streamed
  /// Both sides work at the same time, in rounds with a meeting at the end of each.
  ///
  /// - SeeAlso: Liu et al. 2024, arXiv:2408.11850 (PEARL). The step of one token is its pre-verify,
  ///   the step over the pending chain its post-verify; only the verifier decides.
  case lockstep
  /// The sides take turns: draft, send, verify, answer.
  ///
  /// - SeeAlso: Leviathan et al. 2022, arXiv:2211.17192.
  case vanilla
}

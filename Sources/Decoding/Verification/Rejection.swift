import InferenceTypes

extension Verification {
  /// ``VerifyRule/rejection``, and on chains ``VerifyRule/ratio``.
  ///
  /// At one place, P is what the target's law has left and Q the law of the next sibling y. It
  /// survives with probability min(1, P(y)/Q(y)); otherwise P becomes the law of max(0, P - Q), and
  /// Q that of the next draw. What survives and what is drawn from the last P add up to P: by
  /// induction from the last sibling to the first, the token at this place has the target's law,
  /// whatever the number of siblings.
  func rejection(
    _ chooser: inout some VerifyChooser, _ target: (Int) -> TokenDistribution
  ) -> Verdict {
    var node = 0
    while true {
      var left = target(node)
      var candidates = Candidates(
        tree.children[node], in: self, law: tree.laws[node], target: left, &chooser)
      var accepted: Candidate?
      for candidate in candidates.list {
        guard let law = candidates.law(of: candidate) else { continue }
        let probability = acceptance(of: candidate.token, target: left, draft: law)
        if chooser.happens(probability, key(.acceptance, candidate.node)) {
          accepted = candidate
          break
        }
        // Nothing is left only where both laws are the same up to rounding.
        guard let excess = left.excess(over: law).law else { break }
        left = excess
        candidates.refuse(candidate, draws: tree.draws)
      }
      guard let accepted else { return verdict(last: node, drawing: left, &chooser) }
      guard accepted.isDrafted else {
        return Verdict(tree, last: node, token: accepted.token)
      }
      node = accepted.node
    }
  }
}

import InferenceTypes

/// A token to be tested, and the node that it is tested for.
struct Candidate: Sendable {
  let token: TokenID
  let node: Int
  /// Whether chance had no part in the token.
  let isCertain: Bool
  /// Whether the node carries the token, so that its children continue it.
  let isDrafted: Bool
}

/// The drafts for one place, in the form that the tests need: every token has a probability of its
/// own in ``law``.
///
/// A drawn token from the rest of its law has none, so another token takes its place: the target's
/// own choice among those tokens. That choice has a law that the verifier knows, and only whether
/// the drafter's draw fell into the rest, the probability of which it knows too, has decided about
/// it. Where it happens to be the drafted token, its children stay of use.
struct Candidates: Sendable {
  /// What drawn candidates are drawn from. Where the target gives no probability to any token of
  /// the rest, the rest stays: it stands for tokens that are refused in any case.
  private(set) var law: TokenDistribution?
  private(set) var list: [Candidate] = []

  init(
    _ nodes: [Int], in step: borrowing Verification, law: TokenDistribution?,
    target: TokenDistribution, _ chooser: inout some VerifyChooser
  ) {
    self.law = law
    let tree = step.tree
    var substitutes: TokenDistribution?
    if let law, law.rest > 0 {
      substitutes = target.outside(law).law
      if let substitutes { self.law = law.spreadingRest(over: substitutes) }
    }
    var isLawKnown = true
    for node in nodes {
      let token = tree.tokens[node]
      if tree.isCertain[node] {
        list.append(Candidate(token: token, node: node, isCertain: true, isDrafted: true))
      } else if let law, isLawKnown {
        var drawn = token
        if law.probability(of: token) == 0 {
          if let substitutes { drawn = chooser.draw(substitutes, step.key(.rest, node)) }
          // Without replacement the next one's law depends on how probable this one was.
          isLawKnown = tree.draws == .independent
        }
        list.append(
          Candidate(token: drawn, node: node, isCertain: false, isDrafted: drawn == token))
      }
    }
  }

  /// The law that a candidate is drawn from, given that those before it were refused.
  func law(of candidate: Candidate) -> TokenDistribution? {
    candidate.isCertain ? TokenDistribution(certain: candidate.token) : law
  }

  /// Notes that a candidate was refused.
  mutating func refuse(_ candidate: Candidate, draws: DraftTree.SiblingDraws) {
    guard !candidate.isCertain, draws == .withoutReplacement else { return }
    law = law?.removing(candidate.token)
  }
}

/// min(1, scale · p/q) of a token; 0 where the target does not give it.
func acceptance(
  of token: TokenID, target: TokenDistribution, draft: TokenDistribution, scale: Double = 1
) -> Double {
  let wanted = scale * target.probability(of: token)
  let offered = draft.probability(of: token)
  guard wanted > 0, offered > 0 else { return 0 }
  return min(1, wanted / offered)
}

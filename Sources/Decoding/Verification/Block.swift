import InferenceTypes

extension Verification {
  /// One draft of a chain, with the laws of its place.
  private struct Link {
    let candidate: Candidate
    let draft: TokenDistribution
    let target: TokenDistribution
    /// P of the paper: how much of the target's law the drafts up to this one carry.
    let carried: Double
  }

  /// ``VerifyRule/block``: the longest prefix of the chain whose own test succeeds; a failure
  /// further up does not end it.
  ///
  /// With P(0) = 1 and P(i) = min(1, P(i-1) p(x)/q(x)) for the i-th token x, the test of the prefix
  /// of length i succeeds with s/(s + 1 - P(i)), where s is the mass of max(0, P(i) p - q) at the
  /// next place; that of the whole chain with P.
  func block(
    _ chooser: inout some VerifyChooser, _ target: (Int) -> TokenDistribution
  ) -> Verdict {
    var chain: [Link] = []
    var node = 0
    var carried = 1.0
    var end: TokenDistribution? = target(0)
    while let law = end {
      let candidates = Candidates(
        tree.children[node], in: self, law: tree.laws[node], target: law, &chooser)
      guard let candidate = candidates.list.first, let draft = candidates.law(of: candidate) else {
        break
      }
      carried = acceptance(
        of: candidate.token, target: law, draft: draft, scale: carried)
      chain.append(
        Link(candidate: candidate, draft: draft, target: law, carried: carried))
      node = candidate.node
      end = candidate.isDrafted ? target(node) : nil
    }

    var length = 0
    for index in chain.indices {
      var probability = chain[index].carried
      if index + 1 < chain.count {
        let next = chain[index + 1]
        let mass = next.target.excess(scale: probability, over: next.draft).mass
        let total = mass + (1 - probability)
        probability = total > 0 ? mass / total : 1
      }
      if chooser.happens(probability, key(.acceptance, chain[index].candidate.node)) {
        length = index + 1
      }
    }

    let last = length > 0 ? chain[length - 1].candidate : nil
    if let last, !last.isDrafted {
      return Verdict(tree, last: tree.parents[last.node], token: last.token)
    }
    // Only a chain that ends in a drafted token, or in none, has a law after it.
    if length == chain.count, let end { return verdict(last: node, drawing: end, &chooser) }
    let next = chain[length]
    let left = next.target.excess(
      scale: length > 0 ? chain[length - 1].carried : 1, over: next.draft)
    return verdict(last: last?.node ?? 0, drawing: left.law ?? next.target, &chooser)
  }
}

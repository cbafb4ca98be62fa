import InferenceTypes

/// How ``VerifyRule/kSequential`` judges some number of independent draws from one law.
///
/// With c the number of candidates, p the target's law, q theirs and a divisor r: a candidate v is
/// taken with probability min(1, p(v)/(r q(v))), so one of them is with
///
///     b(r) = sum over v of min(p(v)/r, q(v))
///
/// and any of them with 1 - (1 - b)^c. The smallest r for which that does not give a token too
/// often is the root of 1 - (1 - b(r))^c = r b(r), between 1 and c.
package struct SequentialSelection: Sendable {
  /// r; 1 for a single candidate.
  package let divisor: Double
  /// Probability that a candidate is taken.
  package let acceptance: Double
  /// The law of the token where none is taken; `nil` where that happens by rounding only.
  let residual: TokenDistribution?

  /// - Parameters:
  ///   - target: the target's law, without rest.
  ///   - draft: the law of every candidate; a rest of it counts as tokens that the target never
  ///     gives.
  ///   - candidateCount: at least 1.
  /// - Complexity: O(entries of both), 60 times those that they share.
  package init(target: TokenDistribution, draft: TokenDistribution, candidateCount: Int) {
    precondition(candidateCount >= 1, "\(candidateCount) candidates")
    var shared: [(wanted: Double, offered: Double)] = []
    for index in draft.tokens.indices {
      let wanted = target.probability(of: draft.tokens[index])
      if wanted > 0 { shared.append((wanted, draft.probabilities[index])) }
    }
    func single(_ divisor: Double) -> Double {
      shared.reduce(0) { $0 + min($1.wanted / divisor, $1.offered) }
    }
    func any(_ single: Double) -> Double {
      var none = 1.0
      for _ in 0..<candidateCount { none *= 1 - single }
      return 1 - none
    }
    var low = 1.0
    var high = Double(candidateCount)
    if candidateCount > 1 {
      for _ in 0..<60 {
        let middle = (low + high) / 2
        let value = single(middle)
        if any(value) > middle * value { low = middle } else { high = middle }
      }
    }
    divisor = high
    let accepted = min(1, single(high))
    acceptance = any(accepted)
    // What the candidates give of each token is taken off the target's law.
    let share = accepted > 0 ? acceptance / accepted : 0
    var weights = target.probabilities
    for index in target.tokens.indices {
      let offered = draft.probability(of: target.tokens[index])
      weights[index] -= min(weights[index] / divisor, offered) * share
      weights[index] = max(weights[index], 0)
    }
    residual = TokenDistribution(tokens: target.tokens, weights: weights)
  }
}

extension Verification {
  /// ``VerifyRule/kSequential``.
  ///
  /// Equal siblings stand for the same text: after one of them is taken, the children of all of
  /// them are the next candidates, which are again independent draws.
  func sequentialSelection(
    _ chooser: inout some VerifyChooser, _ target: (Int) -> TokenDistribution
  ) -> Verdict {
    var alive = [0]
    while true {
      let node = alive[0]
      let law = target(node)
      let nodes = alive.flatMap { tree.children[$0] }
      guard !nodes.isEmpty else { return verdict(last: node, drawing: law, &chooser) }
      let stated = tree.laws[alive.first { !tree.children[$0].isEmpty } ?? node]
      let candidates = Candidates(nodes, in: self, law: stated, target: law, &chooser)
      guard let first = candidates.list.first, let draft = candidates.law(of: first) else {
        return verdict(last: node, drawing: law, &chooser)
      }
      let selection = SequentialSelection(
        target: law, draft: draft, candidateCount: candidates.list.count)
      var accepted: Candidate?
      for candidate in candidates.list {
        let probability = acceptance(
          of: candidate.token, target: law, draft: draft, scale: 1 / selection.divisor)
        if chooser.happens(probability, key(.acceptance, candidate.node)) {
          accepted = candidate
          break
        }
      }
      guard let accepted else {
        // Equal nodes without children may come before those with some.
        let parent = tree.parents[nodes[0]]
        return verdict(last: parent, drawing: selection.residual ?? law, &chooser)
      }
      let next = candidates.list.filter { $0.isDrafted && $0.token == accepted.token }
      guard !next.isEmpty else {
        return Verdict(tree, last: tree.parents[accepted.node], token: accepted.token)
      }
      alive = next.map(\.node)
    }
  }
}

import InferenceTypes

extension Verification {
  /// The target's laws and choices that a lossy rule has asked for.
  private struct Choices<Chooser: VerifyChooser> {
    let step: Verification
    let isGreedy: Bool
    let target: (Int) -> TokenDistribution
    var chooser: Chooser
    private var laws: [TokenDistribution?]
    private var choices: [TokenID?]

    init(
      _ step: Verification, isGreedy: Bool, _ chooser: Chooser,
      _ target: @escaping (Int) -> TokenDistribution
    ) {
      self.step = step
      self.isGreedy = isGreedy
      self.target = target
      self.chooser = chooser
      laws = [TokenDistribution?](repeating: nil, count: step.tree.count)
      choices = [TokenID?](repeating: nil, count: step.tree.count)
    }

    mutating func law(after node: Int) -> TokenDistribution {
      if let law = laws[node] { return law }
      let law = target(node)
      laws[node] = law
      return law
    }

    /// What decoding without drafts would choose after a node.
    mutating func choice(after node: Int) -> TokenID {
      if let choice = choices[node] { return choice }
      let law = law(after: node)
      let position = step.rootPosition + step.tree.depths[node] + 1
      let mode = isGreedy ? law.mode : nil
      let choice = mode ?? chooser.draw(law, RandomKey(.sharedNoise, position: position))
      choices[node] = choice
      return choice
    }

    /// The child that carries the target's choice.
    mutating func chosenChild(of node: Int) -> Int? {
      let token = choice(after: node)
      return step.tree.children[node].first { step.tree.tokens[$0] == token }
    }

    /// Whether the drafts below a node hold the target's next `length` choices.
    mutating func confirms(_ node: Int, length: Int) -> Bool {
      var node = node
      for _ in 0..<length {
        guard let child = chosenChild(of: node) else { return false }
        node = child
      }
      return true
    }
  }

  /// Judges the drafts by a rule that changes the law of the text.
  ///
  /// - Parameters:
  ///   - rule: with its settings.
  ///   - chooser: makes the decisions.
  ///   - target: see ``verdict(by:chooser:target:)-(LosslessRule,_,_)``.
  /// - Returns: at least one token, and how many drafts owe their acceptance to the rule.
  package func verdict(
    by rule: LossyRule, chooser: inout some VerifyChooser,
    target: (_ node: Int) -> TokenDistribution
  ) -> LossyVerdict {
    let isGreedy =
      switch rule {
      case .typical: false
      case .relaxed(let settings): settings.isGreedy
      case .deferred(let settings): settings.isGreedy
      }
    return withoutActuallyEscaping(target) { target in
      var choices = Choices(self, isGreedy: isGreedy, chooser, target)
      defer { chooser = choices.chooser }
      return switch rule {
      case .typical(let settings): typical(settings, &choices)
      case .relaxed(let settings):
        walk(&choices) { child, law, _ in settings.admits(tree.tokens[child], law) }
      case .deferred(let settings):
        walk(&choices) { child, law, choices in
          let token = tree.tokens[child]
          return law.entropy >= settings.entropyMin && law.probability(of: token) > 0
            && !settings.strictTokens.contains(token)
            && choices.confirms(child, length: settings.windowLength)
        }
      }
    }
  }

  /// Follows the target's choices, and where one was not drafted the most probable draft that
  /// `admits` lets pass.
  private func walk<Chooser>(
    _ choices: inout Choices<Chooser>,
    admits: (_ child: Int, TokenDistribution, inout Choices<Chooser>) -> Bool
  ) -> LossyVerdict {
    var node = 0
    var relaxedCount = 0
    while true {
      if let child = choices.chosenChild(of: node) {
        node = child
        continue
      }
      let law = choices.law(after: node)
      var best: (child: Int, probability: Double)?
      for child in tree.children[node] {
        let probability = law.probability(of: tree.tokens[child])
        guard probability > best?.probability ?? 0, admits(child, law, &choices) else { continue }
        best = (child, probability)
      }
      guard let best else {
        return LossyVerdict(
          verdict: Verdict(tree, last: node, token: choices.choice(after: node)),
          relaxedCount: relaxedCount)
      }
      relaxedCount += 1
      node = best.child
    }
  }

  /// ``VerifyRule/typical``: the deepest path of drafts that all exceed their thresholds, of
  /// equally deep ones the most probable; then a draw from the tokens above the threshold.
  private func typical(
    _ settings: TypicalAcceptance, _ choices: inout Choices<some VerifyChooser>
  ) -> LossyVerdict {
    var scores = [Double?](repeating: nil, count: tree.count)
    var relaxedCounts = [Int](repeating: 0, count: tree.count)
    scores[0] = 0
    var best = (node: 0, score: 0.0)
    for node in tree.tokens.indices.dropFirst() {
      let parent = tree.parents[node]
      guard let score = scores[parent] else { continue }
      let law = choices.law(after: parent)
      let probability = law.probability(of: tree.tokens[node])
      guard probability > settings.threshold(law) else { continue }
      let sum = score + ExactMath.log(probability)
      scores[node] = sum
      relaxedCounts[node] = relaxedCounts[parent] + (law.mode == tree.tokens[node] ? 0 : 1)
      let depth = tree.depths[node]
      let bestDepth = tree.depths[best.node]
      if depth > bestDepth || (depth == bestDepth && sum > best.score) { best = (node, sum) }
    }
    let law = choices.law(after: best.node)
    let threshold = settings.threshold(law)
    let weights = law.probabilities.map { $0 > threshold ? $0 : 0 }
    let kept = TokenDistribution(tokens: law.tokens, weights: weights) ?? law
    return LossyVerdict(
      verdict: verdict(last: best.node, drawing: kept, &choices.chooser),
      relaxedCount: relaxedCounts[best.node])
  }
}

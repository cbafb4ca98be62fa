import Decoding
import InferenceTypes
import Testing

/// What makes a rule wrong, shown by its exact law: each mistake was made somewhere in public. The
/// same rules without the mistake, written a second time, have the law of ours.
@Suite struct BrokenRuleTests {
  enum Mistake: CaseIterable {
    case none
    case ratioUpsideDown
    case correctionFromTheTarget
    case correctionFromTheAbsoluteDifference
    case draftLawNotReduced
    case draftLawNotRenormalised
    case targetLawNotReduced
  }

  /// Recursive rejection over plain arrays, with a mistake.
  private func rejection(
    _ tree: DraftTree, _ pair: ToyPair, _ mistake: Mistake, _ chooser: inout EnumeratingChooser
  ) -> [TokenID] {
    var text: [TokenID] = []
    var node = 0
    descent: while true {
      let target = plain(pair.target(text), pair)
      var left = target
      var draft = plain(tree.laws[node] ?? pair.draft(text), pair)
      for child in tree.children[node] {
        let token = Int(tree.tokens[child].rawValue)
        guard draft[token] > 0 else { break }
        let ratio =
          mistake == .ratioUpsideDown ? draft[token] / left[token] : left[token] / draft[token]
        if chooser.happens(
          ratio.isNaN ? 0 : min(1, ratio), RandomKey(.acceptance, position: 0, index: child))
        {
          text.append(tree.tokens[child])
          node = child
          continue descent
        }
        switch mistake {
        case .correctionFromTheTarget: break
        case .correctionFromTheAbsoluteDifference:
          left = left.indices.map { abs(left[$0] - draft[$0]) }
        case .targetLawNotReduced: left[token] = 0
        default: left = left.indices.map { max(0, left[$0] - draft[$0]) }
        }
        guard let reduced = normalised(left) else {
          left = target
          break
        }
        left = reduced
        if mistake == .draftLawNotReduced || tree.draws == .independent { continue }
        draft[token] = 0
        if mistake == .draftLawNotRenormalised { continue }
        guard let reduced = normalised(draft) else { break }
        draft = reduced
      }
      text.append(
        chooser.draw(distribution(left), RandomKey(.residual, position: 0, index: node)))
      return text
    }
  }

  private func plain(_ law: TokenDistribution, _ pair: ToyPair) -> [Double] {
    (0..<pair.vocabularyCount).map { law.probability(of: TokenID(UInt32($0))) }
  }

  private func normalised(_ weights: [Double]) -> [Double]? {
    let sum = weights.reduce(0, +)
    return sum > 1e-12 ? weights.map { $0 / sum } : nil
  }

  private func rejectionLaw(
    _ plan: DraftPlan, _ pair: ToyPair, _ mistake: Mistake
  ) throws -> [[TokenID]: Double] {
    try exactLaw { rejection(try plan.draft(pair, &$0), pair, mistake, &$0) }
  }

  @Test(arguments: Mistake.allCases)
  func mistakesOfRejectionShow(mistake: Mistake) throws {
    var largest = 0.0
    for seed in 0..<12 as Range<UInt64> {
      let pair = ToyPair(kind: .unrelated, seed: seed)
      for shape in [[0, 0], [0, 0, 1], [0, 0, 0]] {
        let plan = DraftPlan(parents: shape)
        let law = try rejectionLaw(plan, pair, mistake)
        largest = max(largest, pair.totalVariation(of: law, length: 3))
        if mistake == .none {
          let ours = try plan.law(by: .rejection, pair)
          #expect(distance(law, ours).maximum <= 1e-12, "seed \(seed), \(shape)")
        }
      }
    }
    #expect(mistake == .none ? largest <= 1e-12 : largest > 0.01, "\(mistake): \(largest)")
  }

  /// Equal draws may be merged where one sibling after the other is tested: what stays was drawn
  /// without replacement. Where the number of candidates decides, each of them counts.
  @Test func mergingEqualDrawsShowsWhereTheirNumberCounts() throws {
    let pair = ToyPair(kind: .unrelated, seed: 1)
    func law(_ rule: LosslessRule, merges: Bool) throws -> [[TokenID]: Double] {
      try exactLaw { chooser in
        let drafted = try DraftPlan(parents: [0, 0], draws: .independent).draft(pair, &chooser)
        var tree = DraftTree(
          root: 0, draws: rule == .kSequential ? .independent : .withoutReplacement)
        try tree.setLaw(pair.draft([]), ofChildrenOf: 0)
        for node in 1...2 where !merges || node == 1 || drafted.tokens[1] != drafted.tokens[2] {
          try tree.add(drafted.tokens[node], below: 0)
        }
        return try Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser) {
          pair.target(after: $0, of: tree)
        }.tokens
      }
    }
    for rule in [LosslessRule.rejection, .traversal] {
      #expect(pair.error(of: try law(rule, merges: true), length: 1) <= 1e-12)
    }
    #expect(pair.error(of: try law(.kSequential, merges: false), length: 1) <= 1e-12)
    #expect(pair.totalVariation(of: try law(.kSequential, merges: true), length: 1) > 0.01)
  }

  /// Siblings that differ by their draws, said to be independent.
  @Test func drawsWithoutReplacementAreNotIndependent() throws {
    let pair = ToyPair(kind: .unrelated, seed: 1)
    for rule in [LosslessRule.rejection, .traversal, .kSequential] {
      let law = try exactLaw { chooser in
        let drafted = try DraftPlan(parents: [0, 0]).draft(pair, &chooser)
        var tree = DraftTree(root: 0, draws: .independent)
        try tree.setLaw(pair.draft([]), ofChildrenOf: 0)
        for node in 1...2 { try tree.add(drafted.tokens[node], below: 0) }
        return try Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser) {
          pair.target(after: $0, of: tree)
        }.tokens
      }
      #expect(pair.totalVariation(of: law, length: 1) > 0.01, "\(rule)")
    }
  }

  /// A drafter that sends only what it thinks likely, under rules that rely on q; equality does
  /// not mind.
  @Test func leavingUnlikelyDrawsOutShows() throws {
    let pair = ToyPair(constant: ([0.2, 0.3, 0.5], [0.7, 0.2, 0.1]))
    func law(_ rule: LosslessRule) throws -> [[TokenID]: Double] {
      try exactLaw { chooser in
        let drafted = try DraftPlan(parents: [0]).draft(pair, &chooser)
        var tree = DraftTree(root: 0)
        try tree.setLaw(pair.draft([]), ofChildrenOf: 0)
        if pair.draft([]).probability(of: drafted.tokens[1]) >= 0.25 {
          try tree.add(drafted.tokens[1], below: 0)
        }
        return try Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser) {
          pair.target(after: $0, of: tree)
        }.tokens
      }
    }
    for rule in [LosslessRule.ratio, .rejection, .block, .traversal, .kSequential] {
      #expect(pair.totalVariation(of: try law(rule), length: 1) > 0.05, "\(rule)")
    }
    #expect(pair.totalVariation(of: try law(.match), length: 1) <= 1e-12)
  }

  /// The most probable token of a model is certain: it was not drawn with the model's probability.
  @Test func theMostProbableTokenIsNoDraw() throws {
    let pair = ToyPair(constant: ([0.2, 0.3, 0.5], [0.7, 0.2, 0.1]))
    func law(_ rule: LosslessRule, isCertain: Bool) throws -> [[TokenID]: Double] {
      try exactLaw { chooser in
        var tree = DraftTree(root: 0)
        try tree.setLaw(pair.draft([]), ofChildrenOf: 0)
        try tree.add(0, below: 0, isCertain: isCertain)
        return try Verification(tree, rootPosition: 0).verdict(by: rule, chooser: &chooser) {
          pair.target(after: $0, of: tree)
        }.tokens
      }
    }
    for rule in [LosslessRule.ratio, .rejection, .block, .traversal, .kSequential] {
      let wrong = try law(rule, isCertain: false)
      #expect(pair.totalVariation(of: wrong, length: 1) > 0.05, "\(rule)")
      let right = try law(rule, isCertain: true)
      #expect(pair.totalVariation(of: right, length: 1) <= 1e-12, "\(rule)")
    }
    #expect(pair.totalVariation(of: try law(.match, isCertain: false), length: 1) <= 1e-12)
  }

  /// The probability of the drawn token alone, sent beside the largest ones, tells too much: where
  /// the rest lies then depends on the draw.
  @Test func namingOnlyTheDrawnTokenOfTheRestShows() throws {
    let pair = ToyPair(constant: ([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]))
    func law(namesDraw: Bool) throws -> [[TokenID]: Double] {
      try exactLaw { chooser in
        let full = pair.draft([])
        let token = chooser.draw(full, RandomKey(.draft, position: 0))
        var tokens: [TokenID] = [0]
        if namesDraw, token != 0 { tokens.append(token) }
        let weights = tokens.map { full.probability(of: $0) }
        let sent = try TokenDistribution(
          tokens: tokens, weights: weights, rest: 1 - weights.reduce(0, +), vocabularyCount: 4)
        var tree = DraftTree(root: 0)
        try tree.setLaw(sent, ofChildrenOf: 0)
        try tree.add(token, below: 0)
        return try Verification(tree, rootPosition: 0).verdict(by: .ratio, chooser: &chooser) {
          pair.target(after: $0, of: tree)
        }.tokens
      }
    }
    #expect(pair.error(of: try law(namesDraw: false), length: 1) <= 1e-12)
    #expect(pair.totalVariation(of: try law(namesDraw: true), length: 1) > 0.01)
  }

  enum BlockMistake: CaseIterable {
    case none
    case stopsAtTheFirstFailure
    case testsTokens
    case correctionForgetsTheShare
  }

  /// Block verification over plain arrays, with a mistake.
  private func block(
    _ tree: DraftTree, _ pair: ToyPair, _ mistake: BlockMistake,
    _ chooser: inout EnumeratingChooser
  ) -> [TokenID] {
    let tokens = Array(tree.tokens.dropFirst())
    let targets = (0...tokens.count).map { plain(pair.target(Array(tokens.prefix($0))), pair) }
    let drafts = (0...tokens.count).map { plain(pair.draft(Array(tokens.prefix($0))), pair) }
    var shares = [1.0]
    for (index, token) in tokens.enumerated() {
      let v = Int(token.rawValue)
      shares.append(min(1, shares[index] * targets[index][v] / drafts[index][v]))
    }
    func excess(_ length: Int) -> [Double] {
      let share = mistake == .correctionForgetsTheShare ? 1 : shares[length]
      return targets[length].indices.map {
        max(0, share * targets[length][$0] - drafts[length][$0])
      }
    }
    var length = 0
    for index in 1...tokens.count {
      var probability = shares[index]
      if index < tokens.count, mistake != .testsTokens {
        let mass = targets[index].indices.reduce(0) {
          $0 + max(0, shares[index] * targets[index][$1] - drafts[index][$1])
        }
        let total = mass + (1 - shares[index])
        probability = total > 0 ? mass / total : 1
      }
      if chooser.happens(probability, RandomKey(.acceptance, position: 0, index: index)) {
        length = index
      } else if mistake == .stopsAtTheFirstFailure {
        break
      }
    }
    let law = length == tokens.count ? targets[length] : normalised(excess(length))
    return tokens.prefix(length) + [
      chooser.draw(
        distribution(law ?? targets[length]), RandomKey(.residual, position: 0, index: length))
    ]
  }

  @Test(arguments: BlockMistake.allCases)
  func mistakesOfBlockVerificationShow(mistake: BlockMistake) throws {
    var largest = 0.0
    for seed in 0..<12 as Range<UInt64> {
      let pair = ToyPair(kind: .unrelated, seed: seed)
      let plan = DraftPlan.chain(3)
      let law = try exactLaw { block(try plan.draft(pair, &$0), pair, mistake, &$0) }
      largest = max(largest, pair.totalVariation(of: law, length: 4))
      if mistake == .none {
        #expect(distance(law, try plan.law(by: .block, pair)).maximum <= 1e-12, "seed \(seed)")
      }
    }
    #expect(mistake == .none ? largest <= 1e-12 : largest > 0.01, "\(mistake): \(largest)")
  }
}

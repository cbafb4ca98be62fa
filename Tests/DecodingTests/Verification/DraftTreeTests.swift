import Decoding
import InferenceTypes
import Testing

@Suite struct TokenDistributionTests {
  @Test func weightsAreCheckedAndNormalised() throws {
    let law = try TokenDistribution(
      tokens: [1, 4, 7], weights: [1, 0, 2], rest: 1, vocabularyCount: 8)
    #expect(law.tokens == [1, 7])
    #expect(law.probabilities == [0.25, 0.5])
    #expect(law.rest == 0.25)
    #expect(law.probability(of: 4) == 0 && law.probability(of: 7) == 0.5)

    func make(_ tokens: [TokenID], _ weights: [Double], rest: Double = 0) throws {
      _ = try TokenDistribution(
        tokens: tokens, weights: weights, rest: rest, vocabularyCount: 8)
    }
    #expect(throws: VerificationError.weightCount(tokens: 2, weights: 1)) { try make([0, 1], [1]) }
    #expect(throws: VerificationError.unsortedToken(1)) { try make([1, 1], [1, 1]) }
    #expect(throws: VerificationError.unsortedToken(2)) { try make([3, 2], [1, 1]) }
    #expect(throws: VerificationError.unknownToken(8, vocabularyCount: 8)) { try make([8], [1]) }
    #expect(throws: VerificationError.weightOutOfRange(3, -1)) { try make([2, 3], [1, -1]) }
    #expect(throws: VerificationError.weightOutOfRange(3, .infinity)) {
      try make([3], [.infinity])
    }
    #expect(throws: VerificationError.weightOutOfRange(nil, -0.5)) {
      try make([3], [1], rest: -0.5)
    }
    #expect(throws: VerificationError.massOutOfRange(0)) { try make([], []) }
    #expect(throws: VerificationError.massOutOfRange(0)) { try make([1, 2], [0, 0]) }
    #expect(throws: VerificationError.massOutOfRange(.infinity)) {
      try make([1, 2], [.greatestFiniteMagnitude, .greatestFiniteMagnitude])
    }
    #expect(throws: VerificationError.self) { try make([1], [.nan]) }
    #expect(throws: VerificationError.self) { try make([1], [1], rest: .nan) }
  }

  @Test func truncationKeepsTheLargest() {
    let law = distribution([0.1, 0.3, 0.2, 0.1, 0.3])
    let kept = law.truncated(to: 3, keepsRest: true)
    #expect(kept.tokens == [1, 2, 4])
    #expect(abs(kept.rest - 0.2) < 1e-15)
    #expect(kept.probability(of: 1) == 0.3)
    let closed = law.truncated(to: 3, keepsRest: false)
    #expect(closed.tokens == [1, 2, 4] && closed.rest == 0)
    #expect(abs(closed.probability(of: 2) - 0.25) < 1e-15)
    #expect(law.truncated(to: 1, keepsRest: false).tokens == [1])
    #expect(law.truncated(to: 5, keepsRest: true) == law)
    #expect(law.mode == 1)
  }

  @Test func removalRenormalises() {
    let law = distribution([0.5, 0.25, 0.25])
    #expect(law.removing(0)?.probabilities == [0.5, 0.5])
    #expect(law.removing(7) == law)
    #expect(TokenDistribution(certain: 3).removing(3) == nil)
    #expect(law.truncated(to: 1, keepsRest: true).removing(0)?.rest == 1)
  }

  @Test func drawsFollowTheRunningSum() {
    let law = distribution([0.5, 0, 0.25, 0.25])
    #expect(law.token(at: 0) == 0)
    #expect(law.token(at: 0.499) == 0)
    #expect(law.token(at: 0.5) == 2)
    #expect(law.token(at: 0.75) == 3)
    #expect(law.token(at: 1 - 0x1p-53) == 3)
  }

  @Test func entropyIsInNats() {
    #expect(TokenDistribution(certain: 1).entropy == 0)
    #expect(abs(distribution([1, 1, 1, 1]).entropy - 1.386_294_361) < 1e-9)
  }
}

@Suite struct DraftTreeTests {
  private func tree(
    _ nodes: [(token: TokenID, parent: Int)], draws: DraftTree.SiblingDraws = .withoutReplacement
  ) throws -> DraftTree {
    var tree = DraftTree(root: 9, draws: draws)
    for node in nodes { try tree.add(node.token, below: node.parent) }
    return tree
  }

  @Test func badNodesAreRefused() throws {
    var tree = try tree([(1, 0), (2, 1)])
    #expect(throws: VerificationError.unknownParent(3, nodeCount: 3)) { try tree.add(1, below: 3) }
    #expect(throws: VerificationError.unknownParent(-1, nodeCount: 3)) {
      try tree.add(1, below: -1)
    }
    #expect(throws: VerificationError.unknownParent(3, nodeCount: 3)) {
      try tree.setLaw(TokenDistribution(certain: 1), ofChildrenOf: 3)
    }
    #expect(throws: VerificationError.duplicateSibling(1, parent: 0)) { try tree.add(1, below: 0) }
    // A search may find what was drawn, but not find it twice.
    try tree.add(1, below: 0, isCertain: true)
    #expect(throws: VerificationError.duplicateSibling(1, parent: 0)) {
      try tree.add(1, below: 0, isCertain: true)
    }
    #expect(tree.count == 4)
    var independent = try self.tree([(1, 0), (1, 0)], draws: .independent)
    while independent.count < DraftTree.nodeMax { try independent.add(1, below: 0) }
    #expect(throws: VerificationError.treeTooLarge(nodeMax: 4096)) {
      try independent.add(1, below: 0)
    }
  }

  @Test func pathsAndRepresentatives() throws {
    let tree = try tree(
      [(1, 0), (1, 0), (2, 1), (2, 2), (3, 2), (2, 0)], draws: .independent)
    #expect(tree.path(to: 4) == [0, 2, 4])
    #expect(tree.path(to: 0) == [0])
    #expect(tree.depths == [0, 1, 1, 2, 2, 2, 1])
    #expect(tree.representatives == [0, 1, 1, 3, 3, 5, 6])
  }

  @Test func rulesRefuseWhatTheyCannotJudge() throws {
    let law = distribution([0.5, 0.5])
    var fork = try tree([(0, 0), (1, 0)])
    for rule in [VerifyRule.rejection, .traversal] {
      #expect(throws: VerificationError.lawMissing(rule, parent: 0)) { try fork.check(for: rule) }
    }
    for rule in [VerifyRule.match, .gumbelMatch, .typical, .relaxed, .deferred] {
      try fork.check(for: rule)
    }
    try fork.setLaw(law, ofChildrenOf: 0)
    try fork.check(for: .rejection)
    for rule in [VerifyRule.ratio, .block] {
      #expect(throws: VerificationError.notAChain(rule, parent: 0)) { try fork.check(for: rule) }
    }
    #expect(throws: VerificationError.dependentSiblings(.kSequential)) {
      try fork.check(for: .kSequential)
    }
    try fork.setLaw(TokenDistribution(certain: 0), ofChildrenOf: 0)
    #expect(throws: VerificationError.tokenOutsideLaw(1, node: 2)) {
      try fork.check(for: .rejection)
    }
    // Verification itself asks.
    var chooser = KeyedChooser(seed: 0)
    #expect(throws: VerificationError.notAChain(.ratio, parent: 0)) {
      try Verification(fork, rootPosition: 0).verdict(by: .ratio, chooser: &chooser) { _ in law }
    }
    // Equal nodes must have equal laws.
    var twins = try tree([(0, 0), (0, 0), (0, 1), (1, 2)], draws: .independent)
    for node in 0...2 { try twins.setLaw(law, ofChildrenOf: node) }
    try twins.check(for: .kSequential)
    try twins.setLaw(distribution([0.25, 0.75]), ofChildrenOf: 2)
    #expect(throws: VerificationError.lawsDiffer(1, 2)) { try twins.check(for: .kSequential) }
    // A found token among draws is not independent of them.
    var mixed = DraftTree(root: 0, draws: .independent)
    try mixed.setLaw(law, ofChildrenOf: 0)
    try mixed.add(0, below: 0)
    try mixed.add(1, below: 0, isCertain: true)
    #expect(throws: VerificationError.dependentSiblings(.kSequential)) {
      try mixed.check(for: .kSequential)
    }
  }

  @Test func errorsSayWhatWouldBeRight() {
    #expect(
      VerificationError.notAChain(.block, parent: 3).description
        == "rule block judges chains, but node 3 has several children")
    #expect(
      VerificationError.weightOutOfRange(nil, -1).description
        == "weight -1.0 of the rest must be finite and at least 0")
  }

  @Test func rulesHaveNamesAndDemands() {
    let names = VerifyRule.allCases.map(\.rawValue)
    #expect(
      names == [
        "gumbel-match", "match", "ratio", "rejection", "k-seq", "block", "traversal", "typical",
        "relaxed", "deferred",
      ])
    let lossy = VerifyRule.allCases.filter { !$0.isLossless }
    #expect(lossy == [.typical, .relaxed, .deferred])
    #expect(LosslessRule.allCases.map(\.rule).map(\.lossless) == LosslessRule.allCases)
    #expect(!VerifyRule.gumbelMatch.demand.needsLaw && VerifyRule.block.demand.needsLaw)
  }
}

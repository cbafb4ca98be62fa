package import InferenceTypes

/// Every way in which a draft can be unfit for verification: the drafter's fault, or a rule that it
/// was not made for.
package enum VerificationError: Error, Equatable, Sendable {
  /// A law names this many tokens but gives another number of weights.
  case weightCount(tokens: Int, weights: Int)
  /// The tokens of a law are not strictly increasing; this one is out of order.
  case unsortedToken(TokenID)
  /// A token is not in the vocabulary.
  case unknownToken(TokenID, vocabularyCount: Int)
  /// A weight of a law is negative, infinite or not a number; no token stands for the rest.
  case weightOutOfRange(TokenID?, Double)
  /// The weights of a law add up to nothing, or to more than a number can hold.
  case massOutOfRange(Double)
  /// The parent must come before its child.
  case unknownParent(Int, nodeCount: Int)
  case treeTooLarge(nodeMax: Int)
  /// Siblings that were drawn without replacement, or by no draw at all, differ.
  case duplicateSibling(TokenID, parent: Int)
  /// The token was not drawn from the law that came with it, which gives it no probability.
  case tokenOutsideLaw(TokenID, node: Int)
  /// The rule needs the law that the children of this node were drawn from.
  case lawMissing(VerifyRule, parent: Int)
  /// The rule judges chains, and this node has several children.
  case notAChain(VerifyRule, parent: Int)
  /// The rule needs siblings that were drawn independently.
  case dependentSiblings(VerifyRule)
  /// Two nodes with the same path have different laws.
  case lawsDiffer(Int, Int)
  /// A setting of a lossy rule lies outside of what is allowed; `allowed` reads like "0...1".
  case settingOutOfRange(name: String, value: Double, allowed: String)
}

extension VerificationError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .weightCount(let tokens, let weights):
      "law has \(weights) weights for \(tokens) tokens; it needs one for each"
    case .unsortedToken(let token):
      "token \(token) of a law is out of order; tokens must be strictly increasing"
    case .unknownToken(let token, let count):
      "token \(token) is not in the vocabulary of \(count) tokens"
    case .weightOutOfRange(let token, let weight):
      "weight \(weight) of \(token.map { "token \($0)" } ?? "the rest") must be finite and at least 0"
    case .massOutOfRange(let mass):
      "weights of a law add up to \(mass); the sum must be positive and finite"
    case .unknownParent(let parent, let count):
      "parent \(parent) is not one of the \(count) nodes before it"
    case .treeTooLarge(let nodeMax):
      "tree has more than \(nodeMax) nodes"
    case .duplicateSibling(let token, let parent):
      "token \(token) occurs twice below node \(parent); only independent draws may repeat"
    case .tokenOutsideLaw(let token, let node):
      "token \(token) of node \(node) has no probability in the law that it was drawn from"
    case .lawMissing(let rule, let parent):
      "rule \(rule.rawValue) needs the law that the children of node \(parent) were drawn from"
    case .notAChain(let rule, let parent):
      "rule \(rule.rawValue) judges chains, but node \(parent) has several children"
    case .dependentSiblings(let rule):
      "rule \(rule.rawValue) needs siblings that were drawn independently of each other"
    case .lawsDiffer(let first, let second):
      "nodes \(first) and \(second) stand for the same text but have different laws"
    case .settingOutOfRange(let name, let value, let allowed):
      "\(name) is \(value); allowed is \(allowed)"
    }
  }
}

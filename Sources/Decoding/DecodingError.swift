package import InferenceTypes

/// Every way in which a caller's request can be wrong.
package enum DecodingError: Error, Equatable, Sendable {
  /// A number lies outside of what is allowed; `allowed` reads like "0...1".
  case parameterOutOfRange(name: String, value: Double, allowed: String)
  /// A token is not in the vocabulary.
  case unknownToken(TokenID, vocabularyCount: Int)
  /// The logit bias is not sorted by token, or names this token twice.
  case unsortedLogitBias(TokenID)
  case emptyPrompt
  /// No room is left for one more token.
  case promptTooLong(tokenCount: Int, contextLength: Int)
  /// Two parameters that exclude each other are both set.
  case excludedParameters(String, String)
  /// This way of choosing tokens does not go together with how they are decoded.
  case notPossible(choice: String, with: String)
  /// A session that goes on after decided tokens needs the state that Mirostat had there.
  case missingMirostatLimit(decidedCount: Int)
}

extension DecodingError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .parameterOutOfRange(let name, let value, let allowed):
      "\(name) is \(value); allowed: \(allowed)"
    case .unknownToken(let token, let vocabularyCount):
      "token \(token) is not in the vocabulary of \(vocabularyCount) tokens"
    case .unsortedLogitBias(let token):
      "the logit bias names token \(token) twice, or is not sorted by token"
    case .emptyPrompt: "the prompt has no tokens"
    case .promptTooLong(let tokenCount, let contextLength):
      "the prompt has \(tokenCount) tokens, and the context of \(contextLength) has to have room "
        + "for one more"
    case .excludedParameters(let first, let second):
      "\(first) and \(second) exclude each other; leave one out"
    case .notPossible(let choice, let other): "\(choice) does not go together with \(other)"
    case .missingMirostatLimit(let decidedCount):
      "a session with Mirostat that goes on after \(decidedCount) tokens needs the limit of the "
        + "session before"
    }
  }
}

package import GGUF

/// Why a model file gives no tokenizer or no chat template, or a conversation cannot be rendered.
package enum TokenizerError: Error, Equatable, Sendable {
  /// Metadata that is missing or of the wrong type.
  case metadata(GGUFError)
  /// `tokenizer.ggml.model` is neither `gpt2` nor `llama`.
  case unsupportedModel(String)
  /// `tokenizer.ggml.pre` names no splitting rules known here.
  case unsupportedPreTokenizer(String)
  /// An empty vocabulary, or one larger than token ids reach.
  case vocabularySize(Int)
  /// As many types as tokens are needed.
  case tokenTypeCount(expected: Int, found: Int)
  /// As many scores as tokens are needed.
  case scoreCount(expected: Int, found: Int)
  /// A score that is NaN, which is neither better nor worse than others.
  case scoreIsNotANumber(token: Int)
  /// Metadata that ask for text to be changed before it is encoded.
  case unsupportedNormalization(String)
  /// A token type with no meaning.
  case unknownTokenType(token: Int, type: Int)
  /// Two tokens of the same text.
  case duplicateToken(first: Int, second: Int, text: String)
  /// A token of type byte whose text is not of the form `<0x2A>`.
  case invalidByteToken(token: Int, text: String)
  /// A merge that is not two texts with a space between.
  case invalidMerge(index: Int, text: String)
  /// A merge of, or into, something that is not in the vocabulary.
  case mergeOutsideVocabulary(index: Int, text: String)
  /// A special token that is not in the vocabulary.
  case specialTokenOutOfRange(key: String, token: Int, vocabularyCount: Int)

  /// The file has no chat template.
  case missingChatTemplate
  /// A chat template that is none of ``ChatFormat``.
  case unsupportedChatTemplate
  /// A conversation without messages.
  case noMessages
  /// A role that could be mistaken for markup.
  case invalidRole(String)
  /// A message of `role`, or none at all where that is empty, in a place where only `expected` can
  /// be expressed.
  case unexpectedRole(format: ChatFormat, message: Int, role: String, expected: String)
  /// Markup of the chat template that is not one control token, so that message contents could
  /// imitate it.
  case markupIsNotControlToken(String)
}

extension TokenizerError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .metadata(let error): error.description
    case .unsupportedModel(let name):
      """
      tokenizer model "\(name)" is not supported; supported are "gpt2" (byte-level byte pair \
      encoding) and "llama" (SentencePiece)
      """
    case .unsupportedPreTokenizer(let name):
      """
      pre-tokenizer "\(name)" is not supported; supported are \
      \(PreTokenizer.supportedNames.joined(separator: ", "))
      """
    case .vocabularySize(let count):
      "a vocabulary of \(count) tokens; it must have 1 to \(BytePairTokenizer.vocabularyCountMax)"
    case .tokenTypeCount(let expected, let found):
      "tokenizer.ggml.token_type has \(found) entries; the vocabulary has \(expected) tokens"
    case .scoreCount(let expected, let found):
      "tokenizer.ggml.scores has \(found) entries; the vocabulary has \(expected) tokens"
    case .scoreIsNotANumber(let token):
      "the score of token \(token) is not a number; it must be one"
    case .unsupportedNormalization(let key):
      "\(key) asks for text to be normalised, which is not supported; it must be absent or empty"
    case .unknownTokenType(let token, let type):
      "token \(token) has type \(type); known are 1 to 6"
    case .duplicateToken(let first, let second, let text):
      "tokens \(first) and \(second) have the same text \"\(text)\""
    case .invalidByteToken(let token, let text):
      "token \(token) of type byte is \"\(text)\"; it must have the form <0x2A>"
    case .invalidMerge(let index, let text):
      "merge \(index) is \"\(text)\"; it must be two texts with one space between"
    case .mergeOutsideVocabulary(let index, let text):
      "merge \(index), \"\(text)\": both sides and the result must be in the vocabulary"
    case .specialTokenOutOfRange(let key, let token, let vocabularyCount):
      "\(key) is \(token); the vocabulary has \(vocabularyCount) tokens"
    case .missingChatTemplate:
      "the file has no tokenizer.chat_template; one is needed to chat with it"
    case .unsupportedChatTemplate:
      """
      the chat template of the file is not supported; supported are \
      \(ChatFormat.allCases.map(\.rawValue).joined(separator: ", "))
      """
    case .noMessages: "the conversation has no messages; at least one is needed"
    case .invalidRole(let role):
      "role \"\(role)\" is not supported; a role has 1 to 64 ASCII letters, digits, _ or -"
    case .unexpectedRole(let format, let message, let role, let expected):
      """
      message \(message) of the conversation \(role.isEmpty ? "is missing" : "has role \"\(role)\""); \
      \(format.rawValue) needs "\(expected)" there: a system message at most in front, then user and \
      assistant in turns
      """
    case .markupIsNotControlToken(let text):
      "\(text) of the chat template is not a control token of the vocabulary"
    }
  }
}

package import InferenceTypes

/// The router's view of tokenizer and chat template.
package protocol TextCodec: Sendable {
  /// Tokens of plain text, with the beginning-of-text token first if the model wants one. Control
  /// tokens spelled out in `text` stay text.
  func encode(_ text: String) -> [TokenID]

  /// Tokens of text that goes on from another one: without a beginning of its own.
  func encode(continuation text: String) -> [TokenID]

  /// Tokens of a conversation that ends where the assistant's answer begins.
  ///
  /// - Throws: ``ChatTemplateFailure`` where the model's template cannot express the turns.
  func encode(chat: [ChatTurn]) throws(ChatTemplateFailure) -> [TokenID]

  /// Bytes of one token; a control token has none, nor has a row of the model without a token.
  func text(of token: TokenID) -> [UInt8]
}

/// One message of a conversation.
package struct ChatTurn: Sendable, Equatable {
  /// Who speaks; the raw value is the name in requests.
  package enum Role: String, Sendable, CaseIterable {
    case system
    case user
    case assistant
  }

  package var role: Role
  package var content: String

  package init(role: Role, content: String) {
    self.role = role
    self.content = content
  }
}

/// Why a conversation could not become a prompt.
package enum ChatTemplateFailure: Error, Sendable, Equatable {
  /// The model file carries no template that is supported.
  case noTemplate
  /// The template refuses the turns; the text says why and can be shown to the client.
  case refused(String)
}

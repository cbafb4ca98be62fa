import Cluster

/// An answer that is no success, in the shape OpenAI's clients read.
struct APIError: Error, Equatable, Sendable {
  var status: Int
  var type: String
  var code: String
  /// The request field at fault.
  var param: String?
  var message: String
  /// Further members of the error object.
  var details: [JSONMember] = []
  /// Seconds after which another try makes sense.
  var retryAfter: Int?
  /// Methods a path does allow, for status 405.
  var allowedMethods: String?

  /// `{"error": {…}}` with all four keys that OpenAI's schema requires.
  var body: JSONValue {
    let error: [JSONMember] =
      [
        JSONMember(name: "message", value: .string(message)),
        JSONMember(name: "type", value: .string(type)),
        JSONMember(name: "param", value: param.map(JSONValue.string) ?? .null),
        JSONMember(name: "code", value: .string(code)),
      ] + details
    return ["error": .object(error)]
  }
}

extension APIError {
  /// A request that can never succeed as it is.
  static func invalid(_ message: String, param: String? = nil) -> APIError {
    APIError(
      status: 400, type: "invalid_request_error", code: "invalid_request", param: param,
      message: message)
  }

  /// A field that is understood and would change the answer, but cannot be served.
  static func notSupported(_ what: String, param: String) -> APIError {
    APIError(
      status: 400, type: "invalid_request_error", code: "not_supported", param: param,
      message: "\(what) is not supported yet")
  }

  static var unauthorized: APIError {
    APIError(
      status: 401, type: "authentication_error", code: "invalid_api_key", param: nil,
      message: "a valid API key is required: send it as 'Authorization: Bearer KEY'")
  }

  static func unknownRoute(_ path: String) -> APIError {
    APIError(
      status: 404, type: "not_found_error", code: "not_found", param: nil,
      message: "there is no \(path) here")
  }

  static func unknownModel(_ model: String, served: String) -> APIError {
    APIError(
      status: 404, type: "not_found_error", code: "model_not_found", param: "model",
      message: "the model '\(model)' is not served here; '\(served)' is")
  }

  static func methodNotAllowed(_ method: String, path: String, allowed: String) -> APIError {
    APIError(
      status: 405, type: "invalid_request_error", code: "method_not_allowed", param: nil,
      message: "\(path) answers \(allowed), not \(method)", allowedMethods: allowed)
  }

  static func bodyTimeout(_ deadline: Duration) -> APIError {
    APIError(
      status: 408, type: "timeout_error", code: "request_timeout", param: nil,
      message: "the request body did not arrive within \(deadline)")
  }

  static func bodyTooLarge(limit: Int) -> APIError {
    APIError(
      status: 413, type: "invalid_request_error", code: "request_too_large", param: nil,
      message: "the request body is larger than \(limit) bytes")
  }

  /// The cause goes to the log, not to the client.
  static var `internal`: APIError {
    APIError(
      status: 500, type: "server_error", code: "internal_error", param: nil,
      message: "the server failed to answer this request")
  }

  static func unavailable(_ message: String, code: String) -> APIError {
    APIError(
      status: 503, type: "unavailable_error", code: code, param: nil, message: message,
      retryAfter: 5)
  }
}

extension APIError {
  /// The answer for a failure of the cluster.
  init(_ error: ServiceError) {
    switch error {
    case .noVerifier:
      self = .unavailable("no verifier is connected to this router", code: "no_verifier")
    case .noDraftModel:
      self = .unavailable(
        "a collaboration needs a drafter with a draft model, and none is connected to this router",
        code: "no_draft_model")
    case .noAntiexpert:
      self = .invalid(
        """
        collaboration proxy takes a third model, which a cluster does not have: use 'slipstream run' \
        with --antiexpert, or another method
        """, param: "collaboration")
    case .rowsTooLarge(let vocabularyCount, let limit):
      self = .invalid(
        """
        collaboration contrastive sends a row of \(vocabularyCount) logits for each token, and at \
        most \(limit) fit in a message: use another method
        """, param: "collaboration")
    case .draining:
      self = .unavailable("this router is shutting down", code: "draining")
    case .overloaded(let queueLimit):
      self.init(
        status: 429, type: "rate_limit_error", code: "queue_full", param: nil,
        message: "all \(queueLimit) places of the queue are taken", retryAfter: 1)
    case .promptTooLong(let promptTokenCount, let contextLength):
      self.init(
        status: 400, type: "exceed_context_size_error", code: "context_length_exceeded",
        param: nil,
        message: """
          the prompt has \(promptTokenCount) tokens and leaves no room in the context of \
          \(contextLength)
          """,
        details: [
          JSONMember(name: "n_prompt_tokens", value: .integer(promptTokenCount)),
          JSONMember(name: "n_ctx", value: .integer(contextLength)),
        ])
    case .emptyPrompt:
      self = .invalid("the prompt is empty", param: "prompt")
    case .unknownToken(let token, let vocabularyCount):
      self = .invalid(
        "token \(token) is not in the vocabulary of \(vocabularyCount)", param: "prompt")
    case .workerLost:
      self = .unavailable(
        "the worker of this generation was lost and no other took over", code: "worker_lost")
    case .refused(let reason):
      self = .invalid(reason, param: "verify_rule")
    case .predictionTooLong(let tokenCount, let limit):
      self = .invalid(
        "the prediction has \(tokenCount) tokens; at most \(limit) are taken", param: "prediction")
    case .workerFailed:
      self.init(
        status: 500, type: "server_error", code: "worker_failed", param: nil,
        message: "the worker failed to generate")
    }
  }

  /// The answer for anything that can be thrown while a request is served.
  init(any error: any Error) {
    switch error {
    case let error as APIError: self = error
    case let error as ServiceError: self.init(error)
    default: self = .internal
    }
  }
}

import Cluster
import HTTPTypes
import Hummingbird
import InferenceTypes

extension APIResponder {
  /// `POST /v1/chat/completions` and `POST /v1/completions`.
  func generate(
    _ endpoint: GenerationFields.Endpoint, request: Request, body: [UInt8]
  ) async throws -> Response {
    let body = try RequestFields(body: body)
    let model = service.model
    let fields = try GenerationFields(body, model: model, endpoint: endpoint)
    let prompt =
      switch endpoint {
      case .chat: try encode(chat: body.chatTurns())
      case .completion:
        try body.promptTokens(codec: codec, vocabularyCount: model.vocabularyCount)
      }
    let shape = CompletionShape(endpoint: endpoint, model: model.id, fields: fields)
    var generation = fields.request(prompt: prompt)
    generation.tenant = TenantID(
      account: keys.account(of: request.headers[.authorization]), user: fields.user)
    generation.prediction = codec.encode(continuation: fields.prediction)
    let isCollaborative = fields.collaboration != nil
    guard fields.streams else {
      var response = try await whole(generation, shape: shape, request: request)
      if isCollaborative { response.headers[.slipstreamMode] = "collaborative" }
      return response.labelled(shape.rule)
    }
    // Refusals come before the first byte, so that they have a status of their own.
    let events = try await service.generate(generation)
    var stream = GenerationStream(
      events: events, shape: shape, pingInterval: configuration.pingInterval)
    stream.countsAlong = fields.includesContinuousUsage
    stream.summary.promptTokenCount = prompt.count
    var response = Self.response(stream, request: request)
    if isCollaborative { response.headers[.slipstreamMode] = "collaborative" }
    return response.labelled(shape.rule)
  }

  private func encode(chat turns: [ChatTurn]) throws(APIError) -> [TokenID] {
    do {
      return try codec.encode(chat: turns)
    } catch {
      switch error {
      case .noTemplate:
        throw .invalid(
          "this model has no chat template: use /v1/completions instead", param: "messages")
      case .refused(let reason):
        throw .invalid("the chat template refuses the messages: \(reason)", param: "messages")
      }
    }
  }

  private func whole(
    _ generation: GenerationRequest, shape: CompletionShape, request: Request
  ) async throws -> Response {
    let body = try await request.body.consumeWithCancellationOnInboundClose { _ in
      var text = ""
      var tokens: [TokenID] = []
      for try await event in try await service.generate(generation) {
        switch event {
        case .tokens(let ids, let piece):
          tokens += ids
          text += piece
        case .finished(let summary, let rest):
          guard summary.finishReason != .cancelled else { throw APIError.generationCancelled }
          return shape.whole(text: text + rest, tokens: tokens, summary: summary)
        }
      }
      try Task.checkCancellation()
      throw APIError.internal
    }
    var response = Self.response(body)
    // Watching for the client's leaving ends the connection's input.
    response.headers[.connection] = "close"
    return response
  }

  private static func response(_ stream: GenerationStream, request: Request) -> Response {
    let headers: HTTPFields = [
      .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache",
      .connection: "close",
    ]
    let body = ResponseBody { writer in
      try await request.body.consumeWithCancellationOnInboundClose { _ in
        try await stream.run { text in try await writer.write(ByteBuffer(string: text)) }
      }
      try await writer.finish(nil)
    }
    return Response(status: .ok, headers: headers, body: body)
  }
}

extension Response {
  /// With the header fields that tell the rule that judges drafts.
  fileprivate consuming func labelled(_ label: RuleLabel?) -> Response {
    var response = self
    for header in label?.headers ?? [] {
      response.headers[.named(header.name)] = header.value
    }
    return response
  }
}

extension APIError {
  /// The cluster ended the generation though the client is there.
  static var generationCancelled: APIError {
    .unavailable("the generation was cancelled", code: "cancelled")
  }
}

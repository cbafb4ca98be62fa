import Cluster
import Hummingbird
import InferenceTypes

extension APIResponder {
  /// `GET /v1/models`
  func models() -> Response {
    Self.response(["object": "list", "data": [modelObject]])
  }

  /// `GET /v1/models/{id}`
  func model(_ id: String) throws(APIError) -> Response {
    guard id == service.model.id else { throw .unknownModel(id, served: service.model.id) }
    return Self.response(modelObject)
  }

  /// `GET /health`: success only while requests can be answered.
  func health() async throws(APIError) -> Response {
    let health = await service.health()
    if health.isDraining { throw APIError(.draining) }
    if health.verifierCount == 0 { throw APIError(.noVerifier) }
    return Self.response([
      "status": "ok", "verifiers": .integer(health.verifierCount),
      "drafters": .integer(health.drafterCount),
    ])
  }

  /// `GET /metrics`: the text format of Prometheus. It wants a key where completions do.
  func metrics() async -> Response {
    Self.response(
      text: PrometheusText.render(await service.metrics()), type: PrometheusText.contentType)
  }

  /// `POST /tokenize`: the tokens a completion with this text as its prompt starts from.
  func tokenize(_ body: [UInt8]) throws(APIError) -> Response {
    let fields = try RequestFields(body: body)
    let content = try fields.string("content")
    let prompt = try fields.string("prompt")
    guard let text = content ?? prompt else {
      throw .invalid("content is required", param: "content")
    }
    let tokens = codec.encode(text)
    return Self.response([
      "tokens": .array(tokens.map { .integer(Int($0.rawValue)) }),
      "count": .integer(tokens.count), "max_model_len": .integer(service.model.contextLength),
    ])
  }

  /// `POST /detokenize`: the text twice, under the names of llama.cpp's server and of vLLM.
  func detokenize(_ body: [UInt8]) throws(APIError) -> Response {
    let fields = try RequestFields(body: body)
    guard let value = fields["tokens"] else {
      throw .invalid("tokens is required", param: "tokens")
    }
    guard let ids = value.array else {
      throw RequestFields.mismatch("tokens", expected: "an array of token ids", value)
    }
    let tokens = try RequestFields.tokens(
      ids, name: "tokens", vocabularyCount: service.model.vocabularyCount)
    // Joined before decoding: a character can be spread over several tokens.
    let text = String(decoding: tokens.flatMap(codec.text(of:)), as: UTF8.self)
    return Self.response(["content": .string(text), "prompt": .string(text)])
  }

  private var modelObject: JSONValue {
    let model = service.model
    return [
      "id": .string(model.id), "object": "model", "created": .integer(model.created),
      "owned_by": "slipstream",
      "meta": [
        "n_vocab": .integer(model.vocabularyCount), "n_ctx_train": .integer(model.contextLength),
        "n_embd": .integer(model.embeddingLength), "n_params": .integer(model.parameterCount),
        "size": .integer(model.sizeBytes),
      ],
    ]
  }
}

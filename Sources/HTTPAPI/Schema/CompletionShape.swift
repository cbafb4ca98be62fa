import Cluster
import FoundationEssentials
import InferenceTypes

/// Builds the bodies and chunks that answer one generation request.
struct CompletionShape: Sendable {
  var endpoint: GenerationFields.Endpoint
  var id: String
  /// Seconds since 1970.
  var created: Int
  var model: String
  var seed: Int
  /// Chunks carry a `usage` key, `null` but in the last.
  var includesUsage = false
  var returnsTokens = false
  /// The rule that the request named.
  var rule: RuleLabel?

  init(endpoint: GenerationFields.Endpoint, model: String, fields: GenerationFields) {
    self.endpoint = endpoint
    let prefix = endpoint == .chat ? "chatcmpl" : "cmpl"
    id = "\(prefix)-\(randomName())"
    created = Int(Date().timeIntervalSince1970)
    self.model = model
    seed = fields.seed
    includesUsage = fields.includesUsage
    returnsTokens = fields.returnsTokens
    rule = RuleLabel(fields.rule)
  }

  /// The body of an answer in one piece.
  func whole(text: String, tokens: [TokenID], summary: GenerationSummary) -> JSONValue {
    var choice: [JSONMember] = [JSONMember(name: "index", value: 0)]
    switch endpoint {
    case .chat:
      let message: JSONValue = [
        "role": "assistant", "content": .string(text), "refusal": nil,
      ]
      choice.append(JSONMember(name: "message", value: message))
    case .completion: choice.append(JSONMember(name: "text", value: .string(text)))
    }
    choice.append(JSONMember(name: "logprobs", value: .null))
    choice.append(JSONMember(name: "finish_reason", value: Self.finishReason(summary)))
    if returnsTokens { choice.append(JSONMember(name: "tokens", value: Self.ids(tokens))) }
    var members = head(object: endpoint == .chat ? "chat.completion" : "text_completion")
    members.append(JSONMember(name: "choices", value: [.object(choice)]))
    members.append(JSONMember(name: "usage", value: Self.usage(summary)))
    members.append(JSONMember(name: "timings", value: Self.timings(summary)))
    members += Self.label(summary)
    return .object(members)
  }

  /// What tells a text that is not the target's own.
  private static func label(_ summary: GenerationSummary) -> [JSONMember] {
    summary.collaboration.map {
      [JSONMember(name: "collaboration", value: collaboration($0))]
    } ?? []
  }

  /// The chunk that opens a chat stream; completions have none.
  func opening(usage: JSONValue) -> JSONValue? {
    guard endpoint == .chat else { return nil }
    let delta: JSONValue = ["role": "assistant", "content": ""]
    return chunk(choice: [JSONMember(name: "delta", value: delta)], finish: .null, usage: usage)
  }

  /// A chunk with new text, tokens or both.
  func piece(text: String, tokens: [TokenID], usage: JSONValue) -> JSONValue {
    var choice: [JSONMember]
    switch endpoint {
    case .chat: choice = [JSONMember(name: "delta", value: ["content": .string(text)])]
    case .completion: choice = [JSONMember(name: "text", value: .string(text))]
    }
    if returnsTokens { choice.append(JSONMember(name: "tokens", value: Self.ids(tokens))) }
    return chunk(choice: choice, finish: .null, usage: usage)
  }

  /// The chunks that close a stream: why it ended and, if asked for, the token counts. The last
  /// one carries the timings.
  func closing(_ summary: GenerationSummary, usage: JSONValue) -> [JSONValue] {
    let last =
      [JSONMember(name: "timings", value: Self.timings(summary))] + Self.label(summary)
    let choice =
      switch endpoint {
      case .chat: JSONMember(name: "delta", value: .object([]))
      case .completion: JSONMember(name: "text", value: "")
      }
    let finish = chunk(choice: [choice], finish: Self.finishReason(summary), usage: usage)
    guard includesUsage else { return [finish.appending(last)] }
    var members = head(object: chunkObject)
    members.append(JSONMember(name: "choices", value: []))
    members.append(JSONMember(name: "usage", value: Self.usage(summary)))
    members += last
    return [finish, .object(members)]
  }

  private var chunkObject: String {
    endpoint == .chat ? "chat.completion.chunk" : "text_completion"
  }

  private func head(object: String) -> [JSONMember] {
    [
      JSONMember(name: "id", value: .string(id)),
      JSONMember(name: "object", value: .string(object)),
      JSONMember(name: "created", value: .integer(created)),
      JSONMember(name: "model", value: .string(model)),
      JSONMember(name: "system_fingerprint", value: .string(Self.fingerprint(model))),
      JSONMember(name: "seed", value: .integer(seed)),
    ] + (rule?.members ?? [])
  }

  private func chunk(choice: [JSONMember], finish: JSONValue, usage: JSONValue) -> JSONValue {
    let choice: JSONValue = .object(
      [JSONMember(name: "index", value: 0)] + choice
        + [
          JSONMember(name: "logprobs", value: .null),
          JSONMember(name: "finish_reason", value: finish),
        ])
    var members = head(object: chunkObject)
    members.append(JSONMember(name: "choices", value: [choice]))
    if includesUsage || usage != .null { members.append(JSONMember(name: "usage", value: usage)) }
    return .object(members)
  }
}

extension CompletionShape {
  /// Token counts. Of the tokens drafted from the client's prediction some were right; the others
  /// cost time, and are no part of the completion.
  static func usage(_ summary: GenerationSummary) -> JSONValue {
    [
      "prompt_tokens": .integer(summary.promptTokenCount),
      "completion_tokens": .integer(summary.completionTokenCount),
      "total_tokens": .integer(summary.promptTokenCount + summary.completionTokenCount),
      "prompt_tokens_details": ["cached_tokens": .integer(summary.cachedTokenCount)],
      "completion_tokens_details": [
        "reasoning_tokens": 0,
        "accepted_prediction_tokens": .integer(summary.acceptedPredictionTokenCount),
        "rejected_prediction_tokens": .integer(
          summary.predictionTokenCount - summary.acceptedPredictionTokenCount),
      ],
    ]
  }

  /// The fields of llama.cpp's server, and `verify_n`: forward passes of the target. The drafts'
  /// two are there only if some were verified: clients take them as the sign of speculation.
  static func timings(_ summary: GenerationSummary) -> JSONValue {
    let evaluated = summary.promptTokenCount - summary.cachedTokenCount
    var members =
      [JSONMember(name: "cache_n", value: .integer(summary.cachedTokenCount))]
      + rates("prompt", count: evaluated, summary.promptDuration)
      + rates("predicted", count: summary.completionTokenCount, summary.decodeDuration)
    members.append(JSONMember(name: "verify_n", value: .integer(summary.verifyStepCount)))
    if summary.draftTokenCount > 0 {
      members.append(JSONMember(name: "draft_n", value: .integer(summary.draftTokenCount)))
      members.append(
        JSONMember(name: "draft_n_accepted", value: .integer(summary.acceptedTokenCount)))
    }
    return .object(members)
  }

  private static func rates(_ name: String, count: Int, _ duration: Duration) -> [JSONMember] {
    let milliseconds = duration / .milliseconds(1)
    let perToken = count > 0 ? milliseconds / Double(count) : 0
    let perSecond = milliseconds > 0 ? Double(count) * 1000 / milliseconds : 0
    return [
      JSONMember(name: "\(name)_n", value: .integer(count)),
      JSONMember(name: "\(name)_ms", value: .number(milliseconds)),
      JSONMember(name: "\(name)_per_token_ms", value: .number(perToken)),
      JSONMember(name: "\(name)_per_second", value: .number(perSecond)),
    ]
  }

  private static func finishReason(_ summary: GenerationSummary) -> JSONValue {
    .string(summary.finishReason.rawValue)
  }

  private static func ids(_ tokens: [TokenID]) -> JSONValue {
    .array(tokens.map { .integer(Int($0.rawValue)) })
  }

  /// FNV-1a of the model's name: the same on every router that serves the model.
  private static func fingerprint(_ model: String) -> String {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in model.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return "fp_" + String(hash, radix: 16)
  }
}

extension JSONValue {
  /// The object with more members.
  fileprivate func appending(_ more: [JSONMember]) -> JSONValue {
    guard case .object(let members) = self else { preconditionFailure("appending to \(kind)") }
    return .object(members + more)
  }
}

/// 24 hexadecimal digits, drawn anew each time.
func randomName() -> String {
  let bits = UInt128.random(in: 0..<1 << 96)
  let digits = String(bits, radix: 16)
  return String(repeating: "0", count: 24 - digits.count) + digits
}

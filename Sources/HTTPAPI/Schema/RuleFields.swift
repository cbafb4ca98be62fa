import InferenceTypes

/// What a request says about drafts: the rule that judges them, and a text to draft from.
extension RequestFields {
  /// `verify_rule` with the settings of the rules that change the law of the text; `nil` where the
  /// request leaves the rule to the server.
  ///
  /// - Throws: ``APIError`` with status 400 that names the rules, or the setting at fault.
  func verifyRule() throws(APIError) -> VerifyRuleParameters? {
    var parameters: VerifyRuleParameters?
    if let name = try string("verify_rule") {
      guard let rule = VerifyRule(rawValue: name) else {
        let names = VerifyRule.allCases.map(\.rawValue).joined(separator: ", ")
        throw .invalid(
          "verify_rule '\(name)' is not known: use one of \(names)", param: "verify_rule")
      }
      parameters = VerifyRuleParameters(rule)
    }
    try refuseSettings(ofOtherRulesThan: parameters?.rule)
    guard var parameters else { return nil }
    if let value = try fraction("typical_probability", includesOne: false) {
      parameters.typicalProbability = value
    }
    if let value = try fraction("typical_entropy", includesOne: false) {
      parameters.typicalEntropy = value
    }
    if let value = try integer("relaxed_candidates", in: 0...1 << 22) {
      parameters.relaxedCandidates = value
    }
    if let value = try fraction("relaxed_margin", includesOne: true) {
      parameters.relaxedMargin = value
    }
    if let value = self["deferred_entropy"] {
      guard let number = value.double, number.isFinite, number >= 0 else {
        throw .invalid(
          "deferred_entropy must be a number of nats, at least 0", param: "deferred_entropy")
      }
      parameters.deferredEntropy = number
    }
    if let value = try integer("deferred_window", in: 1...256) { parameters.deferredWindow = value }
    return parameters
  }

  private func refuseSettings(ofOtherRulesThan rule: VerifyRule?) throws(APIError) {
    let settings: [(name: String, rule: VerifyRule)] = [
      ("typical_probability", .typical), ("typical_entropy", .typical),
      ("relaxed_candidates", .relaxed), ("relaxed_margin", .relaxed),
      ("deferred_entropy", .deferred), ("deferred_window", .deferred),
    ]
    for setting in settings where setting.rule != rule && self[setting.name] != nil {
      throw .invalid(
        "\(setting.name) belongs to the verify_rule '\(setting.rule.rawValue)'",
        param: setting.name)
    }
  }

  private func fraction(_ name: String, includesOne: Bool) throws(APIError) -> Double? {
    guard let value = self[name] else { return nil }
    guard let number = value.double else {
      throw Self.mismatch(name, expected: "a number", value)
    }
    guard number >= 0, number < 1 || (includesOne && number == 1) else {
      throw .invalid(
        "\(name) must be at least 0 and \(includesOne ? "at most" : "below") 1, got \(number)",
        param: name)
    }
    return number
  }

  /// The text of `prediction` as OpenAI has it: `{"type": "content", "content": …}` with a string or
  /// a list of text parts; empty where there is none.
  ///
  /// - Throws: ``APIError`` with status 400 that names what is wrong.
  func prediction() throws(APIError) -> String {
    guard let prediction = try object("prediction") else { return "" }
    let type = try prediction.string("type")
    guard type == "content" else {
      throw .invalid(
        "prediction.type must be 'content', got '\(type ?? "")'", param: "prediction.type")
    }
    guard let content = prediction["content"] else {
      throw .invalid("prediction.content is required", param: "prediction.content")
    }
    return try Self.text(content, name: "prediction.content")
  }
}

/// How the rule that a request named is told in the answer.
struct RuleLabel: Sendable, Equatable {
  let rule: VerifyRule

  /// `nil` where the request named none.
  init?(_ parameters: VerifyRuleParameters?) {
    guard let parameters else { return nil }
    rule = parameters.rule
  }

  var members: [JSONMember] {
    [
      JSONMember(name: "verify_rule", value: .string(rule.rawValue)),
      JSONMember(name: "lossless", value: .boolean(rule.isLossless)),
    ]
  }

  /// Names and values of header fields.
  var headers: [(name: String, value: String)] {
    [
      ("x-slipstream-verify-rule", rule.rawValue),
      ("x-slipstream-lossless", rule.isLossless ? "true" : "false"),
    ]
  }
}

import CWire
import InferenceTypes

extension VerifyRule {
  /// Its number on the wire.
  var code: UInt32 {
    switch self {
    case .gumbelMatch: 1
    case .match: 2
    case .ratio: 3
    case .rejection: 4
    case .kSequential: 5
    case .block: 6
    case .traversal: 7
    case .typical: 8
    case .relaxed: 9
    case .deferred: 10
    }
  }

  var raw: Slipstream__V1__Rule { Slipstream__V1__Rule(rawValue: code) }

  /// - Returns: `nil` where it is not told.
  static func read(_ raw: Slipstream__V1__Rule, _ field: String) throws(WireError) -> VerifyRule? {
    guard raw.rawValue != 0 else { return nil }
    guard let rule = allCases.first(where: { $0.code == raw.rawValue }) else {
      throw .unknownValue(field: field, value: raw.rawValue)
    }
    return rule
  }

  static func bits(_ rules: Set<VerifyRule>) -> UInt32 { rules.reduce(0) { $0 | 1 << $1.code } }

  static func read(bits: UInt32, _ field: String) throws(WireError) -> Set<VerifyRule> {
    let rules = Set(allCases.filter { bits >> $0.code & 1 != 0 })
    guard self.bits(rules) == bits else { throw .unknownValue(field: field, value: bits) }
    return rules.isEmpty ? [.gumbelMatch] : rules
  }
}

extension VerifyRuleParameters: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.number(typicalProbability, "VerifyRule.typical_probability") { $0 >= 0 && $0 < 1 }
    try Check.number(typicalEntropy, "VerifyRule.typical_entropy") { $0 >= 0 && $0 < 1 }
    try Check.range(
      relaxedCandidates, 0...Limits.vocabularyCountMax, "VerifyRule.relaxed_candidates")
    try Check.number(relaxedMargin, "VerifyRule.relaxed_margin") { (0...1).contains($0) }
    if let deferredEntropy {
      try Check.number(deferredEntropy, "VerifyRule.deferred_entropy") { $0 >= 0 }
    }
    try Check.range(deferredWindow, 1...Limits.nodeCountMax, "VerifyRule.deferred_window")
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__VerifyRule {
    var raw = unsafe Slipstream__V1__VerifyRule()
    unsafe slipstream__v1__verify_rule__init(&raw)
    unsafe raw.rule = rule.raw
    unsafe raw.typical_probability = typicalProbability
    unsafe raw.typical_entropy = typicalEntropy
    unsafe raw.relaxed_candidates = UInt32(relaxedCandidates)
    unsafe raw.relaxed_margin = relaxedMargin
    unsafe raw.deferred_entropy = deferredEntropy ?? -1
    unsafe raw.deferred_window = UInt32(deferredWindow)
    return unsafe raw
  }

  init(raw: Slipstream__V1__VerifyRule) throws(WireError) {
    guard let rule = unsafe try VerifyRule.read(raw.rule, "VerifyRule.rule") else {
      throw .missing(field: "VerifyRule.rule")
    }
    self.init(rule)
    typicalProbability = unsafe raw.typical_probability
    typicalEntropy = unsafe raw.typical_entropy
    relaxedCandidates = unsafe Int(raw.relaxed_candidates)
    relaxedMargin = unsafe raw.relaxed_margin
    let entropy = unsafe raw.deferred_entropy
    deferredEntropy = entropy == -1 ? nil : entropy
    deferredWindow = unsafe Int(raw.deferred_window)
  }
}

extension PlaceLaw: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(tokens.count, 1...Limits.lawEntryCountMax, "PlaceLaw.token_deltas")
    guard weights.count == tokens.count else {
      throw .lengthMismatch(
        field: "PlaceLaw.weights", count: weights.count, expected: tokens.count)
    }
    for index in tokens.indices {
      guard index == 0 || tokens[index - 1] < tokens[index] else {
        throw .notAscending(field: "PlaceLaw.token_deltas", index: index)
      }
      guard weights[index] > 0 else {
        throw .outOfRange(field: "PlaceLaw.weights", value: 0, allowed: 1...Int(UInt16.max))
      }
    }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__PlaceLaw {
    var raw = unsafe Slipstream__V1__PlaceLaw()
    unsafe slipstream__v1__place_law__init(&raw)
    unsafe raw.parent_id = parent.rawValue
    let ids = tokens.map(\.rawValue)
    unsafe raw.n_token_deltas = ids.count
    unsafe raw.token_deltas = scratch.copy(
      ids.prefix(1) + zip(ids.dropFirst(), ids).map { $0 - $1 })
    unsafe raw.weights = scratch.bytes(
      weights.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] })
    return unsafe raw
  }

  init(raw: Slipstream__V1__PlaceLaw) throws(WireError) {
    let count = unsafe raw.n_token_deltas
    try Check.range(count, 1...Limits.lawEntryCountMax, "PlaceLaw.token_deltas")
    let bytes = unsafe Reading.bytes(raw.weights)
    guard bytes.count == 2 * count else {
      throw .lengthMismatch(field: "PlaceLaw.weights", count: bytes.count, expected: 2 * count)
    }
    unsafe self.init(parent: NodeID(rawValue: raw.parent_id), tokens: [], weights: [])
    var token: UInt32 = 0
    // safe: the array holds `count` elements.
    for index in 0..<count {
      let (next, overflows) = unsafe token.addingReportingOverflow(raw.token_deltas[index])
      guard !overflows else {
        throw .notAscending(field: "PlaceLaw.token_deltas", index: index)
      }
      token = next
      tokens.append(TokenID(token))
      weights.append(UInt16(bytes[2 * index]) | UInt16(bytes[2 * index + 1]) << 8)
    }
  }
}

import CWire
import InferenceTypes

extension Nodes: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(anchor, 0...Limits.contextLengthMax, "Nodes.anchor")
    try Check.range(nodes.count, 0...Limits.nodeCountMax, "Nodes.id_deltas")
    var previous = NodeID.none
    for (index, node) in nodes.enumerated() {
      guard node.id > previous else { throw .notAscending(field: "Nodes.id_deltas", index: index) }
      guard node.parent < node.id else {
        throw .notAscending(field: "Nodes.parent_deltas", index: index)
      }
      guard node.score <= 0 else {
        throw .invalidNumber(field: "Nodes.scores", value: node.score)
      }
      previous = node.id
    }
    try Check.range(laws.count, 0...Limits.nodeCountMax, "Nodes.laws")
    for (index, law) in laws.enumerated() {
      guard index == 0 || laws[index - 1].parent < law.parent else {
        throw .notAscending(field: "Nodes.laws", index: index)
      }
      try law.validate()
    }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Nodes {
    var raw = unsafe Slipstream__V1__Nodes()
    unsafe slipstream__v1__nodes__init(&raw)
    unsafe raw.anchor = UInt32(anchor)
    let ids = nodes.map(\.id.rawValue)
    unsafe raw.base_id = ids.first ?? 0
    let deltas = ids.prefix(1).map { _ in 0 } + zip(ids.dropFirst(), ids).map { $0 - $1 }
    unsafe raw.n_id_deltas = deltas.count
    unsafe raw.id_deltas = scratch.copy(deltas)
    unsafe raw.n_parent_deltas = nodes.count
    unsafe raw.parent_deltas = scratch.copy(
      nodes.map { $0.parent == .none ? 0 : $0.id.rawValue - $0.parent.rawValue })
    unsafe raw.n_tokens = nodes.count
    unsafe raw.tokens = scratch.words(nodes.map(\.token))
    unsafe raw.scores = scratch.bytes(nodes.map { Nodes.sixteenths(score: $0.score) })
    unsafe raw.n_laws = laws.count
    for (index, law) in laws.enumerated() {
      let part = unsafe law.raw(in: &scratch)
      let place = unsafe scratch.place(part)
      if index == 0 { unsafe raw.laws = scratch.reserve(laws.count, filledWith: place) }
      // safe: `reserve` made room for as many as there are laws.
      unsafe raw.laws[index] = place
    }
    return unsafe raw
  }

  init(raw: Slipstream__V1__Nodes) throws(WireError) {
    let count = unsafe raw.n_id_deltas
    let lengths = unsafe [
      ("Nodes.parent_deltas", raw.n_parent_deltas), ("Nodes.tokens", raw.n_tokens),
      ("Nodes.scores", raw.scores.len),
    ]
    for (field, length) in lengths where length != count {
      throw .lengthMismatch(field: field, count: length, expected: count)
    }
    try Check.range(count, 0...Limits.nodeCountMax, "Nodes.id_deltas")

    unsafe self.init(anchor: Int(raw.anchor), nodes: [])
    nodes.reserveCapacity(count)
    var id = unsafe raw.base_id
    guard count > 0 || id == 0 else {
      throw .outOfRange(field: "Nodes.base_id", value: Int(id), allowed: 0...0)
    }
    let lawCount = unsafe raw.n_laws
    try Check.range(lawCount, 0...Limits.nodeCountMax, "Nodes.laws")
    for index in 0..<lawCount {
      // safe: protobuf-c keeps `n_laws` elements there.
      laws.append(unsafe try PlaceLaw.read(raw.laws[index], "Nodes.laws"))
    }
    // safe: all four arrays hold `count` elements.
    for index in 0..<count {
      let (next, overflows) = unsafe id.addingReportingOverflow(raw.id_deltas[index])
      guard !overflows, index > 0 || next == id else {
        throw .notAscending(field: "Nodes.id_deltas", index: index)
      }
      id = next
      let parentDelta = unsafe raw.parent_deltas[index]
      guard parentDelta == 0 || parentDelta < id else {
        throw .notAscending(field: "Nodes.parent_deltas", index: index)
      }
      nodes.append(
        unsafe DraftNode(
          id: NodeID(rawValue: id),
          parent: parentDelta == 0 ? .none : NodeID(rawValue: id - parentDelta),
          token: TokenID(raw.tokens[index]),
          score: -Float(raw.scores.data[index]) / 16))
    }
  }
}

extension Truth: @unsafe WireBody {
  func validate() throws(WireError) {
    try Check.range(from, 0...Limits.contextLengthMax, "Truth.from")
    let fewest = isFinished ? 0 : 1
    try Check.range(tokens.count, fewest...Limits.truthTokenCountMax, "Truth.tokens")
    guard nodeIDs.count == tokens.count else {
      throw .lengthMismatch(field: "Truth.node_ids", count: nodeIDs.count, expected: tokens.count)
    }
    try Check.duration(verifyDuration, "Truth.verify_ns")
    try Check.range(usedNodeCount, 0...Limits.truthTokenCountMax, "Truth.nodes_used")
    try Check.range(topWidth, 0...Limits.topWidthMax, "Truth.top_width")
    try Check.range(topTokens.count, 0...Limits.topTokenCountMax, "Truth.top_tokens")
    guard topTokens.count == tokens.count * topWidth else {
      throw .lengthMismatch(
        field: "Truth.top_tokens", count: topTokens.count, expected: tokens.count * topWidth)
    }
  }

  func raw(in scratch: inout FrameScratch) -> Slipstream__V1__Truth {
    var raw = unsafe Slipstream__V1__Truth()
    unsafe slipstream__v1__truth__init(&raw)
    unsafe raw.from = UInt32(from)
    unsafe raw.n_tokens = tokens.count
    unsafe raw.tokens = scratch.words(tokens)
    if nodeIDs.contains(where: { $0 != .none }) {
      unsafe raw.n_node_ids = nodeIDs.count
      unsafe raw.node_ids = scratch.words(nodeIDs)
    }
    unsafe raw.verify_ns = UInt64(verifyDuration.clampedNanoseconds)
    unsafe raw.nodes_used = UInt32(usedNodeCount)
    unsafe raw.finished = isFinished ? 1 : 0
    unsafe raw.top_width = UInt32(topWidth)
    unsafe raw.top_tokens = scratch.bytes(PackedWords.bytes(topTokens.map(\.rawValue)))
    return unsafe raw
  }

  init(raw: Slipstream__V1__Truth) throws(WireError) {
    unsafe self.init(
      from: Int(raw.from),
      tokens: Reading.words(raw.tokens, raw.n_tokens, as: TokenID.init(rawValue:)))
    if unsafe raw.n_node_ids != 0 {
      nodeIDs = unsafe Reading.words(
        raw.node_ids, raw.n_node_ids, as: NodeID.init(rawValue:))
    }
    verifyDuration = unsafe Duration(clampingNanoseconds: raw.verify_ns)
    usedNodeCount = unsafe Int(raw.nodes_used)
    isFinished = unsafe raw.finished != 0
    topWidth = unsafe Int(raw.top_width)
    topTokens = unsafe try PackedWords.words(Reading.bytes(raw.top_tokens), "Truth.top_tokens")
      .map(TokenID.init(rawValue:))
  }
}

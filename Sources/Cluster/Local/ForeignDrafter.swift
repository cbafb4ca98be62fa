import Decoding
import Engine
import InferenceTypes
import Tokenizer

/// A draft model with a vocabulary of its own: it writes text, which becomes a chain of the target's
/// tokens. It guesses the most probable token in any case, because noise that is addressed by the
/// tokens of one vocabulary means nothing in another.
struct ForeignDrafter {
  private static let prefillChunk = 64
  /// Draft tokens of a chain, and the probability of a chain below which it ends.
  private static let lengthMax = 10
  private static let pathFloor = 0.15
  /// Logits among which a token's probability is taken.
  private static let topCount = 16
  /// Draft tokens that a chain is likely to cost, for the purse.
  private static let usualLength: Float = 3

  private let engine: InferenceEngine
  private let cache: KVCache
  private let vocabularies: Retokenizer
  private let costs: DraftCosts
  private var truth: [TokenID]
  private var text = Retokenizer.DraftText()
  /// Tokens whose keys and values the cache holds.
  private var cached: [TokenID] = []
  /// The latest chain, as far as the truth did not leave it.
  private var sent: [DraftNode] = []
  private var lastID: UInt32 = 0
  private var purse = DraftTimePurse()

  /// - Throws: ``EngineError`` without memory.
  init(
    truth: [TokenID], vocabularies: Retokenizer, costs: DraftCosts, engine: InferenceEngine
  ) throws(EngineError) {
    self.truth = truth
    self.vocabularies = vocabularies
    self.costs = costs
    self.engine = engine
    cache = try engine.makeCache()
    text.append(truth, vocabularies)
  }

  mutating func follow(_ update: TruthUpdate) {
    precondition(
      update.fromPosition == truth.count,
      "truth from \(update.fromPosition) after \(truth.count) tokens")
    truth += update.tokens
    text.append(update.tokens, vocabularies)
    for token in update.tokens {
      if sent.first?.token == token { sent.removeFirst() } else { sent = [] }
    }
    let matched = update.nodeIDs.count { $0 != .none }
    purse.settle(earned: min(matched, update.tokens.count - 1))
  }

  /// A chain of the target's tokens; `nil` where it would cost more than it may.
  mutating func draft() throws(EngineError) -> DraftUpdate? {
    guard purse.canAfford(costs.draft(1) * Self.usualLength),
      let (bytes, probabilities, isComplete) = try write()
    else { return nil }
    let tokens = vocabularies.targetTokens(bytes, after: truth, isComplete: isComplete)
    var update = DraftUpdate(anchor: truth.count, nodes: [])
    var parent = NodeID.none
    var start = 0
    var isKnown = true
    for (index, token) in tokens.enumerated() {
      // Nodes of the chain before are not sent again.
      if isKnown, index < sent.count, sent[index].token == token.token {
        parent = sent[index].id
        start = token.end
        continue
      }
      if isKnown { sent.removeSubrange(min(index, sent.count)...) }
      isKnown = false
      guard lastID < .max else { break }
      lastID += 1
      var probability = 1.0
      for piece in probabilities where piece.end > start && piece.end <= token.end {
        probability *= piece.probability
      }
      let node = DraftNode(
        id: NodeID(rawValue: lastID), parent: parent, token: token.token,
        score: min(0, Float(ExactMath.log(min(0.98, max(0.001, probability))))))
      update.nodes.append(node)
      sent.append(node)
      parent = node.id
      start = token.end
    }
    return update
  }

  /// One piece of drafted text.
  private struct Piece {
    var end: Int
    var probability: Double
  }

  /// Writes on from the truth; `nil` where the context is full.
  private mutating func write() throws(EngineError) -> ([UInt8], [Piece], isComplete: Bool)? {
    let wanted = text.tokens
    guard !wanted.isEmpty, wanted.count + Self.lengthMax < engine.contextLength else { return nil }
    var common = zip(cached, wanted).prefix { $0 == $1 }.count
    // The last token is read in any case: its logits begin the chain.
    common = min(common, wanted.count - 1)
    cache.truncate(to: common)
    cached.removeSubrange(common...)
    let isFirst = common == 0
    try read(Array(wanted[common...]), isFree: isFirst)
    var bytes: [UInt8] = []
    var pieces: [Piece] = []
    var path = 1.0
    while pieces.count < Self.lengthMax {
      let top = engine.topLogits(Self.topCount)
      guard let best = top.first, best.logit > -.infinity else { break }
      if vocabularies.draft.endOfGeneration.contains(best.token) { return (bytes, pieces, true) }
      let total = top.reduce(0.0) { $0 + ExactMath.exp(Double($1.logit - best.logit)) }
      path /= total
      guard path >= Self.pathFloor || pieces.isEmpty else { break }
      bytes += vocabularies.draft.bytes(of: best.token, includeSpecial: false)
      pieces.append(Piece(end: bytes.count, probability: 1 / total))
      guard pieces.count < Self.lengthMax, purse.canAfford(costs.draft(1)) else { break }
      try read([best.token], isFree: false)
    }
    return (bytes, pieces, false)
  }

  private mutating func read(_ tokens: [TokenID], isFree: Bool) throws(EngineError) {
    var rest = tokens[...]
    while !rest.isEmpty {
      let chunk = Array(rest.prefix(Self.prefillChunk))
      rest = rest.dropFirst(chunk.count)
      try engine.forward(
        ForwardBatch(chain: chunk, logits: rest.isEmpty ? .last : .none), cache: cache)
      cache.commit(Array(chunk.indices))
      cached += chunk
      // The prompt is not held against the drafts.
      if !isFree { purse.spend(costs.draft(chunk.count)) }
    }
  }
}

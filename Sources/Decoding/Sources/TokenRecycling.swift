package import InferenceTypes

/// Token Recycling: what the target thought likely after some context, it will think likely there
/// again. Every verified row is remembered under its last three, two and one tokens; the longest
/// key that is known answers.
///
/// At temperature T the remembered log-probabilities are divided by T and meet the same noise as
/// the target's choice will, so that draft and choice coincide where the distribution came back.
///
/// Memory: `vocabulary` rows under one token and 32,768 rows each under two and three tokens, 16
/// candidates of 8 bytes in each row: 128 bytes · (vocabulary + 65,536), 15 MB for a vocabulary of
/// 49,152.
///
/// - SeeAlso: Luo et al. 2025, arXiv:2408.08696. Departs from it in the longer keys, the
///   probabilities, the noise and the tree, which grows by estimated probability.
package struct TokenRecycling: DraftSource {
  package static let rowLength = 16
  /// Guesses for one place, at most.
  private static let proposalMax = 6
  private static let rankCount = 8
  private static let rowBits = 15
  /// At temperature 0 the likeliest token of a known context is right more often than its
  /// probability says.
  private static let greedySharpness = 2.0

  fileprivate struct Entry {
    var token: UInt32
    var logProbability: Float

    static let empty = Entry(token: TokenContext.absent, logProbability: 0)
  }

  package let vocabularyCount: Int
  private var single: [Entry]
  private var double: [Entry]
  private var triple: [Entry]
  private var doubleKeys = KeyedRows(rowBits: rowBits)
  private var tripleKeys = KeyedRows(rowBits: rowBits)
  /// Share of the places where the row of a key of one, two, three tokens held the truth.
  private var confidence: [Float] = [0.75, 0.85, 0.93]
  private var hitRates = HitRateTable(cellCount: 2 * 3 * rankCount * HitRateTable.binCount)
  private var weights: [(weight: Double, token: UInt32)] = []
  private var fresh: [Entry] = []

  package init(vocabularyCount: Int) {
    precondition((1...1 << 21).contains(vocabularyCount), "vocabulary of \(vocabularyCount)")
    self.vocabularyCount = vocabularyCount
    single = [Entry](repeating: .empty, count: vocabularyCount * Self.rowLength)
    double = [Entry](repeating: .empty, count: Self.rowLength << Self.rowBits)
    triple = double
  }

  /// Remembers the target's largest logits after `context`; a later row replaces an earlier one.
  package mutating func observe(context: TokenContext, top: Span<TokenLogit>) {
    normalize(top, into: &fresh)
    guard !fresh.isEmpty else { return }
    for length in 1...3 {
      guard let start = claim(context, length: length) else { continue }
      for index in fresh.indices { set(length: length, at: start + index, to: fresh[index]) }
    }
  }

  /// Remembers that `token` came after `context` where the target's logits are not known: its
  /// probability moves towards 1, those of the others shrink. Single tokens as keys are left out:
  /// what the target thinks after them says more.
  package mutating func observe(context: TokenContext, successor token: TokenID) {
    guard token.rawValue < vocabularyCount else { return }
    for length in 2...3 {
      guard let start = claim(context, length: length) else { continue }
      var index = 0
      while index < Self.rowLength - 1 {
        let known = entry(length: length, at: start + index).token
        if known == token.rawValue || known == TokenContext.absent { break }
        index += 1
      }
      let old = entry(length: length, at: start + index)
      let share = old.token == token.rawValue ? ExactMath.exp(Double(old.logProbability)) : 0
      while index > 0 {
        var moved = entry(length: length, at: start + index - 1)
        moved.logProbability -= 0.92  // ln 0.4
        set(length: length, at: start + index, to: moved)
        index -= 1
      }
      set(
        length: length, at: start,
        to: Entry(
          token: token.rawValue,
          logProbability: Float(ExactMath.log(0.6 + 0.4 * share))))
    }
  }

  package mutating func propose(at place: DraftPlace, into candidates: inout [DraftCandidate]) {
    var length = 3
    while length > 0, find(place.context, length: length) == nil { length -= 1 }
    guard length > 0, let start = find(place.context, length: length) else { return }
    weigh(start: start, length: length, place: place)
    let mode = place.sampling.temperature == 0 ? 0 : 1
    for rank in 0..<min(weights.count, Self.proposalMax) {
      let claimed = Float(weights[rank].weight) * confidence[length - 1]
      guard claimed > 0.002 else { break }
      let row = (mode * 3 + length - 1) * Self.rankCount + min(rank, Self.rankCount - 1)
      let cell = row * HitRateTable.binCount + HitRateTable.bin(Float(weights[rank].weight))
      candidates.append(
        DraftCandidate(
          token: TokenID(weights[rank].token), claimed: claimed,
          estimate: hitRates.estimate(cell: cell, claimed: claimed), origin: .recycling,
          cell: cell))
    }
  }

  package mutating func learn(_ candidates: ArraySlice<DraftCandidate>, truth: TokenID) {
    guard let first = candidates.first else { return }
    var isKnown = false
    for candidate in candidates {
      let isHit = candidate.token == truth
      isKnown = isKnown || isHit
      hitRates.record(cell: candidate.cell, claimed: candidate.claimed, isHit: isHit)
    }
    let length = first.cell / HitRateTable.binCount / Self.rankCount % 3
    confidence[length] += 0.02 * ((isKnown ? 1 : 0) - confidence[length])
  }

  /// Fills `weights` with the row's tokens and their probabilities, largest first.
  private mutating func weigh(start: Int, length: Int, place: DraftPlace) {
    weights.removeAll(keepingCapacity: true)
    let sampling = place.sampling
    let inverse =
      sampling.temperature == 0 ? Self.greedySharpness : 1 / Double(sampling.temperature)
    var largest = -Double.infinity
    for index in 0..<Self.rowLength {
      let entry = entry(length: length, at: start + index)
      guard entry.token != TokenContext.absent else { break }
      weights.append((Double(entry.logProbability) * inverse, entry.token))
      largest = max(largest, weights[index].weight)
    }
    if sampling.temperature > 0 {
      // What min-p dropped then, with some margin, it most likely drops again.
      let floor = largest + ExactMath.log(Double(sampling.minP)) - 0.5
      weights.removeAll { $0.weight < floor }
      for index in weights.indices {
        weights[index].weight += sampling.noise.value(
          position: place.position, token: TokenID(weights[index].token))
      }
    }
    weights.sort { ($1.weight, $0.token) < ($0.weight, $1.token) }
    guard let best = weights.first?.weight else { return }
    var total = 0.0
    for index in weights.indices {
      weights[index].weight = ExactMath.exp(weights[index].weight - best)
      total += weights[index].weight
    }
    for index in weights.indices { weights[index].weight /= total }
  }

  private func find(_ context: TokenContext, length: Int) -> Int? {
    guard let key = context.key(length: length) else { return nil }
    switch length {
    case 1:
      let start = Int(key) * Self.rowLength
      return start < single.count && single[start].token != TokenContext.absent ? start : nil
    case 2: return doubleKeys.find(key).map { $0 * Self.rowLength }
    default: return tripleKeys.find(key).map { $0 * Self.rowLength }
    }
  }

  /// First entry of the row to write, emptied where it belonged to another key.
  private mutating func claim(_ context: TokenContext, length: Int) -> Int? {
    guard let key = context.key(length: length), Int(context.last) < vocabularyCount else {
      return nil
    }
    guard length > 1 else { return Int(key) * Self.rowLength }
    let (row, isNew) = length == 2 ? doubleKeys.claim(key) : tripleKeys.claim(key)
    let start = row * Self.rowLength
    if isNew {
      for index in start..<start + Self.rowLength {
        set(length: length, at: index, to: .empty)
      }
    }
    return start
  }

  private func entry(length: Int, at index: Int) -> Entry {
    switch length {
    case 1: single[index]
    case 2: double[index]
    default: triple[index]
    }
  }

  private mutating func set(length: Int, at index: Int, to entry: Entry) {
    switch length {
    case 1: single[index] = entry
    case 2: double[index] = entry
    default: triple[index] = entry
    }
  }
}

/// Fills `row` with the largest logits as log-probabilities among themselves; empties it where
/// there is none.
private func normalize(_ top: Span<TokenLogit>, into row: inout [TokenRecycling.Entry]) {
  row.removeAll(keepingCapacity: true)
  guard top.count > 0, top[0].logit > -.infinity, top[0].logit < .infinity else { return }
  let count = min(top.count, TokenRecycling.rowLength)
  let largest = Double(top[0].logit)
  var total = 0.0
  for index in 0..<count { total += ExactMath.exp(Double(top[index].logit) - largest) }
  let normalizer = Float(largest + ExactMath.log(total))
  for index in 0..<TokenRecycling.rowLength {
    guard index < count, top[index].logit > -.infinity else {
      row.append(.empty)
      continue
    }
    row.append(
      TokenRecycling.Entry(
        token: top[index].token.rawValue, logProbability: top[index].logit - normalizer))
  }
}

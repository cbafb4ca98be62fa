package import InferenceTypes

/// Token Recycling: what the target thought likely after some context, it will think likely there
/// again. Every verified row is remembered under its last three, two and one tokens; the longest
/// key that is known answers. Where the session's text is known, too, what followed the same words
/// earlier joins the row, and both are weighed by ``DraftEvidence``.
///
/// At temperature T the remembered log-probabilities are divided by T and meet the same noise as
/// the target's choice will, so that draft and choice coincide where the distribution came back.
///
/// Memory: `vocabulary` rows under one token and 32,768 rows each under two and three tokens, 16
/// candidates of 8 bytes in each row: 128 bytes · (vocabulary + 65,536), 15 MB for a vocabulary of
/// 49,152.
///
/// - SeeAlso: Luo et al. 2025, arXiv:2408.08696. Departs from it in the longer keys, the
///   probabilities, the copies, the noise and the tree, which grows by estimated probability.
package struct TokenRecycling: DraftSource {
  package static let rowLength = 16
  /// Guesses for one place, at most.
  private static let proposalMax = 6
  private static let rankCount = 8
  static let rowBits = 15
  /// Longest key; the weights know the cases 0, no key is known, to 3.
  private static let keyMax = 3
  /// Nats by which the first token of an answer is less sure than the fitted weights, which are for
  /// all places, say: of 48 answers 0.19 first tokens came of 0.84 expected.
  private static let doubtAtStart = 2.0
  /// Rows that come from no text are kept as so much less probable, in nats: that tells them from
  /// others, whose first entry has a sixteenth at least, and the first row from a text drowns them.
  private static let supposedShift: Float = 8
  /// The first estimates are worth this many trials: they were fitted.
  private static let priorTrials: Float = 8

  struct Entry: Sendable {
    var token: UInt32
    var logProbability: Float

    static let empty = Entry(token: TokenContext.absent, logProbability: 0)
  }

  package let vocabularyCount: Int
  var single: [Entry]
  var double: [Entry]
  var triple: [Entry]
  var doubleKeys = KeyedRows(rowBits: rowBits)
  var tripleKeys = KeyedRows(rowBits: rowBits)
  var hitRates = HitRateTable(
    cellCount: 2 * (keyMax + 1) * rankCount * HitRateTable.binCount, priorTrials: priorTrials)
  private var evidence: [DraftEvidence] = []
  private var weights: [(weight: Double, token: UInt32)] = []
  private var fresh: [Entry] = []
  private var copies: [SessionText.Copy] = []
  private var rejected: [Entry] = []
  /// Tokens of rejected drafts' rows that are guessed though nothing else speaks for them.
  private static let rejectedMax = 4

  package init(vocabularyCount: Int) {
    precondition((1...1 << 21).contains(vocabularyCount), "vocabulary of \(vocabularyCount)")
    self.vocabularyCount = vocabularyCount
    single = [Entry](repeating: .empty, count: vocabularyCount * Self.rowLength)
    double = [Entry](repeating: .empty, count: Self.rowLength << Self.rowBits)
    triple = double
  }

  /// Remembers the target's largest logits after `context`; a later row replaces an earlier one,
  /// but moves that of a single token, which comes in many contexts, only halfway.
  package mutating func observe(context: TokenContext, top: Span<TokenLogit>) {
    normalize(top, into: &fresh)
    guard !fresh.isEmpty else { return }
    // The row of one token comes last: blending changes `fresh`.
    for length in stride(from: Self.keyMax, to: 0, by: -1) {
      guard let start = claim(context, length: length) else { continue }
      if length == 1 && single[start].token != TokenContext.absent { blendFresh(start: start) }
      for index in fresh.indices { set(length: length, at: start + index, to: fresh[index]) }
    }
  }

  /// Remembers what the target thinks after one token with hardly anything before it, where
  /// nothing was seen in a text. It is worth little: the first row from a text outweighs it.
  ///
  /// - Returns: false where a row is known, which stays.
  @discardableResult
  package mutating func suppose(after token: TokenID, top: Span<TokenLogit>) -> Bool {
    guard !knowsRow(after: token) else { return false }
    normalize(top, into: &fresh)
    for index in fresh.indices where fresh[index].token != TokenContext.absent {
      fresh[index].logProbability -= Self.supposedShift
      set(length: 1, at: Int(token.rawValue) * Self.rowLength + index, to: fresh[index])
    }
    return !fresh.isEmpty
  }

  /// Takes over the rows that come from no text where nothing is known; both have one vocabulary.
  mutating func takeSupposedRows(of other: TokenRecycling) {
    precondition(other.vocabularyCount == vocabularyCount, "of another vocabulary")
    for start in stride(from: 0, to: single.count, by: Self.rowLength)
    where single[start].token == TokenContext.absent && other.isSupposed(at: start) {
      for index in start..<start + Self.rowLength { single[index] = other.single[index] }
    }
  }

  /// Forgets the rows that come from no text.
  mutating func forgetSupposedRows() {
    for start in stride(from: 0, to: single.count, by: Self.rowLength) where isSupposed(at: start) {
      for index in start..<start + Self.rowLength { single[index] = .empty }
    }
  }

  /// Whether a row of one token comes from no text, see ``suppose(after:top:)``.
  private func isSupposed(at start: Int) -> Bool {
    single[start].logProbability < -Self.supposedShift / 2
  }

  /// Whether anything is known of what comes after this token alone.
  package func knowsRow(after token: TokenID) -> Bool {
    let start = Int(token.rawValue) * Self.rowLength
    return start < single.count && single[start].token != TokenContext.absent
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
    propose(at: place, path: [], text: nil, into: &candidates)
  }

  /// Appends guesses for the token at `place`, best first.
  ///
  /// - Parameters:
  ///   - place: where the guesses belong.
  ///   - path: drafted tokens between the text and the place.
  ///   - text: of the session, where it is known.
  ///   - candidates: what to append to.
  package mutating func propose(
    at place: DraftPlace, path: [TokenID], text: SessionText?,
    into candidates: inout [DraftCandidate]
  ) {
    copies.removeAll(keepingCapacity: true)
    text?.findCopies(after: path, into: &copies)
    let (length, start) = longest(place.context, upTo: Self.keyMax)
    rejected.removeAll(keepingCapacity: true)
    text?.findRejected(at: place.position, into: &rejected)
    guard start != nil || !copies.isEmpty || !rejected.isEmpty else { return }
    let isSupposed = length == 1 && start.map { self.isSupposed(at: $0) } ?? false
    collectRow(length: length, start: start, isSupposed: isSupposed, place: place)
    collectRejected(text, place: place)
    collectText(text, place: place)
    collectShorterRows(length: length, place: place)
    let isGreedy = place.sampling.temperature == 0
    let beginsAnswer = place.position == text?.answerStart && length < Self.keyMax
    weigh(
      EvidenceWeights.of(keyLength: length, isSupposed: isSupposed, isGreedy: isGreedy),
      hasKey: length > 0, doubt: beginsAnswer ? Self.doubtAtStart : 0)
    for rank in 0..<min(weights.count, Self.proposalMax) {
      let claimed = Float(weights[rank].weight)
      guard claimed > 0.002 else { break }
      let level = (isGreedy ? 0 : Self.keyMax + 1) + (isSupposed ? 0 : length)
      let row = level * Self.rankCount + min(rank, Self.rankCount - 1)
      let cell = row * HitRateTable.binCount + HitRateTable.bin(claimed)
      candidates.append(
        DraftCandidate(
          token: TokenID(weights[rank].token), claimed: claimed,
          estimate: hitRates.estimate(cell: cell, claimed: claimed), origin: .recycling,
          cell: cell))
    }
  }

  package mutating func learn(_ candidates: ArraySlice<DraftCandidate>, truth: TokenID) {
    for candidate in candidates {
      hitRates.record(
        cell: candidate.cell, claimed: candidate.claimed, isHit: candidate.token == truth)
    }
  }

  /// Fills `evidence` with the tokens of a row.
  private mutating func collectRow(
    length: Int, start: Int?, isSupposed: Bool, place: DraftPlace
  ) {
    evidence.removeAll(keepingCapacity: true)
    guard let start else { return }
    let sampling = place.sampling
    let inverse = sampling.temperature == 0 ? 1 : 1 / Double(sampling.temperature)
    var largest = -Double.infinity
    for index in start..<start + Self.rowLength {
      let entry = entry(length: length, at: index)
      guard entry.token != TokenContext.absent else { break }
      let logProbability = Self.bounded(
        entry.logProbability + (isSupposed ? Self.supposedShift : 0))
      largest = max(largest, logProbability * inverse)
      evidence.append(
        DraftEvidence(
          token: entry.token, logProbability: logProbability * inverse, isInRow: true,
          rank: index - start))
    }
    guard sampling.temperature > 0 else { return }
    // What min-p dropped then, with some margin, it most likely drops again.
    let floor = largest + ExactMath.log(Double(sampling.minP)) - 0.5
    evidence.removeAll { $0.logProbability < floor }
    for index in evidence.indices {
      evidence[index].logProbability += sampling.noise.value(
        position: place.position, token: TokenID(evidence[index].token))
    }
  }

  /// Adds the likeliest tokens of rejected drafts' rows to `evidence`, and to each token what those
  /// rows say.
  private mutating func collectRejected(_ text: SessionText?, place: DraftPlace) {
    guard let text else { return }
    rejected.sort { ($1.logProbability, $0.token) < ($0.logProbability, $1.token) }
    for entry in rejected.prefix(Self.rejectedMax)
    where !evidence.contains(where: { $0.token == entry.token }) {
      evidence.append(absent(entry.token, at: place))
    }
    for entry in rejected {
      guard let index = evidence.firstIndex(where: { $0.token == entry.token }) else { continue }
      evidence[index].rejectedLogProbability = Self.bounded(entry.logProbability)
    }
    text.findRejected(at: place.position - 1, into: &rejected)
    for entry in rejected {
      guard let index = evidence.firstIndex(where: { $0.token == entry.token }) else { continue }
      evidence[index].precedingRejectedLogProbability = Self.bounded(entry.logProbability)
    }
  }

  /// Adds to each token of `evidence` what the rows of shorter keys say.
  private mutating func collectShorterRows(length: Int, place: DraftPlace) {
    guard length >= 2 else { return }
    forEachInRow(place.context, length: length - 1) { evidence, logProbability in
      evidence.shorterLogProbability = logProbability
      if length == 2 { evidence.singleLogProbability = logProbability }
    }
    guard length == 3 else { return }
    forEachInRow(place.context, length: 1) { $0.singleLogProbability = $1 }
  }

  private mutating func forEachInRow(
    _ context: TokenContext, length: Int, _ note: (inout DraftEvidence, Double) -> Void
  ) {
    guard let start = find(context, length: length) else { return }
    for row in start..<start + Self.rowLength {
      let entry = entry(length: length, at: row)
      guard entry.token != TokenContext.absent else { break }
      guard let index = evidence.firstIndex(where: { $0.token == entry.token }) else { continue }
      note(&evidence[index], Self.bounded(entry.logProbability))
    }
  }

  private static func bounded(_ logProbability: Float) -> Double {
    max(DraftEvidence.absentLogProbability, Double(logProbability))
  }

  /// Adds the copies to `evidence`, and to each token what the text and the preceding row say.
  private mutating func collectText(_ text: SessionText?, place: DraftPlace) {
    for copy in copies {
      let known = evidence.firstIndex { $0.token == copy.token }
      let index = known ?? evidence.count
      if known == nil {
        evidence.append(absent(copy.token, at: place))
      }
      evidence[index].copyLength = copy.length
      evidence[index].copyCount = copy.count
    }
    for index in evidence.indices {
      guard let known = text?.occurrences(of: evidence[index].token) else { continue }
      evidence[index].occurrenceCount = known.count
      evidence[index].distance = place.position - known.latest
    }
    let (length, start) = longest(place.context.preceding, upTo: Self.keyMax - 1)
    guard let start, length > 1 || !isSupposed(at: start) else { return }
    for row in start..<start + Self.rowLength {
      let entry = entry(length: length, at: row)
      guard entry.token != TokenContext.absent else { break }
      guard let index = evidence.firstIndex(where: { $0.token == entry.token }) else { continue }
      evidence[index].precedingLogProbability = max(
        DraftEvidence.absentLogProbability, Double(entry.logProbability))
    }
  }

  /// A token that is not in the row; the noise is on it as on any other.
  private func absent(_ token: UInt32, at place: DraftPlace) -> DraftEvidence {
    var evidence = DraftEvidence(token: token)
    let sampling = place.sampling
    if sampling.temperature > 0 {
      evidence.logProbability /= Double(sampling.temperature)
      evidence.logProbability += sampling.noise.value(
        position: place.position, token: TokenID(token))
    }
    return evidence
  }

  /// Fills `weights` with the tokens of `evidence` and their probabilities, largest first; all but
  /// what the same three words led to is less sure by `doubt` nats.
  private mutating func weigh(_ table: EvidenceWeights, hasKey: Bool, doubt: Double) {
    weights.removeAll(keepingCapacity: true)
    // The one is for what nobody thought of; the bound keeps the sum finite.
    var total = 1.0
    for guess in evidence {
      var score = guess.score(hasKey || guess.copyCount == 0 ? table : .copyWithoutKey)
      if guess.copyLength < Self.keyMax { score -= doubt }
      let weight = ExactMath.exp(min(30, score))
      weights.append((weight, guess.token))
      total += weight
    }
    for index in weights.indices { weights[index].weight /= total }
    weights.sort { ($1.weight, $0.token) < ($0.weight, $1.token) }
  }

  /// The row of the longest known key of at most `limit` tokens; length 0 where none is known.
  private func longest(_ context: TokenContext, upTo limit: Int) -> (length: Int, start: Int?) {
    for length in stride(from: limit, to: 0, by: -1) {
      if let start = find(context, length: length) { return (length, start) }
    }
    return (0, nil)
  }

  /// Replaces `fresh` by its mean with the known row of a single token.
  private mutating func blendFresh(start: Int) {
    let half: Float = 0.693_147_2  // ln 2
    fresh.removeAll { $0.token == TokenContext.absent }
    for index in fresh.indices { fresh[index].logProbability -= half }
    for old in single[start..<start + Self.rowLength] where old.token != TokenContext.absent {
      let share = old.logProbability - half
      if let index = fresh.firstIndex(where: { $0.token == old.token }) {
        let sum = ExactMath.exp(Double(fresh[index].logProbability)) + ExactMath.exp(Double(share))
        fresh[index].logProbability = Float(ExactMath.log(sum))
      } else {
        fresh.append(Entry(token: old.token, logProbability: share))
      }
    }
    fresh.sort { ($1.logProbability, $0.token) < ($0.logProbability, $1.token) }
    if fresh.count > Self.rowLength { fresh.removeLast(fresh.count - Self.rowLength) }
    while fresh.count < Self.rowLength { fresh.append(.empty) }
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
func normalize(_ top: Span<TokenLogit>, into row: inout [TokenRecycling.Entry]) {
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

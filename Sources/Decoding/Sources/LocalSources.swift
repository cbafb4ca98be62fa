package import InferenceTypes

/// Training-free sources by name.
package struct DraftSourceSet: OptionSet, Sendable {
  package let rawValue: UInt16

  package init(rawValue: UInt16) { self.rawValue = rawValue }

  private init(_ origin: DraftOrigin) { rawValue = 1 << UInt16(origin.rawValue) }

  package static let trigram = DraftSourceSet(.trigram)
  package static let recycling = DraftSourceSet(.recycling)
  package static let copy = DraftSourceSet(.copy)
  package static let lookup = DraftSourceSet(.lookup)
  package static let ngram = DraftSourceSet(.ngram)
  package static let suffix = DraftSourceSet(.suffix)
  package static let prediction = DraftSourceSet(.prediction)
  package static let recyclePublished = DraftSourceSet(.recyclePublished)
  package static let aded = DraftSourceSet(.aded)
}

/// The training-free sources of one model in one process, shared by all its sessions, and the
/// rule that joins the guesses of all sources for a place.
package struct LocalSources: Sendable {
  package var recycling: TokenRecycling?
  package var trigram: TrigramStore?
  /// Corrects estimates where several sources speak: those that agree are rarely independent, and
  /// one that stands alone is doubtful. One cell for each set of origins that speak, set of those
  /// for the token, and bin.
  var agreement = HitRateTable(cellCount: HitRateTable.binCount << agreementBits)
  private static let agreementBits: UInt32 = 10

  private var copy: PlannedSlot<CopySource>?
  private var lookup: PlannedSlot<LookupSource>?
  var ngram: PlannedSlot<NgramSource>?
  var suffix: PlannedSlot<SuffixSource>?
  private var prediction: PlannedSlot<PredictionSource>?
  private var published: PlannedSlot<RecycleTemplate>?
  var aded: PlannedSlot<AdaptiveTrigrams>?

  /// No source at all: decoding without local drafts.
  package static let none = LocalSources()

  package init(recycling: TokenRecycling? = nil, trigram: TrigramStore? = nil) {
    self.recycling = recycling
    self.trigram = trigram
  }

  /// Both context-keyed stores, for a vocabulary of this size.
  package init(vocabularyCount: Int) {
    self.init([.recycling, .trigram], vocabularyCount: vocabularyCount)
  }

  /// The sources of a set, for a vocabulary of this size.
  package init(_ set: DraftSourceSet, vocabularyCount: Int) {
    if set.contains(.recycling) { recycling = TokenRecycling(vocabularyCount: vocabularyCount) }
    if set.contains(.trigram) { trigram = TrigramStore() }
    if set.contains(.copy) { copy = PlannedSlot(CopySource()) }
    if set.contains(.lookup) { lookup = PlannedSlot(LookupSource()) }
    if set.contains(.ngram) { ngram = PlannedSlot(NgramSource()) }
    if set.contains(.suffix) { suffix = PlannedSlot(SuffixSource()) }
    if set.contains(.prediction) { prediction = PlannedSlot(PredictionSource()) }
    if set.contains(.recyclePublished) {
      published = PlannedSlot(RecycleTemplate(vocabularyCount: vocabularyCount))
    }
    if set.contains(.aded) { aded = PlannedSlot(AdaptiveTrigrams()) }
  }

  /// Whether any source learns from rows of logits.
  package var observesRows: Bool { recycling != nil || published != nil }

  /// Learns from a prompt: the trigram store from its tokens, Token Recycling from what followed
  /// what.
  package mutating func observe(prompt: [TokenID]) {
    trigram?.observe(prompt[...])
    guard recycling != nil else { return }
    var context = TokenContext()
    for token in prompt {
      recycling?.observe(context: context, successor: token)
      context.append(token)
    }
  }

  /// Learns one row of the target's logits, for example of the prompt.
  package mutating func observe(context: TokenContext, top: Span<TokenLogit>) {
    recycling?.observe(context: context, top: top)
    published?.source.observe(context.last, top: top)
  }

  /// Learns from an answer that is finished, for the sessions to come.
  package mutating func remember(_ answer: ArraySlice<TokenID>) {
    suffix?.source.remember(answer)
    ngram?.source.remember(answer)
    aded?.source.remember(answer)
  }

  /// Learns from newly decided tokens where no logits are known: the last `count` of `truth`.
  package mutating func observe(tokensOf truth: [TokenID], newCount count: Int) {
    trigram?.observe(endOf: truth)
    guard recycling != nil else { return }
    let start = truth.count - count
    for index in start..<truth.count {
      let context = TokenContext(endOf: Array(truth[max(0, index - 3)..<index]))
      recycling?.observe(context: context, successor: truth[index])
    }
  }

  /// Prepares the growth of a tree at `root`.
  ///
  /// - Parameters:
  ///   - root: where the tree grows.
  ///   - text: of the session down to the root.
  /// - Returns: the place to begin at.
  mutating func prepared(_ root: DraftPlace, text: inout SessionText) -> DraftPlace {
    copy?.plan(after: &text)
    lookup?.plan(after: &text)
    ngram?.plan(after: &text)
    suffix?.plan(after: &text)
    prediction?.plan(after: &text)
    published?.plan(after: &text)
    aded?.plan(after: &text)
    return trigram?.searched(root) ?? root
  }

  /// What the sources remember of a tree that grows.
  struct TreeMemory: Sendable {
    fileprivate var search: [TrigramSearch.Node] = []
    fileprivate var plans = [PlannedDraft](repeating: PlannedDraft(), count: 7)
  }

  /// Exchanges what the sources remember of the tree that grows, see ``prepared(_:text:)``, so that
  /// the trees of several sessions can grow by turns.
  mutating func exchangeMemory(_ memory: inout TreeMemory) {
    trigram?.exchangeSearch(&memory.search)
    copy?.exchangePlan(&memory.plans[0])
    lookup?.exchangePlan(&memory.plans[1])
    ngram?.exchangePlan(&memory.plans[2])
    suffix?.exchangePlan(&memory.plans[3])
    prediction?.exchangePlan(&memory.plans[4])
    published?.exchangePlan(&memory.plans[5])
    aded?.exchangePlan(&memory.plans[6])
  }

  /// Joins the guesses of all sources for one place.
  ///
  /// - Parameters:
  ///   - place: where the guesses belong.
  ///   - path: drafted tokens between the text and the place.
  ///   - text: of the session, where it is indexed.
  ///   - start: index in `candidates` of the place's first guess.
  ///   - origins: whose guesses count; the others are forgotten.
  ///   - candidates: holds the guesses of the session's own drafts from `start` on; those of the
  ///     local sources are appended.
  ///   - joined: replaced by one guess for each token, most probable first.
  mutating func propose(
    at place: DraftPlace, path: [TokenID], text: SessionText?, start: Int,
    origins: Set<DraftOrigin>, candidates: inout [DraftCandidate],
    joined: inout [JoinedCandidate]
  ) {
    recycling?.propose(at: place, path: path, text: text, into: &candidates)
    trigram?.propose(at: place, into: &candidates)
    copy?.propose(after: path, into: &candidates)
    lookup?.propose(after: path, into: &candidates)
    ngram?.propose(after: path, into: &candidates)
    suffix?.propose(after: path, into: &candidates)
    prediction?.propose(after: path, into: &candidates)
    published?.propose(after: path, into: &candidates)
    aded?.propose(after: path, into: &candidates)
    if origins.count < DraftOrigin.allCases.count {
      let kept = candidates[start...].filter { origins.contains($0.origin) }
      candidates.replaceSubrange(start..., with: kept)
    }
    joined.removeAll(keepingCapacity: true)
    for candidate in candidates[start...] { join(candidate, into: &joined) }
    weigh(&joined, drafted: Self.draftedMass(candidates[start...]))
    let present = joined.reduce(0 as UInt16) { $0 | $1.origins }
    if present.nonzeroBitCount > 1 {
      for index in joined.indices {
        let claimed = joined[index].probability
        joined[index].cell =
          Self.agreementRow(present: present, origins: joined[index].origins)
          * HitRateTable.binCount + HitRateTable.bin(claimed)
        joined[index].claimed = claimed
        joined[index].probability = agreement.estimate(
          cell: joined[index].cell, claimed: claimed)
      }
    }
    joined.sort { ($1.probability, $0.token) < ($0.probability, $1.token) }
    // Siblings exclude each other; the more probable ones are believed first.
    var left: Float = 0.996
    for index in joined.indices {
      joined[index].probability = max(1e-6, min(joined[index].probability, left))
      left -= joined[index].probability
    }
  }

  /// Learns how good the guesses for one place were.
  mutating func learn(
    candidates: ArraySlice<DraftCandidate>, joined: ArraySlice<JoinedCandidate>, truth: TokenID
  ) {
    // Candidates of one origin stand together.
    var start = candidates.startIndex
    while start < candidates.endIndex {
      let origin = candidates[start].origin
      var end = start
      while end < candidates.endIndex, candidates[end].origin == origin { end += 1 }
      switch origin {
      case .recycling: recycling?.learn(candidates[start..<end], truth: truth)
      case .trigram: trigram?.learn(candidates[start..<end], truth: truth)
      case .copy: copy?.learn(candidates[start..<end], truth: truth)
      case .lookup: lookup?.learn(candidates[start..<end], truth: truth)
      case .ngram: ngram?.learn(candidates[start..<end], truth: truth)
      case .suffix: suffix?.learn(candidates[start..<end], truth: truth)
      case .prediction: prediction?.learn(candidates[start..<end], truth: truth)
      case .recyclePublished: published?.learn(candidates[start..<end], truth: truth)
      case .aded: aded?.learn(candidates[start..<end], truth: truth)
      case .remote, .model: break
      }
      start = end
    }
    for candidate in joined where candidate.cell >= 0 {
      agreement.record(
        cell: candidate.cell, claimed: candidate.claimed, isHit: candidate.token == truth)
    }
  }

  private func join(_ candidate: DraftCandidate, into joined: inout [JoinedCandidate]) {
    let isDrafter = candidate.origin == .remote || candidate.origin == .model
    let index: Int
    if let known = joined.firstIndex(where: { $0.token == candidate.token }) {
      index = known
    } else {
      index = joined.count
      joined.append(JoinedCandidate(token: candidate.token, origin: candidate.origin))
    }
    if candidate.estimate > joined[index].largest {
      joined[index].largest = candidate.estimate
      joined[index].origin = candidate.origin
    }
    // The local sources learn from the same text: two of them are hardly more sure than one.
    if isDrafter {
      joined[index].drafted = joinedProbability(joined[index].drafted, candidate.estimate)
    } else {
      joined[index].local = max(joined[index].local, candidate.estimate)
    }
    joined[index].origins |= 1 << UInt16(candidate.origin.rawValue)
    if candidate.origin == .trigram {
      joined[index].searchNode = candidate.handle
    } else if candidate.handle >= 0 {
      joined[index].pendingNode = candidate.handle
    }
  }

  /// Probability that one of the guesses of a drafter is right: of the surest one, where several
  /// speak.
  private static func draftedMass(_ candidates: ArraySlice<DraftCandidate>) -> Float {
    var masses: [(link: Int, mass: Float)] = []
    for candidate in candidates where candidate.origin == .remote || candidate.origin == .model {
      let link = candidate.cell / HitRateTable.binCount
      if let index = masses.firstIndex(where: { $0.link == link }) {
        masses[index].mass += candidate.estimate
      } else {
        masses.append((link, candidate.estimate))
      }
    }
    return min(1, masses.reduce(0) { max($0, $1.mass) })
  }

  /// What a drafter's guesses leave is shared by the tokens that only local sources name; a token that
  /// both name is somewhat more likely, and never less than if the drafter had not named it.
  /// Experience corrects it.
  private func weigh(_ joined: inout [JoinedCandidate], drafted mass: Float) {
    let left = max(0.005, 1 - mass)
    for index in joined.indices {
      let (drafted, local) = (joined[index].drafted, joined[index].local)
      joined[index].probability = max(
        drafted + (1 - drafted) * drafted * local, local * min(1, left + drafted))
    }
  }

  /// Row of the table of agreement for a pair of sets; a hash, so that rare pairs may share one.
  private static func agreementRow(present: UInt16, origins: UInt16) -> Int {
    let pair = UInt32(present) << 16 | UInt32(origins)
    return Int((pair &* 0x9e37_79b1) >> (32 - agreementBits))
  }
}

/// The guesses of all sources for one token at one place.
struct JoinedCandidate: Sendable {
  var token: TokenID
  /// Estimated probability that the token is right, given that its parent is.
  var probability: Float = 0
  /// That one of the drafters is right, and the largest estimate of the local sources.
  var drafted: Float = 0
  var local: Float = 0
  /// Largest single estimate; its origin is the guess's.
  var largest: Float = 0
  var origin: DraftOrigin
  /// One bit for each origin.
  var origins: UInt16 = 0
  var pendingNode = -1
  var searchNode = -1
  /// Cell of the table of agreement; -1 where only one source speaks.
  var cell = -1
  /// Probability before that table.
  var claimed: Float = 0
}

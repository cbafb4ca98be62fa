package import InferenceTypes

/// The training-free sources of one model in one process, shared by all its sessions, and the
/// rule that joins the guesses of all sources for a place.
package struct LocalSources: Sendable {
  package var recycling: TokenRecycling?
  package var trigram: TrigramStore?
  /// Corrects estimates where several sources speak: those that agree are rarely independent, and
  /// one that stands alone is doubtful. One cell for each set of origins that speak, set of those
  /// for the token, and bin.
  var agreement = HitRateTable(cellCount: 256 * HitRateTable.binCount)

  private static let recyclingBit = UInt8(1) << DraftOrigin.recycling.rawValue

  /// No source at all: decoding without local drafts.
  package static let none = LocalSources()

  package init(recycling: TokenRecycling? = nil, trigram: TrigramStore? = nil) {
    self.recycling = recycling
    self.trigram = trigram
  }

  /// Both sources, for a vocabulary of this size.
  package init(vocabularyCount: Int) {
    self.init(
      recycling: TokenRecycling(vocabularyCount: vocabularyCount), trigram: TrigramStore())
  }

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
  /// - Returns: the place to begin at.
  mutating func prepared(_ root: DraftPlace) -> DraftPlace {
    trigram?.searched(root) ?? root
  }

  /// Exchanges what the sources remember of the tree that grows, see ``prepared(_:)``, so that the
  /// trees of several sessions can grow by turns.
  mutating func exchangeSearch(_ search: inout [TrigramSearch.Node]) {
    trigram?.exchangeSearch(&search)
  }

  /// Joins the guesses of all sources for one place.
  ///
  /// - Parameters:
  ///   - place: where the guesses belong.
  ///   - path: drafted tokens between the text and the place.
  ///   - text: of the session, where it is indexed.
  ///   - start: index in `candidates` of the place's first guess.
  ///   - candidates: holds the guesses of the session's own drafts from `start` on; those of the
  ///     local sources are appended.
  ///   - joined: replaced by one guess for each token, most probable first.
  mutating func propose(
    at place: DraftPlace, path: [TokenID], text: SessionText?, start: Int,
    candidates: inout [DraftCandidate], joined: inout [JoinedCandidate]
  ) {
    recycling?.propose(at: place, path: path, text: text, into: &candidates)
    trigram?.propose(at: place, into: &candidates)
    joined.removeAll(keepingCapacity: true)
    for candidate in candidates[start...] { join(candidate, into: &joined) }
    let present = joined.reduce(0 as UInt8) { $0 | $1.origins }
    if present.nonzeroBitCount > 1 {
      for index in joined.indices {
        let claimed = joined[index].probability
        let sets = Int(present) * 16 + Int(joined[index].origins)
        joined[index].cell = sets * HitRateTable.binCount + HitRateTable.bin(claimed)
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
    let isSearched = candidate.origin == .trigram
    let bit = UInt8(1) << candidate.origin.rawValue
    for index in joined.indices where joined[index].token == candidate.token {
      if candidate.estimate > joined[index].largest {
        joined[index].largest = candidate.estimate
        joined[index].origin = candidate.origin
      }
      // The local sources learn from the same text: two of them are hardly more sure than one.
      let isSameEvidence = isSearched && joined[index].origins == Self.recyclingBit
      joined[index].probability =
        isSameEvidence
        ? max(joined[index].probability, candidate.estimate)
        : joinedProbability(joined[index].probability, candidate.estimate)
      joined[index].origins |= bit
      if isSearched {
        joined[index].searchNode = candidate.handle
      } else if candidate.handle >= 0 {
        joined[index].pendingNode = candidate.handle
      }
      return
    }
    joined.append(
      JoinedCandidate(
        token: candidate.token, probability: candidate.estimate, largest: candidate.estimate,
        origin: candidate.origin, origins: bit,
        pendingNode: isSearched ? -1 : candidate.handle,
        searchNode: isSearched ? candidate.handle : -1))
  }
}

/// The guesses of all sources for one token at one place.
struct JoinedCandidate: Sendable {
  var token: TokenID
  /// Estimated probability that the token is right, given that its parent is.
  var probability: Float
  /// Largest single estimate; its origin is the guess's.
  var largest: Float
  var origin: DraftOrigin
  /// One bit for each origin.
  var origins: UInt8
  var pendingNode: Int
  var searchNode: Int
  /// Cell of the table of agreement; -1 where only one source speaks.
  var cell = -1
  /// Probability before that table.
  var claimed: Float = 0
}

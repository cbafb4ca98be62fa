package import InferenceTypes

/// A drafter's end of one generation: runs ahead of the truth that it knows.
///
/// A model drafts a chain with ``nextForward(limit:)`` and
/// ``conclude(_:logits:top:)``; training-free sources draft a tree with
/// ``propose(sources:limit:)``. Either way the nodes go up as soon as they exist, and truth that
/// follows them leaves the rest of the tree valid.
package struct DrafterSession: Sendable {
  /// What a drafter needs to know at its start.
  package struct Configuration: Sendable {
    /// The prompt and what is decided.
    package var truth: [TokenID]
    /// Of the session, seed included: draft and target share the noise.
    package var sampling: SamplingParameters
    /// Tokens after which there is nothing to draft.
    package var stopTokens: [TokenID] = []
    /// Tokens that the draft model, or the target, can hold.
    package var contextLength: Int
    package var vocabularyCount: Int
    /// Tokens of draft beyond the known truth.
    package var window = 8
    /// Guesses for each place of the chain; the best one goes on, the others are leaves.
    package var width = 1
    /// What is known of the guesses from earlier texts.
    package var acceptance = DraftAcceptance()

    package init(
      truth: [TokenID], sampling: SamplingParameters, contextLength: Int, vocabularyCount: Int
    ) {
      self.truth = truth
      self.sampling = sampling
      self.contextLength = contextLength
      self.vocabularyCount = vocabularyCount
    }
  }

  /// Tokens for the draft model. The model's cache is cut to `firstPosition` tokens before.
  package struct Forward: Sendable, Equatable {
    package let firstPosition: Int
    package let tokens: [TokenID]
    /// Whether the last token's logits are needed; they never are for the others.
    package let needsLogits: Bool
  }

  /// What a truth update did.
  package enum Reception: Sendable, Equatable {
    /// The drafts go on; `keptCount` of them survive.
    case followed(keptCount: Int)
    /// The truth left the chain, so cached positions from here on are void, and a running forward
    /// pass may be aborted.
    case diverged(position: Int)
    /// Tokens before `fromPosition` are missing: the session needs them again.
    case gap(truthCount: Int)
    /// The update contradicts known truth, or holds an unknown token; nothing changed.
    case malformed
  }

  /// Nodes below the known truth, at most.
  private static let sentMax = 1024

  private struct Sent {
    var id: NodeID
    /// Index of the parent; -1 for the root.
    var parent: Int
    var token: TokenID
  }

  /// Guesses for one position, kept until the truth comes.
  private struct Evidence {
    var position: Int
    var guesses: RankedGuesses
  }

  package private(set) var truth: [TokenID]
  /// Index of the truth, for training-free sources.
  private var text = SessionText()
  /// Tokens of draft beyond the known truth; see ``DraftWindow``.
  package var window: Int
  /// Guesses for each place: 1 to 16.
  package var width: Int
  /// How good the guesses were.
  package private(set) var acceptance: DraftAcceptance
  private let configuration: Configuration
  private var chooser: TokenChooser
  private let sampling: DraftSampling
  private var sent: [Sent] = []
  /// Indices in `sent` of the chain, from the root down.
  private var chain: [Int] = []
  private var lastID: UInt32 = 0
  private var scale = CouplingScale()
  private var evidence: [Evidence] = []
  /// Mirostat's state before the choice for each position of the chain: truth that leaves it goes
  /// on from there, which costs hits at most.
  private var mirostatStates: [(position: Int, state: MirostatState)] = []
  /// Positions whose tokens the draft model holds.
  private var cachedCount = 0
  /// Positions of the running forward pass; those from `inFlightValid` on left the truth since.
  private var inFlight: Range<Int>?
  private var inFlightValid = 0

  /// Draft tokens of the chain beyond the known truth.
  package var chainCount: Int { chain.count }

  /// - Throws: ``DecodingError`` where the truth is empty, too long, or holds a token that is not
  ///   in the vocabulary, or a parameter is out of its range.
  package init(_ configuration: Configuration) throws(DecodingError) {
    chooser = try TokenChooser(
      parameters: configuration.sampling, vocabularyCount: configuration.vocabularyCount)
    guard !configuration.sampling.isCautious else {
      throw .notPossible(choice: "cautiousTrials", with: "drafts")
    }
    try SamplingParameters.check("window", configuration.window, 1...1024)
    try SamplingParameters.check("width", configuration.width, 1...16)
    truth = configuration.truth
    guard !truth.isEmpty else { throw .emptyPrompt }
    guard truth.count <= configuration.contextLength else {
      throw .promptTooLong(
        tokenCount: truth.count, contextLength: configuration.contextLength)
    }
    for token in truth where token.rawValue >= configuration.vocabularyCount {
      throw .unknownToken(token, vocabularyCount: configuration.vocabularyCount)
    }
    for token in truth { text.append(token) }
    self.configuration = configuration
    window = configuration.window
    width = configuration.width
    acceptance = configuration.acceptance
    sampling = DraftSampling(configuration.sampling)
  }

  /// Follows the truth: drafts that agree stay, with their cached positions; all others go.
  package mutating func receive(_ update: TruthUpdate) -> Reception {
    guard update.fromPosition >= 0, update.fromPosition <= truth.count else {
      return update.fromPosition < 0 ? .malformed : .gap(truthCount: truth.count)
    }
    for (offset, token) in update.tokens.enumerated() {
      let position = update.fromPosition + offset
      guard token.rawValue < configuration.vocabularyCount,
        position >= truth.count || truth[position] == token
      else { return .malformed }
    }
    var divergence: Int?
    var root = -1
    let known = truth.count - update.fromPosition
    for token in update.tokens.dropFirst(known) {
      let position = truth.count
      learn(token, at: position)
      if let first = chain.first, sent[first].token == token {
        chain.removeFirst()
      } else if !chain.isEmpty || divergence != nil {
        chain.removeAll()
        divergence = divergence ?? position
      }
      truth.append(token)
      text.append(token)
      // Without nodes below the root, -2 finds none from here on.
      root = root == -2 ? -2 : child(of: root, token: token) ?? -2
    }
    if let divergence {
      cachedCount = min(cachedCount, divergence)
      inFlightValid = min(inFlightValid, divergence)
      takeBackMirostat(to: divergence)
    }
    if root != -1 { keepSubtree(of: root) }
    guard let divergence else { return .followed(keptCount: sent.count) }
    return .diverged(position: divergence)
  }

  /// Whether truth on its way leaves the running pass without use: tokens that the pass computes
  /// or builds on are not those of the truth.
  package func isVoid(_ forward: Forward, after update: TruthUpdate) -> Bool {
    let end = min(forward.firstPosition + forward.tokens.count, truth.count + chain.count)
    for (offset, token) in update.tokens.enumerated() {
      let position = update.fromPosition + offset
      guard position >= truth.count else { continue }
      guard position < end else { return false }
      if self.token(at: position) != token { return true }
    }
    return false
  }

  /// Says what the draft model computes next.
  ///
  /// - Parameter limit: largest number of tokens, at least 1.
  /// - Returns: the tokens, or `nil` where it waits for truth: the window is full, the text or the
  ///   context ends, or a pass is running.
  package mutating func nextForward(limit: Int) -> Forward? {
    precondition(limit >= 1, "limit \(limit)")
    let count = truth.count + chain.count
    guard inFlight == nil, chain.count < window, cachedCount < count,
      count < configuration.contextLength, !isStop(token(at: count - 1))
    else { return nil }
    let end = min(count, cachedCount + limit)
    inFlight = cachedCount..<end
    inFlightValid = end
    return Forward(
      firstPosition: cachedCount, tokens: (cachedCount..<end).map(token(at:)),
      needsLogits: end == count)
  }

  /// The running pass was aborted, or failed: its tokens will come again.
  package mutating func abandonForward() { inFlight = nil }

  /// Extends the chain by the draft model's answer.
  ///
  /// - Shape: `logits`: `[vocabulary]`, or empty where none were needed; `top`: the largest of
  ///   them, larger first, ties by token; at least `width` for leaves beside the chain.
  /// - Returns: nodes to send, none where the truth left the chain meanwhile.
  package mutating func conclude(
    _ forward: Forward, logits: Span<Float>, top: Span<TokenLogit>
  ) -> DraftUpdate {
    precondition(
      inFlight == forward.firstPosition..<forward.firstPosition + forward.tokens.count,
      "no such pass at \(forward.firstPosition)")
    inFlight = nil
    let end = forward.firstPosition + forward.tokens.count
    cachedCount = min(end, inFlightValid)
    let count = truth.count + chain.count
    guard forward.needsLogits, cachedCount == end, end == count else {
      return DraftUpdate(anchor: truth.count, nodes: [])
    }
    let recent = (max(0, count - chooser.historyLength)..<count).map(token(at:))
    rememberMirostat(at: count)
    let choice = chooser.choose(
      logits: logits, top: top, recent: recent.span, position: count)
    let guesses = sampling.rank(
      top, choice: TokenLogit(token: choice, logit: logits[Int(choice.rawValue)]),
      position: count, keptCount: configuration.sampling.topK)
    let probabilities = scale.probabilities(guesses.scores)
    let parent = chain.last ?? -1
    var nodes: [DraftNode] = []
    for index in 0..<min(width, guesses.tokens.count) {
      let probability = min(0.98, max(0.001, probabilities[index]))
      if let node = send(
        guesses.tokens[index], below: parent, score: Float(ExactMath.log(probability)))
      {
        nodes.append(node)
      }
    }
    if let next = child(of: parent, token: choice) { chain.append(next) }
    evidence.append(Evidence(position: count, guesses: guesses))
    return DraftUpdate(anchor: truth.count, nodes: nodes)
  }

  /// Grows the tree from training-free sources, most probable paths first, inside the window.
  ///
  /// - Parameters:
  ///   - sources: what to ask; they learn the truth from the caller.
  ///   - limit: largest number of nodes below the known truth, those sent before included.
  /// - Returns: the nodes that were not sent before.
  package mutating func propose(sources: inout LocalSources, limit: Int) -> DraftUpdate {
    var update = DraftUpdate(anchor: truth.count, nodes: [])
    guard !isStop(truth[truth.count - 1]) else { return update }
    let place = DraftPlace(
      context: TokenContext(endOf: truth), position: truth.count, sampling: sampling)
    var growth = TreeGrowth(
      root: truth[truth.count - 1], place: sources.prepared(place, text: &text))
    growth.expand(0, pending: nil, text: text, sources: &sources)
    var sentIndices = [-1]
    while growth.tree.count <= limit, growth.next != nil, let node = growth.takeNext() {
      let token = growth.tree.tokens[node]
      let parent = sentIndices[growth.tree.parents[node]]
      if let new = send(token, below: parent, score: growth.tree.scores[node]) {
        update.nodes.append(new)
      }
      guard let index = child(of: parent, token: token) else { break }
      sentIndices.append(index)
      let depth = growth.tree.depths[node]
      if depth >= window || truth.count + depth >= configuration.contextLength || isStop(token) {
        growth.leaveUnexpanded(node)
      } else {
        growth.expand(node, pending: nil, text: text, sources: &sources)
      }
    }
    return update
  }

  private func isStop(_ token: TokenID) -> Bool { configuration.stopTokens.contains(token) }

  private func token(at position: Int) -> TokenID {
    position < truth.count ? truth[position] : sent[chain[position - truth.count]].token
  }

  private func child(of parent: Int, token: TokenID) -> Int? {
    sent.firstIndex { $0.parent == parent && $0.token == token }
  }

  /// Names a new node; `nil` where the parent has such a child, or no room or name is left.
  private mutating func send(_ token: TokenID, below parent: Int, score: Float) -> DraftNode? {
    guard lastID < .max, sent.count < Self.sentMax, child(of: parent, token: token) == nil else {
      return nil
    }
    lastID += 1
    let id = NodeID(rawValue: lastID)
    sent.append(Sent(id: id, parent: parent, token: token))
    return DraftNode(
      id: id, parent: parent < 0 ? .none : sent[parent].id, token: token, score: min(0, score))
  }

  private mutating func rememberMirostat(at position: Int) {
    guard let state = chooser.mirostat else { return }
    mirostatStates.removeAll { $0.position < truth.count || $0.position >= position }
    mirostatStates.append((position, state))
  }

  private mutating func takeBackMirostat(to position: Int) {
    guard let kept = mirostatStates.first(where: { $0.position >= position }) else { return }
    chooser.mirostat = kept.state
    mirostatStates.removeAll { $0.position >= position }
  }

  private mutating func learn(_ token: TokenID, at position: Int) {
    while let first = evidence.first, first.position <= position {
      evidence.removeFirst()
      if first.position == position {
        scale.learn(first.guesses, truth: token)
        acceptance.learn(rank: first.guesses.tokens.firstIndex(of: token))
      }
    }
    if chain.isEmpty || sent[chain[0]].token != token { evidence.removeAll() }
  }

  /// Makes a node the root; -2 leaves nothing.
  private mutating func keepSubtree(of root: Int) {
    var indices = [Int](repeating: -2, count: sent.count)
    var kept: [Sent] = []
    for (index, node) in sent.enumerated() {
      let parent = node.parent == root ? -1 : node.parent < 0 ? -2 : indices[node.parent]
      guard parent > -2 else { continue }
      indices[index] = kept.count
      kept.append(Sent(id: node.id, parent: parent, token: node.token))
    }
    sent = kept
    chain = chain.map { indices[$0] }
  }
}

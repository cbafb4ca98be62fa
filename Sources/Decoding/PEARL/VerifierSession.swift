package import InferenceTypes

/// The target's end of one generation: the only authority on its text.
///
/// Each step takes a batch from ``nextBatch(sources:costs:limit:)`` through the target and hands
/// the logits to ``conclude(_:logits:top:topCount:sources:)``. Drafts come and go at any time in
/// between; they change the speed, never the text, which is what decoding one token at a time
/// would give. With a limit of 1 it is decoding one token at a time.
///
/// Bad input from drafters is ignored and counted by reason, see ``receptionCount(_:)``.
///
/// - SeeAlso: Liu et al. 2024, arXiv:2408.11850 (PEARL), for verifying while drafting; the streams
///   of truth and drafts instead of its two alternating modes are ours.
package struct VerifierSession: Sendable {
  /// What a generation needs to know at its start.
  package struct Configuration: Sendable {
    package var prompt: [TokenID]
    /// Tokens that an earlier session decided after the prompt; they count towards the limit.
    package var decided: [TokenID] = []
    /// ``VerifierSession/mirostatLimit`` after `decided`; needed where Mirostat goes on.
    package var mirostatLimit: Double?
    package var sampling: SamplingParameters
    /// How drafts are judged.
    package var rule = RuleChoice.standard
    /// Upper bound of new tokens; `nil` goes on to the end of the context.
    package var tokenLimit: Int?
    /// Tokens that end the text.
    package var stopTokens: [TokenID] = []
    /// Goes on past the stop tokens.
    package var ignoresEndOfSequence = false
    /// Tokens that the target can hold.
    package var contextLength: Int
    package var vocabularyCount: Int
    /// Drafts held at once, those of all links together.
    package var pendingNodeMax = 4096

    package init(
      prompt: [TokenID], sampling: SamplingParameters, contextLength: Int, vocabularyCount: Int
    ) {
      self.prompt = prompt
      self.sampling = sampling
      self.contextLength = contextLength
      self.vocabularyCount = vocabularyCount
    }
  }

  /// Drafts must promise this much more than decoding without: planning and learning take time of
  /// their own, and a wrong promise must not make a text slower.
  private static let plainPreference: Float = 1.05
  /// The prompt and every decided token.
  package private(set) var truth: [TokenID]
  package let promptCount: Int
  package private(set) var finish: FinishReason?
  package private(set) var statistics = DraftStatistics()
  private var receptionCounts = [Int](repeating: 0, count: NodeReception.allCases.count)
  private var chooser: TokenChooser
  private var pending: PendingTree
  private var purse = DraftPurse()
  /// Index of the truth.
  private var text = SessionText()
  /// `nil` under ``VerifyRule/gumbelMatch``, where the choice itself is the judge.
  var judge: RuleJudge?
  private let sampling: DraftSampling
  private let stopTokens: [TokenID]
  private let vocabularyCount: Int
  /// Length of the truth at which the generation ends.
  private let lengthMax: Int

  package var generatedCount: Int { truth.count - promptCount }
  /// What a session that takes over needs of Mirostat; `nil` where it is off.
  package var mirostatLimit: Double? { chooser.mirostat?.limit }
  /// Drafts that wait below the truth.
  package var pendingCount: Int { pending.count }

  /// - Throws: ``DecodingError`` where the prompt is empty, too long, or holds a token that is not
  ///   in the vocabulary, or a parameter is out of its range.
  package init(_ configuration: Configuration) throws(DecodingError) {
    chooser = try TokenChooser(
      parameters: configuration.sampling, vocabularyCount: configuration.vocabularyCount)
    guard !configuration.sampling.isCautious else {
      throw .notPossible(choice: "cautiousTrials", with: "drafts")
    }
    if configuration.sampling.usesMirostat {
      guard configuration.decided.isEmpty || configuration.mirostatLimit != nil else {
        throw .missingMirostatLimit(decidedCount: configuration.decided.count)
      }
      chooser.mirostat = MirostatState(
        configuration.sampling, limit: configuration.mirostatLimit)
    }
    try SamplingParameters.check("pendingNodeMax", configuration.pendingNodeMax, 0...1 << 20)
    try SamplingParameters.check("tokenLimit", configuration.tokenLimit ?? 0, 0...Int.max)
    let prompt = configuration.prompt
    guard let last = configuration.decided.last ?? prompt.last, !prompt.isEmpty else {
      throw .emptyPrompt
    }
    guard prompt.count < configuration.contextLength else {
      throw .promptTooLong(
        tokenCount: prompt.count, contextLength: configuration.contextLength)
    }
    vocabularyCount = configuration.vocabularyCount
    truth = prompt + configuration.decided
    for token in truth where token.rawValue >= vocabularyCount {
      throw .unknownToken(token, vocabularyCount: vocabularyCount)
    }
    for token in truth { text.append(token) }
    promptCount = prompt.count
    stopTokens = configuration.ignoresEndOfSequence ? [] : configuration.stopTokens
    judge = try RuleJudge(configuration, stopTokens: stopTokens)
    sampling = DraftSampling(configuration.rule.guessed(configuration.sampling))
    let room = configuration.contextLength - prompt.count
    lengthMax = prompt.count + min(room, configuration.tokenLimit ?? room)
    pending = PendingTree(root: last, nodeMax: configuration.pendingNodeMax)
    if let end = configuration.decided.last, isStop(end) {
      finish = .stop
    } else if truth.count >= lengthMax {
      finish = .length
    }
  }

  /// Number of received nodes that met this fate.
  package func receptionCount(_ reception: NodeReception) -> Int {
    receptionCounts[reception.rawValue]
  }

  /// Takes drafts in.
  ///
  /// - Parameters:
  ///   - nodes: parents before children, ids increasing over the whole life of the link.
  ///   - anchor: index of the truth token that nodes without a parent guess.
  ///   - link: number of the drafter's link, never reused in a session.
  ///   - origin: of all drafts of this link.
  package mutating func receive(
    _ nodes: [DraftNode], anchor: Int, link: Int, origin: DraftOrigin = .remote
  ) {
    guard finish == nil else { return }
    guard let index = pending.open(link, origin: origin) else {
      receptionCounts[NodeReception.refused.rawValue] += nodes.count
      return
    }
    for node in nodes {
      let reception = pending.receive(
        node, anchor: anchor, link: index, truth: truth, lastPosition: lengthMax - 1,
        vocabularyCount: vocabularyCount)
      receptionCounts[reception.rawValue] += 1
    }
  }

  /// Levels of drafts after which another token can still follow.
  package var draftDepthMax: Int { max(0, lengthMax - truth.count - 1) }

  /// Forgets a link and its drafts.
  package mutating func removeLink(_ link: Int) { pending.close(link) }

  /// Chooses what the next forward pass evaluates.
  ///
  /// Guesses enter by the probability of their path; the size is the one with the largest expected
  /// number of tokens per unit of time.
  ///
  /// - Parameters:
  ///   - sources: the local sources of the model.
  ///   - costs: time of a forward pass by its size.
  ///   - limit: largest size, at least 1, which is decoding without drafts.
  /// - Returns: the batch; the session must not be finished.
  package mutating func nextBatch(
    sources: inout LocalSources, costs: VerifyCosts, limit: Int
  ) -> VerifyBatch {
    precondition(finish == nil, "session of \(truth.count) tokens is finished")
    precondition(limit >= 1, "limit \(limit)")
    let root = truth[truth.count - 1]
    let place = DraftPlace(
      context: TokenContext(endOf: truth), position: truth.count, sampling: sampling)
    // A node is useful where another token can follow it.
    guard limit > 1, truth.count < lengthMax - 1 else {
      var growth = TreeGrowth(root: root, place: place)
      growth.leaveUnexpanded(0)
      return batch(growth, count: 1, expected: 1)
    }
    // The root is expanded in any case: what would have been guessed is learnt from.
    let limit = purse.affordable(limit: limit, costs: costs)
    var growth = TreeGrowth(root: root, place: sources.prepared(place))
    growth.expand(0, pending: pending, text: text, sources: &sources)
    var expected: Float = 1
    var bestCount = 1
    var bestExpected: Float = 1
    var bestRate = Self.plainPreference / costs.cost(1)
    while growth.tree.count < limit, let next = growth.next {
      let reachable = (growth.tree.count + 1...limit).contains { count in
        let most = expected + next.pathProbability * Float(count - growth.tree.count)
        return most > bestRate * costs.cost(count)
      }
      guard reachable else { break }
      // The target's own choice of an end token needs no draft.
      guard !isStop(next.guess.token), let node = growth.takeNext() else {
        growth.dropNext()
        continue
      }
      expected += next.pathProbability
      let isLast =
        growth.tree.count == limit || truth.count + growth.tree.depths[node] >= lengthMax - 1
      if isLast {
        growth.leaveUnexpanded(node)
      } else {
        growth.expand(node, pending: pending, text: text, sources: &sources)
      }
      let rate = expected / costs.cost(growth.tree.count)
      if rate > bestRate {
        bestRate = rate
        bestCount = growth.tree.count
        bestExpected = expected
      }
    }
    purse.spend(on: bestCount, costs: costs)
    return batch(growth, count: bestCount, expected: bestExpected)
  }

  /// Decides the tokens that the target's logits give, learns from them and moves the root.
  ///
  /// - Shape: `logits`: `[count, vocabulary]`; `top`: `[count, topCount]`, the largest logits of
  ///   each row, larger first, ties by token; `topCount` may be 0.
  /// - Parameters:
  ///   - batch: the latest from ``nextBatch(sources:costs:limit:)``.
  ///   - logits: of every token of the batch.
  ///   - top: what the sources learn from.
  ///   - topCount: entries of `top` for each row.
  ///   - sources: the local sources of the model.
  ///   - decided: what a rule has decided already, all but the last of it in the batch; `nil` makes
  ///     the choices here.
  /// - Returns: the decided tokens, and what to keep of the keys and values.
  package mutating func conclude(
    _ batch: VerifyBatch, logits: Span<Float>, top: Span<TokenLogit>, topCount: Int,
    sources: inout LocalSources, decided: [TokenID]? = nil
  ) -> VerifyOutcome {
    precondition(
      batch.rootPosition == truth.count - 1,
      "batch below \(batch.rootPosition), truth of \(truth.count)")
    precondition(
      logits.count == batch.count * vocabularyCount && top.count == batch.count * topCount,
      "\(logits.count) logits and \(top.count) entries for \(batch.count) rows")
    let fromPosition = truth.count
    let rootContext = TokenContext(endOf: truth)
    var path = [0]
    var pendingPath: [Int] = []
    while finish == nil, let node = path.last {
      let token =
        decided?[path.count - 1]
        ?? choose(
          logits: logits.extracting(node * vocabularyCount..<(node + 1) * vocabularyCount),
          top: top.extracting(node * topCount..<(node + 1) * topCount))
      append(token)
      let candidates = batch.candidates[batch.ranges[node].candidates]
      pending.learn(candidates, truth: token)
      sources.learn(
        candidates: candidates, joined: batch.joined[batch.ranges[node].joined], truth: token)
      if pendingPath.count == path.count - 1,
        let drafted = pending.child(of: pendingPath.last ?? 0, token: token)
      {
        pendingPath.append(drafted)
      }
      guard path.count != decided?.count, let next = batch.tree.child(of: node, token: token)
      else { break }
      path.append(next)
    }
    count(batch, path: path, emitted: truth.count - fromPosition)
    purse.settle(emitted: truth.count - fromPosition)
    observe(batch, path: path, rootContext: rootContext, top: top, topCount: topCount, &sources)
    let matches = matches(pendingPath, count: truth.count - fromPosition)
    pending.reroot(path: pendingPath, position: fromPosition, truth: truth)
    return VerifyOutcome(
      fromPosition: fromPosition, tokens: Array(truth[fromPosition...]), acceptedPath: path,
      finish: finish, matches: matches)
  }

  private func isStop(_ token: TokenID) -> Bool { stopTokens.contains(token) }

  private func batch(_ growth: TreeGrowth, count: Int, expected: Float) -> VerifyBatch {
    var tree = growth.tree
    tree.truncate(to: count)
    return VerifyBatch(
      tree: tree, rootPosition: truth.count - 1, expectedCount: expected,
      candidates: growth.candidates, joined: growth.joined, ranges: growth.ranges)
  }

  /// The target's choice after the truth.
  private mutating func choose(logits: Span<Float>, top: Span<TokenLogit>) -> TokenID {
    let recent = Array(truth.suffix(chooser.historyLength))
    return chooser.choose(
      logits: logits, top: top, recent: recent.span, position: truth.count)
  }

  private mutating func append(_ token: TokenID) {
    truth.append(token)
    text.append(token)
    if isStop(token) {
      finish = .stop
    } else if truth.count >= lengthMax {
      finish = .length
    }
  }

  private mutating func count(_ batch: VerifyBatch, path: [Int], emitted: Int) {
    statistics.countStep(emitted: emitted)
    for node in 1..<batch.count {
      statistics.countVerified(batch.origins[node], depth: batch.tree.depths[node])
    }
    for node in path.dropFirst() {
      statistics.countAccepted(batch.origins[node], depth: batch.tree.depths[node])
    }
  }

  /// Shows every row to the sources; the rows of the truth come last, so that they stay.
  private func observe(
    _ batch: VerifyBatch, path: [Int], rootContext: TokenContext, top: Span<TokenLogit>,
    topCount: Int, _ sources: inout LocalSources
  ) {
    sources.trigram?.observe(endOf: truth)
    guard sources.recycling != nil, topCount > 0 else { return }
    var contexts = [rootContext]
    for node in 1..<batch.count {
      contexts.append(contexts[batch.parents[node]].appending(batch.tokens[node]))
    }
    let rejected = batch.tokens.indices.filter { !path.contains($0) }
    for node in rejected + path {
      sources.observe(
        context: contexts[node],
        top: top.extracting(node * topCount..<(node + 1) * topCount))
    }
  }

  /// For each link the ids of its nodes that became truth.
  private func matches(_ path: [Int], count: Int) -> [(link: Int, nodeIDs: [NodeID])] {
    pending.openLinks.map { link in
      var ids = path.map { pending.id(of: $0, linkNumber: link) }
      ids.append(contentsOf: repeatElement(.none, count: count - path.count))
      return (link, ids)
    }
  }
}

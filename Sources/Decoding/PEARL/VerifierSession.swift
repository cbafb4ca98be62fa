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
  /// The prompt and every decided token.
  package private(set) var truth: [TokenID]
  package let promptCount: Int
  package private(set) var finish: FinishReason?
  package private(set) var statistics = DraftStatistics()
  private var receptionCounts = [Int](repeating: 0, count: NodeReception.allCases.count)
  private var chooser: TokenChooser
  private var pending: PendingTree
  private var purse = DraftPurse()
  /// Places with remote drafts lately, and those where one of them was right; old ones fade.
  private var draftedPlaces: Float = 2
  private var rightPlaces: Float = 1
  /// The last token went beyond the drafts: the drafter's own may be another one.
  private var isBeyondDrafts = false
  /// Of the batch that is under way.
  private var tokenValue: Float = 1
  /// Index of the truth.
  private var text = SessionText()
  /// `nil` under ``VerifyRule/gumbelMatch``, where the choice itself is the judge.
  var judge: RuleJudge?
  private let sampling: DraftSampling
  private let draftOrigins: Set<DraftOrigin>
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
    text.answerStart = prompt.count
    text.prediction = configuration.prediction
    promptCount = prompt.count
    stopTokens = configuration.ignoresEndOfSequence ? [] : configuration.stopTokens
    judge = try RuleJudge(configuration, stopTokens: stopTokens)
    sampling = DraftSampling(configuration.rule.guessed(configuration.sampling))
    let room = configuration.contextLength - prompt.count
    lengthMax = prompt.count + min(room, configuration.tokenLimit ?? room)
    draftOrigins = configuration.draftOrigins
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

  /// Received nodes that were right or may be.
  package var liveReceptionCount: Int { receptionCount(.pending) + receptionCount(.onTruth) }

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
      if reception == .pending { isBeyondDrafts = false }
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
    var planner = StepPlanner(costs: costs, sessionCount: 1, limit: limit)
    // The costs are those at the session's context already.
    var growth = beginGrowth(
      sources: &sources, limit: limit,
      affordable: planner.affordable(balance: purse.balance, context: 0, limit: limit))
    planner.add(
      context: 0, balance: purse.balance, limit: growth.limit, best: growth.bestProbability)
    while planner.next() != nil {
      if grow(&growth, sources: &sources) {
        planner.enter(0, best: growth.bestProbability)
      } else {
        planner.skip(0, best: growth.bestProbability)
      }
    }
    let plan = planner.plan()
    return endGrowth(
      growth, count: plan.counts[0], price: plan.prices[0], tokenValue: plan.tokenValues[0])
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
    purse.settle(emitted: truth.count - fromPosition, tokenValue: tokenValue)
    observe(batch, path: path, rootContext: rootContext, top: top, topCount: topCount, &sources)
    if finish != nil { sources.remember(truth[promptCount...]) }
    let emittedCount = truth.count - fromPosition
    let contradictsDrafts =
      pendingPath.count < emittedCount && pending.hasChildren(pendingPath.last ?? 0)
    countPlaces(right: pendingPath.count, wrong: contradictsDrafts ? 1 : 0)
    isBeyondDrafts = pendingPath.count < emittedCount && !contradictsDrafts
    let matches = matches(pendingPath, count: emittedCount)
    pending.reroot(path: pendingPath, position: fromPosition, truth: truth)
    return VerifyOutcome(
      fromPosition: fromPosition, tokens: Array(truth[fromPosition...]), acceptedPath: path,
      finish: finish, usedNodeCount: batch.count - 1, matches: matches,
      contradictsDrafts: contradictsDrafts)
  }

  private mutating func countPlaces(right: Int, wrong: Int) {
    draftedPlaces += Float(right + wrong)
    rightPlaces += Float(right)
    guard draftedPlaces > 64 else { return }
    draftedPlaces /= 2
    rightPlaces /= 2
  }

  /// Share of the places with remote drafts where one of them was right, lately.
  package var draftedShare: Float { rightPlaces / draftedPlaces }

  /// Probability that the text follows the likeliest drafts so far to their end, and the next ones,
  /// too: the tokens that these add to a step. 0 where no token could follow them.
  package var nextDraftValue: Float {
    let (probability, depth) = pending.likeliestPath()
    guard finish == nil, depth < draftDepthMax else { return 0 }
    return probability * draftedShare * (isBeyondDrafts ? draftedShare : 1)
  }

  private func isStop(_ token: TokenID) -> Bool { stopTokens.contains(token) }

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
    statistics.countStep(
      nodes: batch.count, emitted: emitted, expected: batch.expectedCount)
    for node in 1..<batch.count {
      statistics.countVerified(batch.origins[node], depth: batch.tree.depths[node])
    }
    for node in path.dropFirst() {
      statistics.countAccepted(batch.origins[node], depth: batch.tree.depths[node])
    }
  }

  /// Shows every row to the sources; the rows of the truth come last, so that they stay.
  private mutating func observe(
    _ batch: VerifyBatch, path: [Int], rootContext: TokenContext, top: Span<TokenLogit>,
    topCount: Int, _ sources: inout LocalSources
  ) {
    sources.trigram?.observe(endOf: truth)
    guard sources.observesRows, topCount > 0 else { return }
    var contexts = [rootContext]
    for node in 1..<batch.count {
      contexts.append(contexts[batch.parents[node]].appending(batch.tokens[node]))
    }
    let rejected = batch.tokens.indices.filter { !path.contains($0) }
    text.forgetDecided()
    for node in rejected {
      let position = batch.rootPosition + batch.tree.depths[node] + 1
      guard position >= truth.count else { continue }
      text.noteRejected(
        position: position, top: top.extracting(node * topCount..<(node + 1) * topCount))
    }
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

// MARK: planning with other sessions

/// A tree that grows until a ``StepPlanner`` has made up its mind.
package struct BatchGrowth: Sendable {
  fileprivate var tree: TreeGrowth
  /// What the sources remember of this tree.
  fileprivate var memory = LocalSources.TreeMemory()
  /// Most nodes, the root included.
  package fileprivate(set) var limit: Int

  /// Nodes so far, the root included.
  package var count: Int { tree.tree.count }
  /// Path probability of the best guess; `nil` without any.
  package var bestProbability: Float? { count < limit ? tree.next?.pathProbability : nil }
}

extension VerifierSession {
  /// ``DraftPurse/balance``.
  package var draftBalance: Float { purse.balance }

  /// Begins the tree of the next batch: ``nextBatch(sources:costs:limit:)`` in steps, for sessions
  /// that share a forward pass. Ends with ``endGrowth(_:count:price:tokenValue:)``; until then the
  /// session does nothing else but grow this tree.
  ///
  /// - Parameters:
  ///   - sources: the local sources of the model.
  ///   - limit: most nodes of a batch; 1 decodes without drafts.
  ///   - affordable: most nodes that the session can pay now.
  /// - Returns: the tree; the session must not be finished.
  package mutating func beginGrowth(
    sources: inout LocalSources, limit: Int, affordable: Int
  ) -> BatchGrowth {
    precondition(finish == nil, "session of \(truth.count) tokens is finished")
    let root = truth[truth.count - 1]
    let place = DraftPlace(
      context: TokenContext(endOf: truth), position: truth.count, sampling: sampling)
    // A node is useful where another token can follow it.
    guard limit > 1, truth.count < lengthMax - 1, !draftOrigins.isEmpty else {
      var tree = TreeGrowth(root: root, place: place)
      tree.leaveUnexpanded(0)
      return BatchGrowth(tree: tree, limit: 1)
    }
    // The root is expanded in any case: what would have been guessed is learnt from.
    var growth = BatchGrowth(
      tree: TreeGrowth(
        root: root, place: sources.prepared(place, text: &text), origins: draftOrigins),
      limit: min(limit, affordable))
    growth.tree.expand(0, pending: pending, text: text, sources: &sources)
    sources.exchangeMemory(&growth.memory)
    return growth
  }

  /// Adds the best guess to a tree that has one.
  ///
  /// - Returns: false where the guess is of no use and was left out.
  package mutating func grow(_ growth: inout BatchGrowth, sources: inout LocalSources) -> Bool {
    // The target's own choice of an end token needs no draft.
    guard let next = growth.tree.next, !isStop(next.guess.token), let node = growth.tree.takeNext()
    else {
      growth.tree.dropNext()
      return false
    }
    let depth = growth.tree.tree.depths[node]
    if growth.count == growth.limit || truth.count + depth >= lengthMax - 1 {
      growth.tree.leaveUnexpanded(node)
    } else {
      sources.exchangeMemory(&growth.memory)
      growth.tree.expand(node, pending: pending, text: text, sources: &sources)
      sources.exchangeMemory(&growth.memory)
    }
    return true
  }

  /// The batch of the first `count` nodes of a tree.
  ///
  /// - Parameters:
  ///   - growth: the latest from ``beginGrowth(sources:limit:affordable:)``.
  ///   - count: nodes, the root included.
  ///   - price: what the drafts cost, in passes over one token.
  ///   - tokenValue: what a token is worth, see ``DraftPurse/settle(emitted:tokenValue:)``.
  /// - Returns: the batch.
  package mutating func endGrowth(
    _ growth: BatchGrowth, count: Int, price: Float, tokenValue: Float
  ) -> VerifyBatch {
    purse.spend(price)
    self.tokenValue = tokenValue
    var tree = growth.tree.tree
    tree.truncate(to: count)
    return VerifyBatch(
      tree: tree, rootPosition: truth.count - 1,
      expectedCount: growth.tree.pathProbabilities.prefix(count).reduce(0, +),
      candidates: growth.tree.candidates, joined: growth.tree.joined, ranges: growth.tree.ranges)
  }
}

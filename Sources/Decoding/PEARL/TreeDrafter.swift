package import InferenceTypes

/// A draft model's end of one generation, as a tree: the most probable paths grow first, whole
/// levels of them in one pass, and go on growing from what is left when truth arrives.
///
/// The children of a node are the tokens with the largest perturbed scores, which the target's own
/// noise orders; siblings exclude each other, so a path is as probable as the product of its
/// tokens. What was evaluated keeps its keys and values until the truth leaves it.
///
/// | a node is | when |
/// |---|---|
/// | waiting | its token is known and sent; the draft model has not seen it |
/// | in flight | the running pass evaluates it |
/// | evaluated | the cache holds it; its children are known |
///
/// A pass also evaluates tokens that the draft model will likely guess below its nodes: they become
/// nodes where it does.
///
/// Bad input: truth that contradicts itself is refused as malformed, missing truth is asked for, and
/// the answer of a pass to nodes that died meanwhile is ignored.
///
/// - SeeAlso: Xiong et al. 2024, arXiv:2410.11744 (DySpec), for growing by path probability; departs
///   from it in that the target's choice decides, and in choosing levels by what they cost.
package struct TreeDrafter: Sendable {
  struct Node: Sendable {
    var id: NodeID
    /// Index of the parent; -1 for the root, which is node 0.
    var parent: Int
    var token: TokenID
    var depth: Int
    /// Probability given the parent, and of the whole path below the root.
    var probability: Float
    var pathProbability: Float
    /// In the cache, in flight included; -1 while it waits.
    var row = -1
    /// `nil` until evaluated.
    var guesses: RankedGuesses?
  }

  /// Nodes below the known truth, at most.
  private static let sentMax = 1024

  package private(set) var truth: [TokenID]
  /// Largest depth below the known truth; 0 rests.
  package var window: Int
  /// What levels are sized by.
  package var costs: DraftCosts
  /// How good the guesses were.
  package private(set) var acceptance: DraftAcceptance
  let configuration: Configuration
  let sampling: DraftSampling
  private var chooser: TokenChooser
  private(set) var nodes: [Node]
  /// The node of each row of the cache, in flight included; -1 where it is dead or truth.
  private(set) var rows: [Int] = []
  /// Rows that are truth and not yet committed.
  private(set) var truthRows: [Int] = []
  /// Positions that the model's cache holds as truth.
  private(set) var committedCount = 0
  /// Rows before those of the running pass.
  private(set) var inFlight: Int?
  /// Of the running pass: rows whose nodes are not known yet, and what each row with logits is to
  /// teach the sources.
  private(set) var foreseen: [ForeseenRow] = []
  private var lessons: [RowLesson] = []
  private var lastID: UInt32 = 0
  private var scale = CouplingScale()
  private(set) var purse = DraftTimePurse()
  /// Time of the passes since the latest truth.
  private(set) var spent: Float = 0

  /// Nodes below the known truth.
  package var count: Int { nodes.count - 1 }
  /// Positions that the cache holds, or will once the rows that are truth are committed.
  var cachedCount: Int { committedCount + truthRows.count }

  /// - Throws: ``DecodingError`` as ``DrafterSession``, and for Mirostat, whose state belongs to a
  ///   chain.
  package init(_ configuration: Configuration) throws(DecodingError) {
    let session = configuration.session
    // The same requirements as a chain's, with the same words.
    truth = try DrafterSession(session).truth
    guard !session.sampling.usesMirostat else {
      throw .notPossible(choice: "mirostat", with: "draft trees")
    }
    try SamplingParameters.check("levelWidth", configuration.levelWidth, 1...64)
    try SamplingParameters.check("nodeMax", configuration.nodeMax, 1...64)
    chooser = try TokenChooser(
      parameters: session.sampling, vocabularyCount: session.vocabularyCount)
    self.configuration = configuration
    window = session.window
    acceptance = session.acceptance
    sampling = DraftSampling(session.sampling)
    costs = configuration.costs
    nodes = [Self.root(truth[truth.count - 1])]
  }

  private static func root(_ token: TokenID) -> Node {
    Node(id: .none, parent: -1, token: token, depth: 0, probability: 1, pathProbability: 1)
  }

  // MARK: truth

  /// Follows the truth: the subtree that agrees stays, with its keys and values.
  package mutating func receive(_ update: TruthUpdate) -> DrafterSession.Reception {
    guard update.fromPosition >= 0 else { return .malformed }
    guard update.fromPosition <= truth.count else { return .gap(truthCount: truth.count) }
    for (offset, token) in update.tokens.enumerated() {
      let position = update.fromPosition + offset
      guard token.rawValue < configuration.session.vocabularyCount,
        position >= truth.count || truth[position] == token
      else { return .malformed }
    }
    let known = truth.count - update.fromPosition
    guard update.tokens.count > known else { return .followed(keptCount: count) }
    var divergence: Int?
    var root = 0
    for token in update.tokens.dropFirst(known) {
      if divergence == nil {
        learn(token, at: root)
        let row = nodes[root].row
        if row >= 0 { truthRows.append(row) }
        if row >= 0, let next = child(of: root, token: token) ?? adoptForeseen(token, below: root) {
          root = next
        } else {
          divergence = truth.count
        }
      }
      truth.append(token)
    }
    keepSubtree(of: divergence == nil ? root : nil)
    spent = 0
    let matched = update.nodeIDs.dropFirst(known).filter { $0 != .none }.count
    // The last token of a step is the target's own.
    purse.settle(earned: min(matched, update.tokens.count - known - 1))
    guard let divergence else { return .followed(keptCount: count) }
    return .diverged(position: divergence)
  }

  /// The model's cache holds so many positions of the truth and no nodes any more; what was drafted
  /// is forgotten too.
  package mutating func restart(cachedCount: Int) {
    precondition((0..<truth.count).contains(cachedCount), "\(cachedCount) of \(truth.count) cached")
    nodes = [Self.root(truth[truth.count - 1])]
    rows = []
    truthRows = []
    committedCount = cachedCount
    endFlight()
  }

  private mutating func learn(_ token: TokenID, at node: Int) {
    guard let guesses = nodes[node].guesses else { return }
    scale.learn(guesses, truth: token)
    acceptance.learn(rank: guesses.tokens.firstIndex(of: token))
  }

  /// Makes a node the root; `nil` begins anew at the last truth token.
  private mutating func keepSubtree(of root: Int?) {
    var indices = [Int](repeating: -1, count: nodes.count)
    var kept: [Node] = []
    if let root {
      let scale = max(nodes[root].pathProbability, .leastNormalMagnitude)
      let depth = nodes[root].depth
      for index in root..<nodes.count {
        guard index == root || nodes[index].parent >= 0 && indices[nodes[index].parent] >= 0 else {
          continue
        }
        indices[index] = kept.count
        var node = nodes[index]
        node.parent = index == root ? -1 : indices[node.parent]
        node.depth -= depth
        node.pathProbability = index == root ? 1 : min(1, node.pathProbability / scale)
        kept.append(node)
      }
    } else {
      kept = [Self.root(truth[truth.count - 1])]
    }
    nodes = kept
    for row in rows.indices where rows[row] >= 0 { rows[row] = indices[rows[row]] }
  }

  // MARK: passes

  /// Says what the draft model computes next.
  ///
  /// - Parameters:
  ///   - limit: largest number of tokens, at least 1.
  ///   - sources: what the draft model said before, which tells what it will likely guess, so that
  ///     one pass evaluates several levels; without any it evaluates what is known.
  /// - Returns: the pass, or `nil` where it waits for truth: the tree is as large as it may be or as
  ///   is worth its time, the text or the context ends, or a pass is running.
  package mutating func nextForward(
    limit: Int, sources: inout LocalSources
  ) -> Forward? {
    precondition(limit >= 1, "limit \(limit)")
    let room = configuration.session.contextLength
    guard inFlight == nil, window > 0, truth.count < room, !isStop(nodes[0].token) else {
      return nil
    }
    var unread: [TokenID] = []
    var prospects = BinaryHeap<Prospect>()
    if nodes[0].row < 0 {
      let end = min(truth.count, cachedCount + limit)
      guard mayRead(to: end) else { return nil }
      unread = Array(truth[cachedCount..<end])
      guard end == truth.count else { return issue(unread, [], cost: readingCost(to: end)) }
      unread.removeLast()
      prospects.push(prospect(0))
    } else {
      for index in nodes.indices
      where nodes[index].row < 0 && mayEvaluate(nodes[index].token, depth: nodes[index].depth) {
        prospects.push(prospect(index))
      }
    }
    let evaluated = nodes.reduce(0) { $0 + ($1.row >= 0 ? 1 : 0) }
    let most = min(
      limit - unread.count, configuration.levelWidth, configuration.nodeMax - evaluated)
    var picks: [Prospect] = []
    while picks.count < most, let next = prospects.pop() {
      picks.append(next)
      foresee(below: picks.count - 1, of: &picks, into: &prospects, sources: &sources)
    }
    guard !picks.isEmpty else { return nil }
    let width = levelWidth(picks.map(\.pathProbability), unreadCount: unread.count)
    guard width > 0 else { return nil }
    let cost = passCost(width: width, unreadCount: unread.count)
    return issue(unread, Array(picks.prefix(width)), cost: cost)
  }

  /// The running pass was aborted, or failed: its tokens will come again.
  package mutating func abandonForward() {
    guard let first = inFlight else { return }
    endFlight()
    for row in first..<rows.count where rows[row] >= 0 { nodes[rows[row]].row = -1 }
    rows.removeSubrange(first...)
    truthRows.removeAll { $0 >= first }
  }

  /// Adds the guesses for the evaluated nodes to the tree.
  ///
  /// - Shape: `logits`: `[logitNodes.count, vocabulary]`; `top`: `[logitNodes.count, topCount]`, the
  ///   largest of each row, larger first, ties by token; more than the width for leaves beside the
  ///   choice. The sources learn from them.
  /// - Returns: nodes to send, none where all that was evaluated died meanwhile.
  package mutating func conclude(
    _ forward: Forward, logits: Span<Float>, top: Span<TokenLogit>, topCount: Int,
    sources: inout LocalSources
  ) -> DraftUpdate {
    guard let first = inFlight, rows.count == first + forward.tokens.count else {
      preconditionFailure("no such pass of \(forward.tokens.count) tokens")
    }
    let vocabulary = configuration.session.vocabularyCount
    precondition(
      logits.count == forward.logitNodes.count * vocabulary
        && top.count == forward.logitNodes.count * topCount,
      "\(logits.count) logits and \(top.count) entries for \(forward.logitNodes.count) rows")
    var update = DraftUpdate(anchor: truth.count, nodes: [])
    for (row, index) in forward.logitNodes.enumerated() {
      let node = revealedNode(first + index)
      let rowTop = top.extracting(row * topCount..<(row + 1) * topCount)
      sources.observe(context: lessons[row].context, top: rowTop)
      guard node >= 0 else { continue }
      expand(
        node, logits: logits.extracting(row * vocabulary..<(row + 1) * vocabulary),
        top: rowTop, into: &update)
      if let choice = nodes[node].guesses?.tokens[0] {
        sources.recycling?.learn(lessons[row].guesses[...], truth: choice)
      }
    }
    endFlight()
    return update
  }

  func isStop(_ token: TokenID) -> Bool {
    configuration.session.stopTokens.contains(token)
  }

  private func prospect(_ index: Int) -> Prospect {
    let node = nodes[index]
    return Prospect(
      pathProbability: node.pathProbability, sequence: index, node: index, token: node.token,
      depth: node.depth, context: context(of: index))
  }

  /// Begins a pass over truth and the picks below it.
  private mutating func issue(
    _ unread: [TokenID], _ picks: [Prospect], cost: Float
  ) -> Forward {
    spent += cost
    if !configuration.runsAhead { purse.spend(cost) }
    let committed = truthRows
    let kept = rows.indices.filter { rows[$0] >= 0 }
    committedCount += committed.count
    truthRows = []
    rows = kept.map { rows[$0] }
    for row in rows.indices { nodes[rows[row]].row = row }
    let first = rows.count
    inFlight = first
    var parents: [Int] = []
    for index in unread.indices {
      parents.append(index - 1)
      truthRows.append(index)
      rows.append(-1)
    }
    for pick in picks {
      let row = rows.count
      rows.append(-1)
      if pick.node >= 0 {
        let parent = nodes[pick.node].parent
        parents.append(parent < 0 ? unread.count - 1 : nodes[parent].row)
        place(pick.node, at: row)
      } else {
        let parentRow = first + unread.count + pick.parent
        parents.append(parentRow)
        foreseen.append(ForeseenRow(row: row, parentRow: parentRow, token: pick.token))
      }
      lessons.append(RowLesson(context: pick.context, guesses: pick.guesses))
    }
    let tokens = unread + picks.map(\.token)
    return Forward(
      committed: committed, kept: kept, tokens: tokens, parents: parents,
      logitNodes: Array(unread.count..<tokens.count))
  }

  private mutating func endFlight() {
    inFlight = nil
    foreseen = []
    lessons = []
  }

  /// A row of the cache holds this node.
  mutating func place(_ node: Int, at row: Int) {
    nodes[node].row = row
    rows[row] = node
  }

  /// Adds a node that is truth, and never sent.
  mutating func add(_ token: TokenID, below parent: Int) -> Int {
    nodes.append(
      Node(
        id: .none, parent: parent, token: token, depth: nodes[parent].depth + 1, probability: 1,
        pathProbability: nodes[parent].pathProbability))
    return nodes.count - 1
  }

  private mutating func expand(
    _ node: Int, logits: Span<Float>, top: Span<TokenLogit>, into update: inout DraftUpdate
  ) {
    let position = truth.count + nodes[node].depth
    let recent = recentTokens(below: node)
    let choice = chooser.choose(
      logits: logits, top: top, recent: recent.span, position: position)
    let guesses = sampling.rank(
      top, choice: TokenLogit(token: choice, logit: logits[Int(choice.rawValue)]),
      position: position, keptCount: configuration.session.sampling.topK)
    let probabilities = scale.probabilities(guesses.scores)
    nodes[node].guesses = guesses
    guard nodes[node].depth < window, position < configuration.session.contextLength else {
      return
    }
    for rank in 0..<min(configuration.session.width, guesses.tokens.count) {
      let probability = Float(min(0.98, max(0.001, probabilities[rank])))
      let path = nodes[node].pathProbability * probability
      guard rank == 0 || path >= configuration.sendFloor, lastID < .max, count < Self.sentMax else {
        return
      }
      lastID += 1
      let id = NodeID(rawValue: lastID)
      update.nodes.append(
        DraftNode(
          id: id, parent: node == 0 ? .none : nodes[node].id, token: guesses.tokens[rank],
          score: min(0, Float(ExactMath.log(Double(probability))))))
      nodes.append(
        Node(
          id: id, parent: node, token: guesses.tokens[rank], depth: nodes[node].depth + 1,
          probability: probability, pathProbability: path))
    }
  }

  /// What the penalties read where the children of a node are chosen.
  private func recentTokens(below node: Int) -> [TokenID] {
    guard chooser.historyLength > 0 else { return [] }
    var path: [TokenID] = []
    var index = node
    while index > 0 {
      path.append(nodes[index].token)
      index = nodes[index].parent
    }
    path.reverse()
    return Array((truth.suffix(chooser.historyLength) + path).suffix(chooser.historyLength))
  }

  func child(of parent: Int, token: TokenID) -> Int? {
    nodes.indices.first { nodes[$0].parent == parent && nodes[$0].token == token }
  }
}

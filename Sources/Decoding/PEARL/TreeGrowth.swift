import InferenceTypes

/// A guess that waits to become a node of a growing tree.
struct GrowthCandidate: HeapElement, Sendable {
  /// Estimated probability of the whole path down to this guess.
  var pathProbability: Float
  /// Order of arrival, which breaks ties.
  var sequence: Int
  var parent: Int
  var guess: JoinedCandidate

  static func comesFirst(_ left: GrowthCandidate, _ right: GrowthCandidate) -> Bool {
    if left.pathProbability != right.pathProbability {
      return left.pathProbability > right.pathProbability
    }
    return left.sequence < right.sequence
  }
}

/// Grows one tree from the guesses of all sources, most probable path first.
///
/// - SeeAlso: Xiong et al. 2024, arXiv:2410.11744; departs from it in that siblings exclude each
///   other, which holds where the target's own choice decides.
struct TreeGrowth: Sendable {
  private(set) var tree: TokenTree
  /// Estimated probability that the path to each node is right.
  private(set) var pathProbabilities: [Float] = [1]
  private(set) var pendingNodes: [Int] = [0]
  private(set) var candidates: [DraftCandidate] = []
  private(set) var joined: [JoinedCandidate] = []
  private(set) var ranges: [(candidates: Range<Int>, joined: Range<Int>)] = []
  /// Whose guesses count.
  private let origins: Set<DraftOrigin>
  private var places: [DraftPlace]
  private var heap = BinaryHeap<GrowthCandidate>()
  private var sequence = 0
  private var scratch: [JoinedCandidate] = []

  init(
    root: TokenID, place: DraftPlace, origins: Set<DraftOrigin> = Set(DraftOrigin.allCases)
  ) {
    self.origins = origins
    tree = TokenTree(root: root)
    places = [place]
  }

  /// The guess to take next.
  var next: GrowthCandidate? { heap.first }

  /// Where the children of a node are guessed.
  func place(of node: Int) -> DraftPlace { places[node] }

  /// Adds the best guess to the tree.
  ///
  /// - Returns: the index of the new node.
  mutating func takeNext() -> Int? {
    guard let candidate = heap.pop() else { return nil }
    let guess = candidate.guess
    let node = tree.add(
      guess.token, below: candidate.parent,
      score: Float(ExactMath.log(Double(guess.probability))), origin: guess.origin)
    var place = places[candidate.parent]
    place.context.append(guess.token)
    place.position += 1
    place.searchNode = guess.searchNode
    places.append(place)
    pathProbabilities.append(candidate.pathProbability)
    pendingNodes.append(guess.pendingNode)
    return node
  }

  /// Leaves the best guess out.
  mutating func dropNext() { _ = heap.pop() }

  /// Collects the guesses for the token after a node. Nodes are expanded in the order of their
  /// indices, none left out.
  ///
  /// - Parameters:
  ///   - node: the node to expand.
  ///   - pending: drafts that the session holds.
  ///   - text: of the session down to the root, where it is indexed.
  ///   - sources: the local sources to ask.
  mutating func expand(
    _ node: Int, pending: PendingTree?, text: SessionText? = nil, sources: inout LocalSources
  ) {
    precondition(node == ranges.count, "node \(node) expanded after \(ranges.count)")
    let start = candidates.count
    if let pending, pendingNodes[node] >= 0 {
      pending.propose(at: pendingNodes[node], into: &candidates)
    }
    sources.propose(
      at: places[node], path: path(to: node), text: text, start: start, origins: origins,
      candidates: &candidates, joined: &scratch)
    let joinedStart = joined.count
    joined.append(contentsOf: scratch)
    ranges.append((start..<candidates.count, joinedStart..<joined.count))
    for guess in scratch {
      sequence += 1
      heap.push(
        GrowthCandidate(
          pathProbability: pathProbabilities[node] * guess.probability, sequence: sequence,
          parent: node, guess: guess))
    }
  }

  /// The tokens from below the root down to a node, its own last.
  private func path(to node: Int) -> [TokenID] {
    var path: [TokenID] = []
    var index = node
    while index > 0 {
      path.append(tree.tokens[index])
      index = tree.parents[index]
    }
    path.reverse()
    return path
  }

  /// Leaves a node without guesses of its own.
  mutating func leaveUnexpanded(_ node: Int) {
    precondition(node == ranges.count, "node \(node) left after \(ranges.count)")
    ranges.append((candidates.count..<candidates.count, joined.count..<joined.count))
  }
}

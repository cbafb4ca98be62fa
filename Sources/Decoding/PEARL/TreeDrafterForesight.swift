import InferenceTypes

// A pass of a draft model reads all its weights, for one token or for eight. What it will guess is
// itself guessed from what it said before, so that one pass evaluates several levels: where the draft
// model then guesses the same token, the level below is there already; where it does not, a row of
// the pass was for nothing. The draft model still decides every guess that is sent.
//
// See Chen et al. 2024, arXiv:2312.11462 (cascade speculative drafting: a statistical model drafts
// for the draft model); departs from it in that guesses and nodes of a tree compete for the rows of
// a pass by the probability of their paths.

/// A node that the next pass may evaluate: one of the tree, or what the draft model will likely
/// guess below another one.
struct Prospect: HeapElement, Sendable {
  var pathProbability: Float
  /// Order of arrival, which breaks ties.
  var sequence: Int
  /// Node of the tree; -1 where the draft model has not guessed it yet.
  var node = -1
  /// The pick below which it is foreseen; -1 for nodes of the tree.
  var parent = -1
  var token: TokenID
  var depth: Int
  /// The text down to this token, its own included.
  var context: TokenContext
  /// What is foreseen below it.
  var guesses: [DraftCandidate] = []

  static func comesFirst(_ left: Prospect, _ right: Prospect) -> Bool {
    if left.pathProbability != right.pathProbability {
      return left.pathProbability > right.pathProbability
    }
    return left.sequence < right.sequence
  }
}

/// A row of the running pass whose token was foreseen below another row.
struct ForeseenRow: Sendable {
  var row: Int
  var parentRow: Int
  var token: TokenID
}

/// What the sources learn from a row of the running pass: where it stands, and what they foresaw
/// there.
struct RowLesson: Sendable {
  var context: TokenContext
  var guesses: [DraftCandidate]
}

extension TreeDrafter {
  /// Whether a token at this depth below the root is worth its children.
  func mayEvaluate(_ token: TokenID, depth: Int) -> Bool {
    depth < window && truth.count + depth < configuration.session.contextLength && !isStop(token)
  }

  /// The last tokens of the text down to a node.
  func context(of node: Int) -> TokenContext {
    var path: [TokenID] = []
    var index = node
    while index > 0, path.count < TokenContext.length {
      path.append(nodes[index].token)
      index = nodes[index].parent
    }
    var context = TokenContext(endOf: truth)
    for token in path.reversed() { context.append(token) }
    return context
  }

  /// Adds what the draft model will likely guess below a pick.
  func foresee(
    below pick: Int, of picks: inout [Prospect], into prospects: inout BinaryHeap<Prospect>,
    sources: inout LocalSources
  ) {
    let depth = picks[pick].depth
    let place = DraftPlace(
      context: picks[pick].context, position: truth.count + depth, sampling: sampling)
    sources.recycling?.propose(at: place, into: &picks[pick].guesses)
    for (rank, guess) in picks[pick].guesses.enumerated()
    where mayEvaluate(guess.token, depth: depth + 1) {
      let path = picks[pick].pathProbability * guess.estimate
      guard path >= Self.growthFloor else { continue }
      prospects.push(
        Prospect(
          pathProbability: path, sequence: nodes.count + (pick << 8) + rank, parent: pick,
          token: guess.token, depth: depth + 1,
          context: picks[pick].context.appending(guess.token)))
    }
  }

  /// The node of a row of the running pass, also where the draft model has only now guessed its
  /// token; -1 where there is none.
  mutating func revealedNode(_ row: Int) -> Int {
    guard rows[row] < 0, let known = foreseen.first(where: { $0.row == row }) else {
      return rows[row]
    }
    let parent = rows[known.parentRow]
    guard parent >= 0, let child = child(of: parent, token: known.token) else { return -1 }
    place(child, at: row)
    return child
  }

  /// A node for truth that the draft model has not guessed, but the running pass evaluates.
  mutating func adoptForeseen(_ token: TokenID, below parent: Int) -> Int? {
    let parentRow = nodes[parent].row
    guard let known = foreseen.first(where: { $0.parentRow == parentRow && $0.token == token })
    else { return nil }
    let node = add(token, below: parent)
    place(node, at: known.row)
    return node
  }
}

package import InferenceTypes

/// SuffixDecoding: continues the text as it, or an earlier answer, went on after the same words,
/// the more often the surer.
///
/// The text of the session has a trie of its own; one more, common to all sessions of a model, holds
/// the answers that were finished, the oldest of which make room. Every length of match is tried,
/// and the tree that promises most tokens counts, the session's own where both promise the same.
///
/// Memory: ``byteMax`` for the answers of all sessions, see ``SuffixTrie``; for a session about 150
/// bytes for each token of ordinary text.
///
/// - SeeAlso: Oliaro et al. 2024, arXiv:2411.04975. Departs from it in the depth (32 instead of 64),
///   in matches of at most 16 tokens in earlier answers, in the bound, which is of bytes and not of
///   requests, and in that the promises are corrected by experience.
package struct SuffixSource: PlannedSource {
  package static var origin: DraftOrigin { .suffix }
  package static let byteMaxDefault = 16 << 20
  static let depthMax = 32
  /// Tokens of the shortest answer that says what follows what.
  static let lengthMin = 2
  private static let matchMax = 16
  private static let tokenMax = 24
  private static let minimumProbability: Float = 0.1

  /// Bytes of the answers of all sessions together.
  let byteMax: Int
  package private(set) var answers = SuffixTrie(depthMax: depthMax)

  package init(byteMax: Int = byteMaxDefault) { self.byteMax = byteMax }

  /// Takes a finished answer in; the oldest ones leave until there is room.
  package mutating func remember(_ answer: ArraySlice<TokenID>) {
    guard answer.count >= Self.lengthMin else { return }
    answers.beginText()
    for token in answer { answers.append(token.rawValue) }
    while answers.byteCount > byteMax, answers.textCount > 0 { answers.dropOldest() }
  }

  package mutating func plan(after text: inout SessionText, into draft: inout PlannedDraft) {
    let own = text.updatedSuffixes(depthMax: Self.depthMax)
    var best = Speculation()
    for (length, point) in own.growingSuffixes {
      Self.speculate(in: own, at: point, matchLength: length, isOwn: true, &best)
    }
    if answers.textCount > 0 {
      for length in 1...Self.matchMax where length <= text.count {
        guard let point = answers.find(text.slice(text.count - length..<text.count)) else { break }
        Self.speculate(in: answers, at: point, matchLength: length, isOwn: false, &best)
      }
    }
    let level = matchLevel(best.matchLength)
    var indices: [Int] = []
    for node in best.nodes {
      let parent = node.parent < 0 ? 0 : indices[node.parent]
      indices.append(
        draft.add(node.token, below: parent, claimed: node.share, level: level))
    }
  }

  /// A tree with the number of tokens that it promises.
  private struct Speculation {
    var score: Float = 0
    var matchLength = 0
    var isOwn = true
    var nodes: [(token: UInt32, parent: Int, share: Float)] = []
  }

  private struct Guess: HeapElement {
    var probability: Float
    var sequence: Int
    var token: UInt32
    var parent: Int
    var share: Float
    var point: SuffixPoint

    static func comesFirst(_ left: Guess, _ right: Guess) -> Bool {
      left.probability != right.probability
        ? left.probability > right.probability : left.sequence < right.sequence
    }
  }

  /// Grows the tree below one match, most probable path first, and keeps it where it promises more
  /// than `best`, or as much from a longer match.
  private static func speculate(
    in trie: SuffixTrie, at root: SuffixPoint, matchLength: Int, isOwn: Bool,
    _ best: inout Speculation
  ) {
    let limit = min(tokenMax, matchLength)
    var found = Speculation(score: 0, matchLength: matchLength, isOwn: isOwn)
    var heap = BinaryHeap<Guess>()
    var sequence = 0
    func push(_ point: SuffixPoint, parent: Int, probability: Float) {
      let total = Float(trie.count(at: point))
      for (token, next) in trie.continuations(of: point, limit: 10) {
        let share = Float(trie.count(at: next)) / total
        guard probability * share >= minimumProbability else { break }
        sequence += 1
        heap.push(
          Guess(
            probability: probability * share, sequence: sequence, token: token, parent: parent,
            share: share, point: next))
      }
    }
    push(root, parent: -1, probability: 1)
    while found.nodes.count < limit, let guess = heap.pop() {
      found.nodes.append((guess.token, guess.parent, guess.share))
      found.score += guess.probability
      push(guess.point, parent: found.nodes.count - 1, probability: guess.probability)
    }
    guard !found.nodes.isEmpty else { return }
    let isBetter =
      found.score > best.score
      || (found.score == best.score && (isOwn == best.isOwn) && matchLength > best.matchLength)
    if isBetter { best = found }
  }
}

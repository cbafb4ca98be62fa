/// Divides one forward pass of the target among its sessions.
///
/// Every session has the root of its tree in the pass, which brings one token for sure. Guesses of
/// all sessions enter by the probability of their paths, the most probable first, and the pass ends
/// where it brings the most tokens per unit of time:
///
///     goodput(S) = Σ_{n ∈ S} P(path to n is right) / t(|S|, context)
///
/// A guess costs what it adds to this pass. So trees shrink where many sessions share it, grow
/// where tokens are nearly free, and end where a session's ``DraftPurse`` is empty, whatever its
/// drafts promise. Prompt tokens in the same pass are worth the time they take at its rate without
/// drafts: they change what a guess adds, not what the others are worth.
///
/// The owner of the sessions asks ``next()`` whose best guess enters, adds it to that session's
/// tree and reports with ``enter(_:best:)`` what the session would offer then.
///
/// - SeeAlso: Liu et al. 2024, arXiv:2406.14066 (goodput); the heap over sessions is that of
///   arXiv:2502.15197, with the session's own estimates.
package struct StepPlanner: Sendable {
  /// Drafts must promise this share of a token more than decoding without: planning and learning
  /// take time of their own, and a wrong promise must not make a text slower.
  private static let draftOverhead: Float = 0.02
  /// How much longer than without a prompt a pass may take where others are waiting for tokens.
  private static let stallMax: Float = 3
  /// Fewest tokens of a prompt in a pass.
  private static let prefillMin = 16
  /// Most tokens of prompts in a pass: enough to share the weights, few enough that messages do not
  /// wait long.
  package static let prefillMax = 64

  private struct Session {
    /// Positions that each of its nodes attends to.
    var context: Int
    /// What its drafts may cost, in passes over one of its tokens.
    var balance: Float
    var spent: Float = 0
    var limit: Int
    var count = 1
    /// Path probability of its best guess.
    var best: Float?
  }

  private struct Offer: HeapElement {
    var probability: Float
    var session: Int

    static func comesFirst(_ left: Offer, _ right: Offer) -> Bool {
      (right.probability, left.session) < (left.probability, right.session)
    }
  }

  private let costs: VerifyCosts
  private let sessionCount: Int
  private let prefillCount: Int
  /// Most nodes of all sessions together.
  private let limit: Int
  private var sessions: [Session] = []
  private var heap = BinaryHeap<Offer>()
  private var contextSum = 0
  private var contextMin = Int.max
  /// Most nodes that all purses together could pay.
  private var reach: Int
  private var count: Int
  /// The session of every guess that entered, and the expected tokens and positions before.
  private var entered: [Int] = []
  private var expected: Float
  private var bestRate: Float = 0
  private var bestCount = 0
  private var bestExpected: Float
  private var bestContextSum = 0
  private var isGrowing = false

  /// - Parameters:
  ///   - costs: time of a pass by its size.
  ///   - sessionCount: sessions that will be added, at least one.
  ///   - limit: most nodes of all sessions together, at least one for each.
  ///   - prefillCount: tokens of prompts in the same pass.
  package init(costs: VerifyCosts, sessionCount: Int, limit: Int, prefillCount: Int = 0) {
    precondition(sessionCount >= 1 && limit >= sessionCount, "\(limit) for \(sessionCount)")
    precondition(prefillCount >= 0, "\(prefillCount) tokens of prompts")
    self.costs = costs
    self.sessionCount = sessionCount
    self.prefillCount = prefillCount
    self.limit = limit
    reach = sessionCount
    count = sessionCount
    expected = Float(sessionCount)
    bestExpected = Float(sessionCount)
  }

  /// How many tokens of each of several prompts fit into a pass beside so many sessions that decode.
  ///
  /// The first ones come first; together they make the pass at most ``stallMax`` times as long.
  ///
  /// - Parameters:
  ///   - missing: tokens that each prompt lacks, the oldest session's first.
  ///   - decodingCount: sessions that wait for their next tokens.
  ///   - room: most tokens of prompts that the pass has room for.
  ///   - costs: time of a pass by its size.
  /// - Returns: one count for each prompt; some are 0.
  package static func prefillShares(
    missing: [Int], decodingCount: Int, room: Int, costs: VerifyCosts
  ) -> [Int] {
    var budget = prefillMax
    if decodingCount > 0 {
      let longest = costs.cost(decodingCount) * stallMax
      while budget > prefillMin, costs.cost(decodingCount + budget) > longest { budget -= 1 }
    }
    budget = min(budget, room)
    var shares = [Int](repeating: 0, count: missing.count)
    guard !missing.isEmpty else { return shares }
    let share = max(prefillMin, budget / missing.count)
    for index in missing.indices {
      shares[index] = min(missing[index], share, budget)
      budget -= shares[index]
    }
    // What short prompts leave goes to the oldest long one.
    for index in missing.indices where budget > 0 {
      let more = min(missing[index] - shares[index], budget)
      shares[index] += more
      budget -= more
    }
    return shares
  }

  /// The largest tree, its root included, that a session could pay if no other had drafts.
  package func affordable(balance: Float, context: Int, limit: Int) -> Int {
    let most = min(limit, self.limit - sessionCount + 1)
    let unit = costs.cost(1, attending: context)
    let base = costs.cost(prefillCount + sessionCount)
    var count = 1
    while count < most {
      let added =
        costs.cost(prefillCount + sessionCount + count) - base
        + costs.attention * Float(count * context)
      guard added <= balance * unit else { break }
      count += 1
    }
    return count
  }

  /// Adds a session; the first is number 0. Where probabilities are equal, earlier ones come first.
  ///
  /// - Parameters:
  ///   - context: positions that its nodes attend to.
  ///   - balance: ``DraftPurse/balance``.
  ///   - limit: most nodes of its tree.
  ///   - best: path probability of its best guess; `nil` without any.
  package mutating func add(context: Int, balance: Float, limit: Int, best: Float?) {
    precondition(sessions.count < sessionCount, "more than \(sessionCount) sessions")
    reach += affordable(balance: balance, context: context, limit: limit) - 1
    contextSum += context
    contextMin = min(contextMin, context)
    sessions.append(Session(context: context, balance: balance, limit: limit, best: best))
    offer(sessions.count - 1)
  }

  /// The session whose best guess enters next; `nil` where the step is planned.
  package mutating func next() -> Int? {
    beginGrowing()
    while count < limit, let offer = heap.first {
      let session = sessions[offer.session]
      guard session.count < session.limit, session.spent + price(offer.session) <= session.balance
      else {
        _ = heap.pop()
        continue
      }
      return pays(offer.probability) ? offer.session : nil
    }
    return nil
  }

  /// The best guess of the session that ``next()`` named is in its tree now.
  package mutating func enter(_ index: Int, best: Float?) {
    guard let offer = heap.pop(), offer.session == index else {
      preconditionFailure("session \(index) was not next")
    }
    sessions[index].spent += price(index)
    sessions[index].count += 1
    sessions[index].best = best
    count += 1
    contextSum += sessions[index].context
    expected += offer.probability
    entered.append(index)
    self.offer(index)
    let rate = expected / time(count, contextSum)
    guard rate > bestRate else { return }
    bestRate = rate
    bestCount = entered.count
    bestExpected = expected
    bestContextSum = contextSum
  }

  /// The best guess of the session that ``next()`` named is of no use.
  package mutating func skip(_ index: Int, best: Float?) {
    guard let offer = heap.pop(), offer.session == index else {
      preconditionFailure("session \(index) was not next")
    }
    sessions[index].best = best
    self.offer(index)
  }

  /// What was planned.
  package struct Plan: Sendable, Equatable {
    /// Nodes of each session's tree, its root included: the first ones that entered.
    package var counts: [Int]
    /// What the drafts of each session cost, in passes over one of its tokens.
    package var prices: [Float]
    /// What a token of each session is worth at the rate without drafts, in the same unit.
    package var tokenValues: [Float]
    /// Tokens that the step is expected to bring.
    package var expectedCount: Float
    /// Nodes and prompt tokens.
    package var rowCount: Int
    /// Positions that all nodes together attend to.
    package var positionCount: Int
  }

  /// The best step among those that were tried.
  package mutating func plan() -> Plan {
    beginGrowing()
    var counts = [Int](repeating: 1, count: sessionCount)
    var prices = [Float](repeating: 0, count: sessionCount)
    for (order, index) in entered.prefix(bestCount).enumerated() {
      counts[index] += 1
      prices[index] += price(index, before: sessionCount + order)
    }
    let share = time(sessionCount, plainContextSum) / Float(sessionCount)
    return Plan(
      counts: counts, prices: prices,
      tokenValues: sessions.map { min(1, share / costs.cost(1, attending: $0.context)) },
      expectedCount: bestExpected, rowCount: prefillCount + sessionCount + bestCount,
      positionCount: bestContextSum)
  }

  private var plainContextSum: Int { sessions.reduce(0) { $0 + $1.context } }

  private mutating func beginGrowing() {
    guard !isGrowing else { return }
    precondition(sessions.count == sessionCount, "\(sessions.count) of \(sessionCount) sessions")
    isGrowing = true
    bestContextSum = contextSum
    let preference = 1 + Self.draftOverhead / Float(sessionCount)
    bestRate = preference * Float(sessionCount) / time(sessionCount, contextSum)
  }

  private mutating func offer(_ index: Int) {
    guard let best = sessions[index].best else { return }
    heap.push(Offer(probability: best, session: index))
  }

  /// Time of `count` nodes beyond what the prompts in the pass take.
  private func time(_ count: Int, _ contextSum: Int) -> Float {
    let beside = costs.cost(prefillCount + sessionCount) - costs.cost(sessionCount)
    return costs.cost(prefillCount + count) - beside + costs.attention * Float(contextSum)
  }

  /// What one more node of a session adds, in passes over one of its tokens.
  private func price(_ index: Int) -> Float { price(index, before: count) }

  private func price(_ index: Int, before count: Int) -> Float {
    let context = sessions[index].context
    let added =
      costs.cost(prefillCount + count + 1) - costs.cost(prefillCount + count)
      + costs.attention * Float(context)
    return added / costs.cost(1, attending: context)
  }

  /// Whether guesses that are as probable as this one could improve the step, if enough came.
  private func pays(_ probability: Float) -> Bool {
    let last = min(limit, max(reach, count + 1))
    var size = count + 1
    while size <= last {
      let added = size - count
      let most = expected + probability * Float(added)
      if most > bestRate * time(size, contextSum + added * contextMin) { return true }
      size += 1
    }
    return false
  }
}

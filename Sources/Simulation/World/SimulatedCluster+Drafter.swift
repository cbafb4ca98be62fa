import Decoding
import InferenceTypes

/// A drafter: sessions of one draft model.
struct DrafterNode: Sendable {
  struct Entry: Sendable {
    let id: SessionID
    let verifier: Int
    var sampling: SamplingParameters?
    var promptCount = 0
    var truth: [TokenID] = []
    var truthHash: UInt64
    var machine: DrafterSession?
    var pacer: DraftPacer
    /// Makes the target's choice for the toy model.
    var chooser: TokenChooser?
    /// `[i]`: hash of the first i tokens, which stands for their keys and values.
    var hashes: [UInt64] = []
    var attachAt: SimulationTime?
    var refusalCount = 0
    var hasWork = false
    var garbageID: UInt32 = 0
  }

  var entries: [Entry] = []
  /// The pass that runs.
  var job: (id: SessionID, forward: DrafterSession.Forward)?
  var turn = 0

  mutating func conclude(
    _ index: Int, _ forward: DrafterSession.Forward, scratch: borrowing ToyScratch
  ) -> DraftUpdate? {
    entries[index].machine?.conclude(
      forward, logits: scratch.logits.span, top: scratch.top.span)
  }

  func index(of id: SessionID) -> Int? { entries.firstIndex { $0.id == id } }
}

/// Drafters.
extension SimulatedCluster {
  static let refusalMax = 20
  static let attachRetry: SimulationTime = 100_000_000
  static let draftChunk = 64

  func drafterIndex(_ node: Int) -> Int { node - 1 - scenario.verifierCount }

  mutating func assign(_ id: SessionID, verifier: Int, to node: Int) {
    let d = drafterIndex(node)
    if let old = drafters[d].index(of: id) { removeDraft(old, at: node) }
    guard drafters[d].entries.count < scenario.drafterSlots else {
      return sendToRouter(
        .failed(peer: 0, session: id, isRetryable: true, message: "all slots are in use"),
        from: node)
    }
    drafters[d].entries.append(
      DrafterNode.Entry(
        id: id, verifier: verifier, truthHash: scenario.target.emptyHash,
        pacer: DraftPacer(pipeline: scenario.pipeline, draftLength: scenario.draftLength)))
    ensureDataConnection(drafter: node, verifier: verifier)
  }

  mutating func endDraft(_ id: SessionID, at node: Int) {
    if let index = drafters[drafterIndex(node)].index(of: id) { removeDraft(index, at: node) }
    advanceDrafter(node)
  }

  mutating func resetDrafter(_ node: Int) {
    let d = drafterIndex(node)
    while !drafters[d].entries.isEmpty {
      removeDraft(drafters[d].entries.count - 1, at: node)
    }
  }

  private mutating func removeDraft(_ index: Int, at node: Int) {
    let d = drafterIndex(node)
    let entry = drafters[d].entries.remove(at: index)
    if drafters[d].job?.id == entry.id { giveUpPass(node) }
    guard let connection = dataConnection(drafter: node, verifier: entry.verifier) else { return }
    send(.endDraft(entry.id), over: connection, from: node)
  }

  mutating func drafterLinked(_ node: Int, verifier: Int) {
    let d = drafterIndex(node)
    for index in drafters[d].entries.indices where drafters[d].entries[index].verifier == verifier {
      // One that is attached already has sent and received over this connection.
      if drafters[d].entries[index].sampling == nil { attach(index, at: node) }
    }
  }

  mutating func drafterUnlinked(_ node: Int, verifier: Int) {
    let d = drafterIndex(node)
    for index in drafters[d].entries.indices where drafters[d].entries[index].verifier == verifier {
      drafters[d].entries[index].sampling = nil
      drafters[d].entries[index].hasWork = false
    }
  }

  private mutating func attach(_ index: Int, at node: Int) {
    let d = drafterIndex(node)
    drafters[d].entries[index].attachAt = nil
    let entry = drafters[d].entries[index]
    guard let connection = dataConnection(drafter: node, verifier: entry.verifier) else { return }
    send(
      .attach(
        entry.id, epoch: processes[node].epoch, truthCount: entry.truth.count,
        truthHash: entry.truthHash), over: connection, from: node)
  }

  mutating func drafterRefused(_ node: Int, _ id: SessionID) {
    let d = drafterIndex(node)
    guard let index = drafters[d].index(of: id) else { return }
    drafters[d].entries[index].refusalCount += 1
    guard drafters[d].entries[index].refusalCount < Self.refusalMax else {
      return removeDraft(index, at: node)
    }
    drafters[d].entries[index].attachAt = now + Self.attachRetry
    queue.push(
      .wakeUp(node: node, epoch: processes[node].epoch), at: now + Self.attachRetry)
  }

  mutating func wakeDrafter(_ node: Int) {
    let d = drafterIndex(node)
    for index in drafters[d].entries.indices {
      if let at = drafters[d].entries[index].attachAt, at <= now { attach(index, at: node) }
    }
  }

  mutating func drafterAttached(
    _ node: Int, _ id: SessionID, sampling: SamplingParameters, promptCount: Int, truthCount: Int
  ) {
    let d = drafterIndex(node)
    guard let index = drafters[d].index(of: id),
      truthCount <= drafters[d].entries[index].truth.count
    else { return }
    drafters[d].entries[index].sampling = sampling
    drafters[d].entries[index].promptCount = promptCount
    if truthCount < drafters[d].entries[index].truth.count {
      drafters[d].entries[index].truth = []
      drafters[d].entries[index].truthHash = scenario.target.emptyHash
    }
    if drafters[d].job?.id == id { giveUpPass(node) }
    drafters[d].entries[index].machine = nil
    drafters[d].entries[index].refusalCount = 0
    startDrafting(index, at: node)
    advanceDrafter(node)
  }

  mutating func drafterHears(
    _ node: Int, _ id: SessionID, _ update: TruthUpdate, isFinished: Bool
  ) {
    let d = drafterIndex(node)
    guard let index = drafters[d].index(of: id), drafters[d].entries[index].sampling != nil else {
      return
    }
    if isFinished {
      removeDraft(index, at: node)
      return advanceDrafter(node)
    }
    let known = drafters[d].entries[index].truth.count
    guard update.fromPosition == known else {
      // Something was lost on the way.
      if update.fromPosition > known { attach(index, at: node) }
      return
    }
    drafters[d].entries[index].truth += update.tokens
    for token in update.tokens {
      drafters[d].entries[index].truthHash = scenario.target.extend(
        drafters[d].entries[index].truthHash, by: token)
    }
    if scenario.hostileNodes.contains(node) { return sendGarbage(index, at: node) }
    guard drafters[d].entries[index].machine != nil else {
      startDrafting(index, at: node)
      return advanceDrafter(node)
    }
    switch drafters[d].entries[index].machine?.receive(update) {
    case .diverged: if drafters[d].job?.id == id { giveUpPass(node) }
    case .malformed, .gap: violations.append("\(processes[node].name) cannot follow its verifier")
    case .followed, nil: break
    }
    beginRound(index, at: node)
    advanceDrafter(node)
  }

  private mutating func startDrafting(_ index: Int, at node: Int) {
    let d = drafterIndex(node)
    let entry = drafters[d].entries[index]
    guard let sampling = entry.sampling, entry.machine == nil, !entry.truth.isEmpty,
      entry.truth.count >= entry.promptCount, !scenario.hostileNodes.contains(node)
    else { return }
    var configuration = DrafterSession.Configuration(
      truth: entry.truth, sampling: sampling, contextLength: Self.contextLength,
      vocabularyCount: scenario.target.vocabularyCount)
    configuration.stopTokens = scenario.requests[Int(entry.id.rawValue)].endTokens
    configuration.window = min(1024, entry.pacer.window ?? scenario.streamWindow)
    configuration.width = max(1, min(16, scenario.hitRates.count))
    do {
      drafters[d].entries[index].machine = try DrafterSession(configuration)
      drafters[d].entries[index].chooser = try TokenChooser(
        parameters: sampling, vocabularyCount: scenario.target.vocabularyCount)
      drafters[d].entries[index].hashes = [scenario.target.emptyHash]
    } catch {
      violations.append("\(processes[node].name) cannot draft: \(error)")
    }
    beginRound(index, at: node)
  }

  private mutating func beginRound(_ index: Int, at node: Int) {
    let d = drafterIndex(node)
    drafters[d].entries[index].hasWork = true
    let count = drafters[d].entries[index].truth.count
    if let opening = drafters[d].entries[index].pacer.begin(truthCount: count) {
      sendNodes(opening, index, at: node)
    }
  }

  private mutating func giveUpPass(_ node: Int) {
    let d = drafterIndex(node)
    if let job = drafters[d].job, let index = drafters[d].index(of: job.id) {
      drafters[d].entries[index].machine?.abandonForward()
    }
    drafters[d].job = nil
    endComputing(node)
  }

  /// Begins the next pass of the draft model.
  mutating func advanceDrafter(_ node: Int) {
    let d = drafterIndex(node)
    let count = drafters[d].entries.count
    guard !processes[node].isBusy, count > 0 else { return }
    for offset in 1...count {
      let index = (drafters[d].turn + offset) % count
      guard drafters[d].entries[index].hasWork, drafters[d].entries[index].pacer.mayDraft else {
        continue
      }
      guard let forward = drafters[d].entries[index].machine?.nextForward(limit: Self.draftChunk)
      else {
        drafters[d].entries[index].hasWork = false
        if let rest = drafters[d].entries[index].pacer.close() { sendNodes(rest, index, at: node) }
        continue
      }
      drafters[d].turn = index
      drafters[d].job = (drafters[d].entries[index].id, forward)
      let reading = scenario.times.draftPromptToken * (forward.tokens.count - 1)
      let writing = forward.needsLogits ? scenario.times.draft : scenario.times.draftPromptToken
      return compute(node, for: (reading + writing).simulated)
    }
  }

  mutating func drafterComputed(_ node: Int) {
    let d = drafterIndex(node)
    if let (id, forward) = drafters[d].job, let index = drafters[d].index(of: id) {
      finish(forward, index, at: node)
    }
    drafters[d].job = nil
    advanceDrafter(node)
  }

  private mutating func finish(
    _ forward: DrafterSession.Forward, _ index: Int, at node: Int
  ) {
    let d = drafterIndex(node)
    let kept = forward.firstPosition + 1
    drafters[d].entries[index].hashes.removeSubrange(kept...)
    var hash = drafters[d].entries[index].hashes[kept - 1]
    for token in forward.tokens {
      hash = scenario.target.extend(hash, by: token)
      drafters[d].entries[index].hashes.append(hash)
    }
    scratch.logits.removeAll(keepingCapacity: true)
    scratch.top.removeAll(keepingCapacity: true)
    if forward.needsLogits, var chooser = drafters[d].entries[index].chooser.take() {
      drafter.answer(
        after: hash, position: forward.firstPosition + forward.tokens.count, chooser: &chooser,
        logits: &scratch.logits, top: &scratch.top)
      drafters[d].entries[index].chooser = chooser
    }
    let before = drafters[d].entries[index].machine?.chainCount ?? 0
    let update = drafters[d].conclude(index, forward, scratch: scratch)
    let after = drafters[d].entries[index].machine?.chainCount ?? 0
    guard let update else { return }
    if let message = drafters[d].entries[index].pacer.add(update, growth: after - before) {
      sendNodes(message, index, at: node)
    }
  }

  private mutating func sendNodes(_ update: DraftUpdate, _ index: Int, at node: Int) {
    let d = drafterIndex(node)
    let verifier = drafters[d].entries[index].verifier
    guard let connection = dataConnection(drafter: node, verifier: verifier) else { return }
    send(.nodes(drafters[d].entries[index].id, update), over: connection, from: node)
  }

  /// What a broken or hostile drafter may send: any ids, parents, tokens, scores and anchors.
  private mutating func sendGarbage(_ index: Int, at node: Int) {
    let d = drafterIndex(node)
    let count = drafters[d].entries[index].truth.count
    for _ in 0..<1 + random.below(3) {
      var nodes: [DraftNode] = []
      for _ in 0..<random.below(24) {
        let step = UInt32(random.below(4))
        drafters[d].entries[index].garbageID &+= step
        let last = drafters[d].entries[index].garbageID
        nodes.append(
          DraftNode(
            id: NodeID(rawValue: random.below(9) == 0 ? UInt32(random.below(300)) : last),
            parent: NodeID(rawValue: random.below(2) == 0 ? 0 : UInt32(random.below(300))),
            token: TokenID(UInt32(random.below(scenario.target.vocabularyCount + 2))),
            score: [0, -0.01, -0.5, -3, .nan, 1, -.infinity][random.below(7)]))
      }
      let update = DraftUpdate(anchor: count + random.below(4) - 2, nodes: nodes)
      sendNodes(update, index, at: node)
    }
  }
}

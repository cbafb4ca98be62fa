import Decoding
import InferenceTypes

/// Verifiers.
extension SimulatedCluster {
  /// Drafts that wait longer than this for their round are not waited for.
  var patience: Duration {
    scenario.network.roundTrip * 4 + scenario.times.pass(1) * 4
      + scenario.times.draft * (4 * scenario.draftLength)
  }

  func verifierIndex(_ node: Int) -> Int { node - 1 }

  mutating func verifierMail(_ mail: VerifierMail, at node: Int) {
    verifiers[verifierIndex(node)].mail.append(mail)
    guard !processes[node].isBusy else { return }
    // Whatever comes ends a wait for drafts.
    verifiers[verifierIndex(node)].lingerUntil = nil
    var mayLinger = true
    if case .fixed = scenario.linger { mayLinger = false }
    takeMail(node, mayLinger: mayLinger)
  }

  mutating func advanceVerifier(_ node: Int) {
    guard !processes[node].isBusy else { return }
    let v = verifierIndex(node)
    if let until = verifiers[v].lingerUntil, until > now { return }
    let lingered = verifiers[v].lingerUntil != nil
    verifiers[v].lingerUntil = nil
    takeMail(node, mayLinger: !lingered)
  }

  private mutating func takeMail(_ node: Int, mayLinger: Bool) {
    let v = verifierIndex(node)
    let mail = verifiers[v].mail
    verifiers[v].mail.removeAll(keepingCapacity: true)
    for message in mail { handle(message, at: node) }
    publishHeld(node)
    beginPass(node, mayLinger: mayLinger)
  }

  // MARK: messages

  private mutating func handle(_ mail: VerifierMail, at node: Int) {
    let v = verifierIndex(node)
    switch mail {
    case .open(let id, let request, let decided): open(id, request, decided: decided, at: node)
    case .cancel(let id):
      guard let index = verifiers[v].index(of: id) else { return fail(id, "unknown", at: node) }
      endSession(index, reason: .cancelled, tokens: [], at: node)
    case .assigned(let id, let name, let epoch):
      guard let index = verifiers[v].index(of: id) else { return }
      verifiers[v].entries[index].assigned.append((name, epoch))
    case .unlinked(let drafter):
      for index in verifiers[v].entries.indices { unlink(drafter, from: index, at: node) }
    case .reset:
      for index in verifiers[v].entries.indices { finishLinks(index, at: node) }
      verifiers[v].entries.removeAll()
    case .message(.attach(let id, let epoch, let count, let hash), let drafter, _):
      attach(id, drafter: drafter, epoch: epoch, truthCount: count, truthHash: hash, at: node)
    case .message(.nodes(let id, let update), let drafter, let arrival):
      receive(update, of: id, from: drafter, arrival: arrival, at: node)
    case .message(.endDraft(let id), let drafter, _):
      if let index = verifiers[v].index(of: id) { unlink(drafter, from: index, at: node) }
    case .message: violations.append("\(processes[node].name) got a message for another role")
    }
  }

  private mutating func open(
    _ id: SessionID, _ request: RoutedRequest, decided: [TokenID], at node: Int
  ) {
    let v = verifierIndex(node)
    if let old = verifiers[v].index(of: id) { removeEntry(old, at: node) }
    guard verifiers[v].entries.count < scenario.verifierSlots else {
      return fail(id, "all slots are in use", at: node)
    }
    var configuration = VerifierSession.Configuration(
      prompt: request.prompt, sampling: request.sampling, contextLength: Self.contextLength,
      vocabularyCount: scenario.target.vocabularyCount)
    configuration.decided = decided
    configuration.tokenLimit = request.tokenLimit
    configuration.stopTokens = request.endTokens
    configuration.ignoresEndOfSequence = request.ignoresEnd
    do {
      let machine = try VerifierSession(configuration)
      verifiers[v].entries.append(
        VerifierNode.Entry(
          id: id, machine: machine, request: request, hashes: [scenario.target.emptyHash],
          gate: StepGate(pipeline: scenario.pipeline, patience: patience)))
      if let reason = machine.finish {
        endSession(verifiers[v].entries.count - 1, reason: reason, tokens: [], at: node)
      }
    } catch {
      fail(id, "\(error)", isRetryable: false, at: node)
    }
  }

  private mutating func attach(
    _ id: SessionID, drafter: Int, epoch: UInt64, truthCount: Int, truthHash: UInt64, at node: Int
  ) {
    let v = verifierIndex(node)
    guard let connection = dataConnection(drafter: drafter, verifier: node) else { return }
    let name = processes[drafter].name
    guard let index = verifiers[v].index(of: id),
      verifiers[v].entries[index].assigned.contains(where: { $0.name == name && $0.epoch == epoch })
    else { return send(.attachRefused(id), over: connection, from: node) }
    unlink(drafter, from: index, at: node)
    let truth = verifiers[v].entries[index].machine.truth
    let known = truthCount <= truth.count ? truthCount : 0
    let hash = truth[..<known].reduce(scenario.target.emptyHash) {
      scenario.target.extend($0, by: $1)
    }
    let start = hash == truthHash ? known : 0
    let number = verifiers[v].entries[index].nextLink
    verifiers[v].entries[index].links.append(VerifierNode.Link(number: number, drafter: drafter))
    verifiers[v].entries[index].nextLink += 1
    verifiers[v].entries[index].gate.drafterCame(at: Duration(simulated: now))
    let request = verifiers[v].entries[index].request
    send(
      .attached(
        id, sampling: request.sampling, promptCount: request.prompt.count, truthCount: start),
      over: connection, from: node)
    guard start < truth.count else { return }
    let tokens = Array(truth[start...])
    let update = TruthUpdate(
      fromPosition: start, tokens: tokens,
      nodeIDs: [NodeID](repeating: .none, count: tokens.count))
    send(.truth(id, update, isFinished: false), over: connection, from: node)
  }

  private mutating func receive(
    _ update: DraftUpdate, of id: SessionID, from drafter: Int, arrival: SimulationTime,
    at node: Int
  ) {
    let v = verifierIndex(node)
    guard let index = verifiers[v].index(of: id),
      let link = verifiers[v].entries[index].links.firstIndex(where: { $0.drafter == drafter })
    else { return }
    let number = verifiers[v].entries[index].links[link].number
    let before = verifiers[v].entries[index].machine.liveReceptionCount
    verifiers[v].entries[index].machine.receive(update.nodes, anchor: update.anchor, link: number)
    let liveCount = verifiers[v].entries[index].machine.liveReceptionCount - before
    verifiers[v].entries[index].links[link].arrivals.received(
      update.nodes, liveCount: liveCount, at: Duration(simulated: arrival))
    verifiers[v].entries[index].gate.receive()
  }

  private mutating func unlink(_ drafter: Int, from index: Int, at node: Int) {
    let v = verifierIndex(node)
    let links = verifiers[v].entries[index].links
    for link in links where link.drafter == drafter {
      verifiers[v].entries[index].machine.removeLink(link.number)
    }
    verifiers[v].entries[index].links.removeAll { $0.drafter == drafter }
    if verifiers[v].entries[index].links.isEmpty { verifiers[v].entries[index].gate.drafterLeft() }
  }

  mutating func verifierUnlinked(_ node: Int, drafter: Int) {
    verifierMail(.unlinked(drafter: drafter), at: node)
  }

  // MARK: work

  /// One pass for all sessions, or for the next one that works in rounds and may go on.
  private mutating func beginPass(_ node: Int, mayLinger: Bool) {
    let v = verifierIndex(node)
    let count = verifiers[v].entries.count
    let time = Duration(simulated: now)
    let isStreamed = scenario.pipeline == .streamed
    let turn = isStreamed ? 0 : verifiers[v].turn
    let ready = (0..<count).map { ($0 + turn) % count }
      .filter { verifiers[v].entries[$0].mayAdvance(at: time) }
    guard let next = ready.first else { return wakeAtDeadline(node) }
    if count == 1, mayLinger, lingers(node) { return }
    let chosen = isStreamed ? ready : [next]
    for index in chosen where verifiers[v].entries[index].missingCount == 0 {
      verifiers[v].entries[index].gate.stepBegins(at: time)
      verifiers[v].entries[index].linger.stepBegins(
        liveCount: verifiers[v].entries[index].machine.liveReceptionCount)
    }
    verifiers[v].turn = next + 1
    let job =
      isStreamed
      ? verifiers[v].nextJob(chosen) : verifiers[v].nextRound(next, limit: scenario.nodeLimit)
    verifiers[v].job = job
    let duration = scenario.times.pass(
      nodes: job.batches.reduce(0) { $0 + $1.batch.count },
      prompt: job.prompts.reduce(0) { $0 + $1.count })
    compute(node, for: duration.simulated)
  }

  /// Waits for drafts that are on their way.
  private mutating func lingers(_ node: Int) -> Bool {
    let v = verifierIndex(node)
    guard scenario.pipeline == .streamed, verifiers[v].entries[0].missingCount == 0 else {
      return false
    }
    let single = scenario.times.pass(1)
    let time = Duration(simulated: now)
    let machine = verifiers[v].entries[0].machine
    let forecast = verifiers[v].entries[0].links
      .compactMap { $0.arrivals.forecast(silence: single * 4, at: time) }
      .min { $0.next < $1.next }
    let deadline: Duration?
    switch scenario.linger {
    case .worthwhile:
      let costs = verifiers[v].costs
      let count = machine.pendingCount + 1
      deadline = verifiers[v].entries[0].linger.deadline(
        forecast, value: machine.nextDraftValue, acceptance: machine.draftedShare,
        liveCount: machine.liveReceptionCount,
        nodeCost: costs.cost(count + 1) - costs.cost(count), step: single, at: time)
    case .fixed(let share):
      let wait = single * share
      let isExpected =
        forecast.map { $0.next - time <= min(wait, $0.gap) || $0.turnaround <= wait } ?? false
      deadline = machine.pendingCount == 0 && isExpected ? time + wait : nil
    }
    guard let deadline else { return false }
    let until = max(now + 1, deadline.simulated)
    verifiers[v].lingerUntil = until
    queue.push(.wakeUp(node: node, epoch: processes[node].epoch), at: until)
    return true
  }

  private mutating func wakeAtDeadline(_ node: Int) {
    let deadline = verifiers[verifierIndex(node)].entries.compactMap(\.gate.deadline).min()
    guard let deadline else { return }
    queue.push(
      .wakeUp(node: node, epoch: processes[node].epoch), at: max(now + 1, deadline.simulated))
  }

  mutating func verifierComputed(_ node: Int) {
    let v = verifierIndex(node)
    let job = verifiers[v].job ?? VerifierNode.Job()
    for (id, count) in job.prompts {
      guard let index = verifiers[v].index(of: id) else { continue }
      for _ in 0..<count {
        let position = verifiers[v].entries[index].hashes.count - 1
        let last = verifiers[v].entries[index].hashes[position]
        verifiers[v].entries[index].hashes.append(
          scenario.target.extend(last, by: verifiers[v].entries[index].machine.truth[position]))
      }
    }
    for (id, batch) in job.batches {
      guard let index = verifiers[v].index(of: id) else { continue }
      conclude(batch, index, at: node)
    }
    verifiers[v].job = nil
    takeMail(node, mayLinger: true)
  }

  private mutating func conclude(_ batch: VerifyBatch, _ index: Int, at node: Int) {
    let v = verifierIndex(node)
    var root = verifiers[v].entries[index].hashes[batch.rootPosition]
    root = scenario.target.extend(root, by: batch.tokens[0])
    scratch.hashes.removeAll(keepingCapacity: true)
    scratch.logits.removeAll(keepingCapacity: true)
    scratch.top.removeAll(keepingCapacity: true)
    for token in 0..<batch.count {
      let hash =
        token == 0
        ? root
        : scenario.target.extend(scratch.hashes[batch.parents[token]], by: batch.tokens[token])
      scratch.hashes.append(hash)
      scratch.top.append(scenario.target.appendRow(hash, to: &scratch.logits))
    }
    let outcome = verifiers[v].conclude(index, batch, scratch: scratch)
    verifiers[v].entries[index].linger.concluded(
      tokenCount: outcome.tokens.count, at: Duration(simulated: now))
    note(UInt64(outcome.tokens.count))
    let entry = verifiers[v].entries[index]
    if outcome.finish == nil {
      sendToRouter(
        .tokens(
          peer: 0, session: entry.id,
          firstIndex: outcome.fromPosition - entry.machine.promptCount, outcome.tokens,
          ending: nil), from: node)
    }
    if outcome.finish != nil || entry.gate.mayPublish(at: Duration(simulated: now)) {
      publish(outcome, index, at: node)
    } else {
      verifiers[v].entries[index].held = outcome
      wakeAtDeadline(node)
    }
    if let reason = outcome.finish {
      endSession(index, reason: reason, tokens: outcome.tokens, at: node)
    }
  }

  private mutating func publishHeld(_ node: Int) {
    let v = verifierIndex(node)
    let time = Duration(simulated: now)
    for index in verifiers[v].entries.indices {
      guard let held = verifiers[v].entries[index].held,
        verifiers[v].entries[index].gate.mayPublish(at: time)
      else { continue }
      verifiers[v].entries[index].held = nil
      publish(held, index, at: node)
    }
  }

  private mutating func publish(_ outcome: VerifyOutcome, _ index: Int, at node: Int) {
    let v = verifierIndex(node)
    verifiers[v].entries[index].gate.published(at: Duration(simulated: now))
    let id = verifiers[v].entries[index].id
    for number in verifiers[v].entries[index].links.indices {
      verifiers[v].entries[index].links[number].arrivals.published(
        contradictsDrafts: outcome.contradictsDrafts, at: Duration(simulated: now))
      let link = verifiers[v].entries[index].links[number]
      guard let connection = dataConnection(drafter: link.drafter, verifier: node) else { continue }
      send(
        .truth(id, outcome.update(forLink: link.number), isFinished: outcome.finish != nil),
        over: connection, from: node)
    }
  }

  private mutating func endSession(
    _ index: Int, reason: FinishReason, tokens: [TokenID], at node: Int
  ) {
    let v = verifierIndex(node)
    if reason == .cancelled { finishLinks(index, at: node) }
    let entry = verifiers[v].entries[index]
    removeEntry(index, at: node)
    var totals = RoutedTotals()
    totals.verifyStepCount = entry.machine.statistics.stepCount
    totals.draftTokenCount = entry.machine.statistics.verifiedCount
    totals.acceptedTokenCount = entry.machine.statistics.acceptedCount
    sendToRouter(
      .tokens(
        peer: 0, session: entry.id, firstIndex: entry.machine.generatedCount - tokens.count, tokens,
        ending: RoutedEnding(reason: reason, totals: totals)), from: node)
  }

  private mutating func finishLinks(_ index: Int, at node: Int) {
    let entry = verifiers[verifierIndex(node)].entries[index]
    for link in entry.links {
      guard let connection = dataConnection(drafter: link.drafter, verifier: node) else { continue }
      let update = TruthUpdate(fromPosition: entry.machine.truth.count, tokens: [], nodeIDs: [])
      send(.truth(entry.id, update, isFinished: true), over: connection, from: node)
    }
  }

  private mutating func removeEntry(_ index: Int, at node: Int) {
    verifiers[verifierIndex(node)].entries.remove(at: index)
  }

  private mutating func fail(
    _ id: SessionID, _ message: String, isRetryable: Bool = true, at node: Int
  ) {
    sendToRouter(
      .failed(peer: 0, session: id, isRetryable: isRetryable, message: message), from: node)
  }
}

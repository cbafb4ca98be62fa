import Decoding
import Engine
import InferenceTypes
import Logging
import Transport
import Wire

/// The forward passes.
extension VerifierCore {
  /// One forward pass for all sessions that run, and one for each session that works in rounds with
  /// its drafter and may go on.
  func advance() {
    awaitDrafter()
    for id in entries.filter({ $0.pace.pipeline != .streamed || $0.rules != nil }).map(\.id) {
      if let index = index(of: id) { advanceRound(index) }
    }
    linger()
    // The mail taken while lingering may have ended sessions.
    let running = entries.filter {
      !$0.isWaiting && $0.pace.pipeline == .streamed && $0.rules == nil
    }
    guard !running.isEmpty else { return }
    let start = clock.now
    for entry in running {
      guard let index = index(of: entry.id) else { continue }
      entries[index].pace.stepBegins(at: time)
      entries[index].linger.stepBegins(liveCount: entry.target.machine.liveReceptionCount)
    }
    do throws(ForwardFailure) {
      let members = running.map { SharedStep.Member($0.target, tenant: $0.tenant) }
      let result = try shared.run(members, engine: engine, sources: &sources)
      let duration = clock.now - start
      for (member, outcome) in result.outcomes {
        guard let index = index(of: running[member].id) else { continue }
        publish(outcome, index: index, duration: duration)
      }
    } catch {
      guard let index = index(of: running[error.part].id) else { return }
      stop(index, error.error)
    }
  }

  /// One pass for one session.
  func advanceRound(_ index: Int) {
    guard !entries[index].isWaiting, mayAdvance(index) else { return }
    let mark = meter.mark(entries[index].target)
    do throws(EngineError) {
      guard !entries[index].target.isPrefilling else {
        let entry = entries[index]
        try sources.use(entry.tenant) { sources throws(EngineError) in
          try entry.target.prefill(engine: engine, sources: &sources)
        }
        meter.countPass(of: entry.target, since: mark, times: shared.times)
        return
      }
      let start = clock.now
      entries[index].pace.stepBegins(at: time)
      let entry = entries[index]
      let limit = entry.pace.limit(nodeLimit, pendingCount: entry.target.pendingCount)
      let stepCosts = entry.pace.costs(costs.costs)
      let outcome = try sources.use(entry.tenant) { sources throws(EngineError) in
        guard let rules = entry.rules else {
          return try entry.target.step(
            engine: engine, sources: &sources, costs: stepCosts, limit: limit)
        }
        return try rules.step(
          entry.target, engine: engine, sources: &sources, costs: stepCosts, limit: limit)
      }
      meter.countPass(of: entry.target, since: mark, times: shared.times)
      publish(outcome, index: index, duration: clock.now - start)
    } catch {
      stop(index, error)
    }
  }

  /// A session that begins waits a moment for its drafter, which then reads the prompt while the
  /// target does; a drafter that comes later is heard after the first pass.
  private func awaitDrafter() {
    while entries.count == 1, collaborations.workingCount == 0,
      !peers.isEmpty || !entries[0].assigned.isEmpty,
      let deadline = entries[0].patience.deadline(
        isNamed: !entries[0].assigned.isEmpty, hasCome: !entries[0].links.isEmpty, at: time)
    {
      for message in mailbox.take(timeout: max(.zero, deadline - time)) {
        if case .stop = message { return mailbox.post(.stop) }
        handle(message)
      }
    }
  }

  /// Waits for drafts that are on their way, where that pays: drafters that are silent or gone cost
  /// nothing.
  func linger() {
    while let deadline = lingerDeadline() {
      let now = time
      let mail = mailbox.take(timeout: max(.zero, deadline - now))
      meter.waited(time - now)
      for message in mail {
        if case .stop = message {
          mailbox.post(.stop)
          return
        }
        handle(message)
      }
      guard !mail.isEmpty else { return }
    }
  }

  private func lingerDeadline() -> Duration? {
    guard entries.count == 1, collaborations.workingCount == 0, let entry = entries.first,
      !entry.target.isPrefilling, entry.pace.pipeline == .streamed, entry.rules == nil,
      entry.target.machine.finish == nil
    else { return nil }
    let now = time
    let machine = entry.target.machine
    let count = machine.pendingCount + 1
    return entries[0].linger.deadline(
      entry.links.compactMap { $0.arrivals.forecast(silence: costs.single * 4, at: now) }
        .min { $0.next < $1.next },
      value: machine.nextDraftValue, acceptance: machine.draftedShare,
      liveCount: machine.liveReceptionCount,
      nodeCost: costs.costs.cost(count + 1) - costs.costs.cost(count), step: costs.single, at: now)
  }

  func publish(_ outcome: VerifyOutcome, index: Int, duration: Duration) {
    let entry = entries[index]
    let step = SessionPace.Step(outcome: outcome, duration: duration)
    entries[index].linger.concluded(tokenCount: outcome.tokens.count, at: time)
    if outcome.finish != nil || !entries[index].pace.holds(step, at: time) {
      sendDown(step, index: index)
    }
    let firstIndex = outcome.fromPosition - entry.target.promptCount
    if let reason = outcome.finish {
      end(index, reason: reason, tokens: outcome.tokens, firstIndex: firstIndex)
    } else {
      var message = SessionTokens(firstIndex: firstIndex, tokens: outcome.tokens)
      message.mirostatLimit = entry.target.machine.mirostatLimit
      sendToRouter(Envelope(session: entry.id, message: .sessionTokens(message)))
      entries[index].life.told(at: clock.now)
    }
  }
}

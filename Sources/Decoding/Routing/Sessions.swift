import InferenceTypes

/// Sessions begin, go on and end.
extension RouterMachine {
  /// Later than any session ends.
  private static let never = Duration.seconds(1 << 40)

  mutating func admit(
    _ id: SessionID, _ request: RoutedRequest, at now: Duration, into effects: inout [Effect]
  ) {
    precondition(sessions[id] == nil, "session \(id) exists")
    sessions[id] = RoutedSession(request: request, order: nextOrder())
    guard !isDraining else { return end(id, .fail(id, .draining), into: &effects) }
    if let reason = request.ending(after: []) {
      return end(id, .finish(id, reason, RoutedTotals()), into: &effects)
    }
    guard request.collaboration == nil || !hasVerifier || hasDraftModel else {
      return end(id, .fail(id, .noDraftModel), into: &effects)
    }
    if let refusal = refusal(of: request.rule.rule) {
      return end(id, .fail(id, refusal), into: &effects)
    }
    queue.append(id)
    placeWaiting(at: now, into: &effects)
    guard sessions[id]?.phase == .waiting else { return }
    if !mayFindVerifier(for: request, at: now) {
      end(id, .fail(id, .noVerifier), into: &effects)
    } else if queue.count > configuration.queueCountMax {
      end(
        id, .fail(id, .overloaded(queueLimit: configuration.queueCountMax)), into: &effects)
    }
  }

  /// Whether waiting makes sense: a verifier is there, or was until a moment ago.
  private func mayFindVerifier(for request: RoutedRequest, at now: Duration) -> Bool {
    hasVerifier(for: request.rule.rule)
      || verifierLostAt.map { now - $0 < configuration.recoveryMax } ?? false
  }

  /// Whether a drafter that takes new sessions can take part in collaborations.
  private var hasDraftModel: Bool {
    workers.values.contains {
      $0.registration.role == .drafter && $0.registration.hasDraftModel && !$0.isDraining
    }
  }

  /// Takes tokens from a verifier.
  mutating func receive(
    _ tokens: [TokenID], firstIndex: Int, _ ending: RoutedEnding?, _ mirostatLimit: Double?,
    of id: SessionID, from peer: Int, at now: Duration, into effects: inout [Effect]
  ) {
    guard let worker = workers[peer], worker.registration.role == .verifier else { return }
    if let closing = worker.closing[id],
      !closing.isOverdue || ending?.reason == .cancelled || !hasOneText(id)
    {
      if let ending { closed(id, at: peer, ending.totals, into: &effects) }
      return
    }
    guard let session = sessions[id], session.phase == .running(verifier: peer) else {
      if ending == nil { cancelSession(id, at: peer, now, into: &effects) }
      return
    }
    let knownCount = session.decided.count
    // Tokens that are known already come again where a verifier started from an older journal.
    let fresh = tokens.dropFirst(max(0, knownCount - firstIndex))
    let room = session.request.tokenLimit - knownCount
    guard (0...knownCount).contains(firstIndex), fresh.count <= room,
      fresh.allSatisfy({ Int($0.rawValue) < expected.vocabularyCount })
    else {
      let complaint = "\(worker.registration.name) sent tokens that do not continue the text"
      takeAway(id, .workerFailed(complaint), at: now, into: &effects)
      return
    }
    guard !tokens.isEmpty || ending != nil else {
      sessions[id]?.attempt.hearSign(at: now)
      return
    }
    // In place: a copy of the journal for every message would make long texts slow.
    sessions[id]?.attempt.hear(at: now)
    sessions[id]?.decided += fresh
    if !fresh.isEmpty {
      sessions[id]?.mirostatLimit = mirostatLimit
      sessions[id]?.lostAt = nil
      sessions[id]?.lossCount = 0
      effects.append(.deliver(id, Array(fresh)))
    }
    guard let ending, let session = sessions[id] else { return }
    if ending.reason == .cancelled {
      // Nobody here asked for it: the verifier gives the session back.
      takeAway(id, .workerLost(worker.registration.name), at: now, into: &effects)
    } else {
      end(
        id, .finish(id, ending.reason, totals(of: session, ending.totals)), into: &effects)
    }
  }

  /// A worker refused a session or failed in it.
  mutating func workerFailed(
    _ peer: Int, _ id: SessionID, isRetryable: Bool, _ failure: RouteFailure, at now: Duration,
    into effects: inout [Effect]
  ) {
    guard let worker = workers[peer] else { return }
    if worker.closing[id] != nil {
      closed(id, at: peer, nil, into: &effects)
      // Where the session runs there again, this may be a failure of that: silence shows it soon.
      if sessions[id]?.phase == .running(verifier: peer) {
        sessions[id]?.attempt.backdateSilence(to: now - configuration.silenceSpent)
      }
    } else if sessions[id]?.drafter == peer {
      avoid(worker, in: id, until: isRetryable ? now + configuration.recoveryMax : Self.never)
      if !isRetryable { sessions[id]?.isClosedToDraftModels = true }
      releaseDrafter(of: id, into: &effects)
    } else if sessions[id]?.phase == .running(verifier: peer) {
      if isRetryable {
        takeAway(id, failure, at: now, into: &effects)
      } else {
        end(id, .fail(id, failure), into: &effects)
      }
    }
  }

  /// Whether everybody who writes the session writes the same text, so that tokens of an attempt that
  /// is over are as good as those of the present one.
  private func hasOneText(_ id: SessionID) -> Bool {
    guard let request = sessions[id]?.request else { return true }
    return request.collaboration == nil && [.gumbelMatch, .match].contains(request.rule.rule)
  }

  /// A verifier answered a cancel.
  private mutating func closed(
    _ id: SessionID, at peer: Int, _ totals: RoutedTotals?, into effects: inout [Effect]
  ) {
    guard let worker = workers[peer], let closing = worker.closing[id] else { return }
    if closing.count > 1 {
      workers[peer]?.closing[id]?.count -= 1
    } else {
      workers[peer]?.closing[id] = nil
    }
    needsPlacement = true
    // It may have been given the session again meanwhile.
    guard sessions[id]?.phase != .running(verifier: peer) else { return }
    sessions[id]?.holders.remove(worker.registration.incarnation)
    if let session = sessions[id], case .stopping(peer, _) = session.phase {
      end(id, .finish(id, .stop, self.totals(of: session, totals)), into: &effects)
    }
  }

  mutating func stop(_ id: SessionID, at now: Duration, into effects: inout [Effect]) {
    guard let session = sessions[id] else { return }
    switch session.phase {
    case .waiting:
      end(id, .finish(id, .stop, totals(of: session, nil)), into: &effects)
    case .running(let verifier):
      cancelSession(id, at: verifier, now, into: &effects)
      workers[verifier]?.sessions.remove(id)
      releaseDrafter(of: id, into: &effects)
      sessions[id]?.phase = .stopping(
        verifier: verifier, until: now + configuration.stoppingMax)
    case .stopping:
      return
    }
  }

  mutating func cancel(_ id: SessionID, at now: Duration, into effects: inout [Effect]) {
    guard let session = sessions[id] else { return }
    if case .running(let verifier) = session.phase {
      cancelSession(id, at: verifier, now, into: &effects)
    }
    end(id, .finish(id, .cancelled, totals(of: session, nil)), into: &effects)
  }

  /// Tells a verifier to forget a session. Until it answers, nothing it says of it counts; where
  /// that takes long, it may have the session again, but the answer still belongs to the cancel.
  mutating func cancelSession(
    _ id: SessionID, at peer: Int, _ now: Duration, into effects: inout [Effect]
  ) {
    let count = workers[peer]?.closing[id]?.count ?? 0
    workers[peer]?.closing[id] = Closing(until: now + configuration.closingMax, count: count + 1)
    effects.append(.cancelSession(verifier: peer, id))
  }

  /// A session goes on elsewhere, or here after a while. The cancel makes sure that the verifier
  /// has forgotten it then, whatever it said and however old that was.
  private mutating func takeAway(
    _ id: SessionID, _ failure: RouteFailure, at now: Duration, into effects: inout [Effect]
  ) {
    guard let verifier = sessions[id]?.verifier, let worker = workers[verifier] else { return }
    cancelSession(id, at: verifier, now, into: &effects)
    avoid(worker, in: id, until: now + configuration.retryDelay)
    loseVerifier(of: id, failure, at: now, into: &effects)
  }

  private mutating func avoid(_ worker: RoutedWorker, in id: SessionID, until: Duration) {
    sessions[id]?.avoided[worker.registration.incarnation] = until
  }

  /// Makes a running session wait for another verifier, and ends a stopping one.
  mutating func loseVerifier(
    of id: SessionID, _ failure: RouteFailure, at now: Duration, into effects: inout [Effect]
  ) {
    guard var session = sessions[id], let verifier = session.verifier else { return }
    workers[verifier]?.sessions.remove(id)
    needsPlacement = true
    if case .stopping = session.phase {
      return end(id, .finish(id, .stop, totals(of: session, nil)), into: &effects)
    }
    if let reason = session.request.ending(after: session.decided) {
      return end(id, .finish(id, reason, totals(of: session, nil)), into: &effects)
    }
    session.totals += session.attempt.totals
    session.attempt = Attempt()
    let lostAt = session.lostAt ?? now
    session.lostAt = lostAt
    session.lossCount += 1
    session.orphanedAt = now
    session.failure = failure
    session.phase = .waiting
    sessions[id] = session
    orphans.append(id)
    // A draft model joins no text that has begun, and its slot is of use elsewhere.
    if session.request.collaboration != nil, !session.decided.isEmpty {
      releaseDrafter(of: id, into: &effects)
    }
    if session.lossCount >= configuration.lossCountMax,
      lostAt + configuration.recoveryMax <= now
    {
      end(id, .fail(id, failure), into: &effects)
    }
  }

  /// The counters of all attempts; `reported` are those of the present verifier, where it sent them.
  private func totals(of session: RoutedSession, _ reported: RoutedTotals?) -> RoutedTotals {
    var totals = session.totals
    totals += reported ?? session.attempt.totals
    totals.cachedTokenCount = min(totals.cachedTokenCount, session.request.prompt.count)
    if let parameters = session.request.collaboration, totals.collaboration == nil {
      // The text is labelled even where nobody lived to count.
      totals.collaboration = CollaborationReport(method: parameters.method)
    }
    return totals
  }

  /// Sessions whose messages may be among the lost ones show it by staying silent.
  mutating func expectSilence(at now: Duration) {
    for id in sessions.keys {
      sessions[id]?.attempt.backdateSilence(to: now - configuration.silenceSpent)
    }
  }

  mutating func expireSessions(at now: Duration, into effects: inout [Effect]) {
    let due = sessionsInOrder { session in
      switch session.phase {
      case .waiting:
        session.orphanedAt.map { $0 + configuration.recoveryMax <= now }
          ?? !mayFindVerifier(for: session.request, at: now)
      case .running: session.attempt.silentSince + configuration.silenceMax <= now
      case .stopping(_, let until): until <= now
      }
    }
    for id in due {
      guard let session = sessions[id] else { continue }
      switch session.phase {
      case .waiting: end(id, .fail(id, session.failure), into: &effects)
      case .running(let verifier):
        let name = workers[verifier]?.registration.name ?? ""
        let failure = RouteFailure.workerFailed("\(name) stayed silent for too long")
        takeAway(id, failure, at: now, into: &effects)
      case .stopping: end(id, .finish(id, .stop, totals(of: session, nil)), into: &effects)
      }
    }
  }

  /// Removes a session from the books; `last` tells the client.
  mutating func end(_ id: SessionID, _ last: Effect, into effects: inout [Effect]) {
    releaseDrafter(of: id, into: &effects)
    if let verifier = sessions[id]?.verifier { workers[verifier]?.sessions.remove(id) }
    sessions[id] = nil
    orphans.removeAll { $0 == id }
    queue.removeAll { $0 == id }
    needsPlacement = true
    effects.append(last)
  }
}

import InferenceTypes

/// Sessions find workers.
extension RouterMachine {
  /// Whether a new session may find a verifier, now or when a slot is free.
  var hasVerifier: Bool { workerCount(.verifier) > 0 }

  /// The same for one whose drafts are judged by this rule.
  func hasVerifier(for rule: VerifyRule) -> Bool { allowedRules.contains(rule) }

  /// Rules that at least one verifier allows.
  private var allowedRules: Set<VerifyRule> {
    workers.values.reduce(into: []) { rules, worker in
      guard worker.registration.role == .verifier, !worker.isDraining else { return }
      rules.formUnion(worker.registration.verifyRules)
    }
  }

  /// Why no verifier will take a session with this rule; `nil` where one may.
  func refusal(of rule: VerifyRule) -> RouteFailure? {
    guard hasVerifier, !hasVerifier(for: rule) else { return nil }
    let allowed = allowedRules
    let names = VerifyRule.allCases.filter { allowed.contains($0) }.map(\.rawValue)
    return .refused(
      "the verify rule \(rule.rawValue) is not allowed here; allowed: "
        + names.joined(separator: ", "))
  }

  /// Gives waiting sessions to verifiers with free slots: those first that had one before, each
  /// group in the order in which they came.
  mutating func placeWaiting(at now: Duration, into effects: inout [Effect]) {
    guard waitingCount > 0 else { return }
    for id in orphans + queue {
      guard let session = sessions[id] else { continue }
      if let verifier = freeWorker(.verifier, for: session, id, at: now) {
        open(id, at: verifier, now, into: &effects)
      }
    }
  }

  /// Gives a drafter to each running session that has none: to collaborations first, which come to
  /// nothing without. Where all slots are taken, such a one gets that of an exact session, which
  /// loses nothing but time.
  mutating func assignDrafters(at now: Duration, into effects: inout [Effect]) {
    let isAnyFree = workers.values.contains {
      $0.registration.role == .drafter && $0.hasFreeSlot && !$0.isDraining
    }
    guard isAnyFree || sessions.values.contains(where: \.awaitsDraftModel) else { return }
    let wanting = sessionsInOrder { session in
      guard case .running(let verifier) = session.phase, session.drafter == nil,
        session.request.collaboration == nil || session.awaitsDraftModel
      else { return false }
      return workers[verifier]?.registration.endpoint.isEmpty == false
    }
    let (exact, collaborations) = (
      wanting.filter { sessions[$0]?.awaitsDraftModel != true },
      wanting.filter { sessions[$0]?.awaitsDraftModel == true }
    )
    for id in collaborations + exact {
      guard let session = sessions[id], let verifier = session.verifier else { continue }
      var drafter = freeWorker(.drafter, for: session, id, at: now)
      if drafter == nil, session.awaitsDraftModel {
        drafter = takeSlot(for: session, id, at: now, into: &effects)
      }
      guard let drafter else { continue }
      workers[drafter]?.sessions.insert(id)
      sessions[id]?.drafter = drafter
      introduce(drafter, to: verifier, id, into: &effects)
    }
  }

  /// Takes the drafter of an exact session away, of the one that came last.
  ///
  /// - Returns: the drafter, which has a free slot now.
  private mutating func takeSlot(
    for session: RoutedSession, _ id: SessionID, at now: Duration, into effects: inout [Effect]
  ) -> Int? {
    let able = workers.filter { peer, worker in
      mayHave(worker, .drafter, session, id, at: now)
        && worker.sessions.count <= worker.registration.slotCount
    }
    let last = sessionsInOrder { other in
      other.request.collaboration == nil && other.drafter.map { able[$0] != nil } ?? false
    }.last
    guard let last, let drafter = sessions[last]?.drafter else { return nil }
    releaseDrafter(of: last, into: &effects)
    return drafter
  }

  /// - Returns: of the workers that may have the session, the one with the fewest sessions; ties go
  ///   to the one that registered first.
  private func freeWorker(
    _ role: WorkerRegistration.Role, for session: RoutedSession, _ id: SessionID, at now: Duration
  ) -> Int? {
    var best: (peer: Int, load: (Int, Int))?
    for (peer, worker) in workers
    where worker.hasFreeSlot && mayHave(worker, role, session, id, at: now) {
      let load = (worker.sessions.count, worker.order)
      if best.map({ load < $0.load }) ?? true { best = (peer, load) }
    }
    return best?.peer
  }

  /// Whether a worker of this role may have the session once it has a free slot.
  private func mayHave(
    _ worker: RoutedWorker, _ role: WorkerRegistration.Role, _ session: RoutedSession,
    _ id: SessionID, at now: Duration
  ) -> Bool {
    let registration = worker.registration
    let fits =
      switch role {
      case .drafter: session.request.collaboration == nil || registration.hasDraftModel
      case .verifier: registration.verifyRules.contains(session.request.rule.rule)
      }
    return registration.role == role && fits && !worker.isDraining && !isSuspect(worker, at: now)
      && worker.closing[id]?.isOverdue ?? true
      && session.avoided[registration.incarnation, default: now] <= now
  }

  private mutating func open(
    _ id: SessionID, at verifier: Int, _ now: Duration, into effects: inout [Effect]
  ) {
    guard var session = sessions[id], let worker = workers[verifier] else {
      preconditionFailure("session \(id) or verifier \(verifier) is not in the books")
    }
    orphans.removeAll { $0 == id }
    queue.removeAll { $0 == id }
    session.phase = .running(verifier: verifier)
    session.attempt = Attempt(openedAt: now)
    session.holders.insert(worker.registration.incarnation)
    sessions[id] = session
    workers[verifier]?.sessions.insert(id)
    needsPlacement = true
    var request = session.request
    request.mirostatLimit = session.mirostatLimit
    effects.append(.openSession(verifier: verifier, id, request, decided: session.decided))
    guard let drafter = session.drafter else { return }
    if worker.registration.endpoint.isEmpty {
      releaseDrafter(of: id, into: &effects)
    } else {
      introduce(drafter, to: verifier, id, into: &effects)
    }
  }

  private func introduce(
    _ drafter: Int, to verifier: Int, _ id: SessionID, into effects: inout [Effect]
  ) {
    guard let drafting = workers[drafter]?.registration,
      let verifying = workers[verifier]?.registration
    else { preconditionFailure("drafter \(drafter) or verifier \(verifier) is not in the books") }
    effects.append(
      .announceDrafter(
        verifier: verifier, id, drafterName: drafting.name, drafterEpoch: drafting.epoch))
    effects.append(
      .assignDraft(
        drafter: drafter, id, verifierEndpoint: verifying.endpoint,
        verifierName: verifying.name, verifierEpoch: verifying.epoch))
  }

  mutating func releaseDrafter(of id: SessionID, into effects: inout [Effect]) {
    guard let drafter = sessions[id]?.drafter else { return }
    sessions[id]?.drafter = nil
    workers[drafter]?.sessions.remove(id)
    needsPlacement = true
    effects.append(.endDraft(drafter: drafter, id))
  }
}

import InferenceTypes

/// Workers come and go.
extension RouterMachine {
  /// Enters a worker into the books.
  ///
  /// A name belongs to the worker that registered last: it pushes out an older one, which may not
  /// come back under that name as long as the newer one lives. The sessions of a worker that
  /// registers again, with a new epoch or on a new connection, count as lost. The same registration
  /// once more on the same connection changes nothing.
  mutating func register(
    _ peer: Int, _ registration: WorkerRegistration, at now: Duration,
    into effects: inout [Effect]
  ) {
    if workers[peer]?.registration == registration {
      workers[peer]?.lastHeard = now
      effects.append(.accept(peer: peer))
      return
    }
    remove(peer, at: now, into: &effects)
    if let (code, message) = expected.refusal(of: registration) {
      effects.append(.refuse(peer: peer, code, message: message))
      return
    }
    var worker = RoutedWorker(registration: registration, order: nextOrder(), lastHeard: now)
    let rival = workers.first {
      $0.value.registration.role == registration.role
        && $0.value.registration.name == registration.name
    }
    if let rival {
      let message =
        "another worker named \(registration.name) registered later; "
        + "give each worker a name of its own"
      let isDisplaced = rival.value.displacedEpochs.contains(registration.epoch)
      guard !isDisplaced || isSuspect(rival.value, at: now) else {
        effects.append(.refuse(peer: peer, .nameTaken, message: message))
        return
      }
      remove(rival.key, at: now, into: &effects)
      worker.displacedEpochs = rival.value.displacedEpochs
      if rival.value.registration.epoch != registration.epoch {
        worker.displacedEpochs.append(rival.value.registration.epoch)
        effects.append(.displace(peer: rival.key, message: message))
      }
      worker.displacedEpochs = worker.displacedEpochs.suffix(8)
    }
    guard workers.count < configuration.workerCountMax else {
      let message =
        "the router has \(workers.count) workers, which is its limit; "
        + "register with another router"
      effects.append(.refuse(peer: peer, .tooManyWorkers, message: message))
      return
    }
    workers[peer] = worker
    needsPlacement = true
    effects.append(.accept(peer: peer))
    // What this process runs from an earlier connection would mix with what it is sent now.
    for id in sessionsInOrder(where: { $0.holders.contains(registration.incarnation) }) {
      cancelSession(id, at: peer, now, into: &effects)
    }
  }

  /// Notes a sign of life.
  ///
  /// - Returns: whether the peer is registered; it is asked to where it is not.
  mutating func hear(_ peer: Int, at now: Duration, into effects: inout [Effect]) -> Bool {
    guard workers[peer] != nil else {
      effects.append(.askToRegister(peer: peer))
      return false
    }
    workers[peer]?.lastHeard = now
    return true
  }

  mutating func markDraining(_ peer: Int, _ isDraining: Bool, at now: Duration) {
    guard let worker = workers[peer], worker.isDraining != isDraining else { return }
    workers[peer]?.isDraining = isDraining
    if isDraining, worker.registration.role == .verifier { verifierLostAt = now }
    needsPlacement = true
  }

  /// Takes a worker out of the books. Sessions that it ran go on elsewhere.
  mutating func remove(_ peer: Int, at now: Duration, into effects: inout [Effect]) {
    guard let worker = workers[peer] else { return }
    switch worker.registration.role {
    case .drafter:
      for id in worker.sessions { sessions[id]?.drafter = nil }
    case .verifier:
      verifierLostAt = now
      for id in sessionsInOrder(where: { $0.verifier == peer }) {
        loseVerifier(
          of: id, .workerLost(worker.registration.name), at: now, into: &effects)
      }
    }
    workers[peer] = nil
    needsPlacement = true
  }

  /// Takes workers that were silent for too long out of the books. `overslept` is how much later
  /// than due the router looks at the clock.
  mutating func removeSilent(
    overslept: Duration, at now: Duration, into effects: inout [Effect]
  ) {
    for (peer, worker) in workers {
      if overslept > .zero {
        workers[peer]?.lastHeard = min(now, worker.lastHeard + overslept)
      }
      for (session, closing) in worker.closing where closing.until <= now {
        // An answer that still has not come after the longest silence never will.
        guard !closing.isOverdue else {
          workers[peer]?.closing[session] = nil
          continue
        }
        workers[peer]?.closing[session]?.until = now + configuration.silenceMax
        workers[peer]?.closing[session]?.isOverdue = true
      }
    }
    let lost = workers.filter {
      now - $0.value.lastHeard > configuration.heartbeatInterval * 3.5
    }
    for (peer, _) in lost.sorted(by: { $0.value.order < $1.value.order }) {
      remove(peer, at: now, into: &effects)
    }
  }

  func isSuspect(_ worker: RoutedWorker, at now: Duration) -> Bool {
    now - worker.lastHeard > configuration.heartbeatInterval * 1.5
  }

  /// - Returns: the oldest session first.
  func sessionsInOrder(where predicate: (RoutedSession) -> Bool) -> [SessionID] {
    sessions.filter { predicate($0.value) }
      .sorted { $0.value.order < $1.value.order }
      .map(\.key)
  }
}

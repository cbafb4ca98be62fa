import Decoding
import InferenceTypes

/// The router and its clients, and the workers' side of the control connection.
extension SimulatedCluster {
  static let heartbeatSilence: SimulationTime = 6

  // MARK: router

  mutating func feed(_ event: RouterMachine.Event) {
    routerInbox.append(event)
    var next = 0
    while next < routerInbox.count {
      let event = routerInbox[next]
      next += 1
      routerEffects.removeAll(keepingCapacity: true)
      router.handle(event, at: Duration(simulated: now), into: &routerEffects)
      answer(event)
      for index in routerEffects.indices { perform(routerEffects[index]) }
    }
    routerInbox.removeAll(keepingCapacity: true)
  }

  private mutating func answer(_ event: RouterMachine.Event) {
    guard case .heartbeat(let peer, _) = event, let connection = peers[peer] else { return }
    send(.heartbeatReply, over: connection, from: 0)
  }

  mutating func admit(_ index: Int) {
    let request = scenario.requests[index]
    var routed = RoutedRequest(
      prompt: request.prompt, sampling: request.sampling, tokenLimit: request.tokenLimit)
    routed.endTokens = request.endTokens
    feed(.requested(SessionID(rawValue: UInt64(index)), routed))
  }

  private mutating func perform(_ effect: RouterMachine.Effect) {
    switch effect {
    case .deliver(let id, let tokens):
      let index = Int(id.rawValue)
      if clients[index].endCount > 0 { violations.append("tokens after the end of \(index)") }
      if clients[index].firstTokenAt == nil { clients[index].firstTokenAt = now }
      clients[index].delivered += tokens
      for token in tokens { note(UInt64(token.rawValue)) }
    case .finish(let id, let reason, let totals):
      clients[Int(id.rawValue)].finish = reason
      clients[Int(id.rawValue)].totals = totals
      ended(Int(id.rawValue))
    case .fail(let id, let failure):
      clients[Int(id.rawValue)].failure = failure
      checkFailure(of: Int(id.rawValue))
      ended(Int(id.rawValue))
    default:
      guard let peer = effect.peer else { return }
      guard let connection = peers[peer], connections[connection].peer == peer,
        connections[connection].isUp
      else {
        routerInbox.append(.left(peer: peer))
        return
      }
      send(.fromRouter(effect), over: connection, from: 0)
    }
  }

  private mutating func ended(_ index: Int) {
    clients[index].endCount += 1
    clients[index].endedAt = now
    openCount -= 1
    note(UInt64(clients[index].delivered.count))
    if clients[index].endCount > 1 { violations.append("client \(index) ended twice") }
  }

  /// A text may only be given up where no verifier was there to take over for the whole time that
  /// the router waits.
  private mutating func checkFailure(of index: Int) {
    let wait = scenario.routing.recoveryMax.simulated
    for node in scenario.verifierNodes {
      guard let since = processes[node].healthySince, now - since > wait else { continue }
      violations.append(
        "client \(index) was given up at \(now) ns (\(clients[index].failure.map { "\($0)" } ?? "")"
          + ") though \(processes[node].name) was well since \(since) ns")
    }
  }

  // MARK: control connection of a worker

  mutating func start(_ node: Int) {
    processes[node].isRunning = true
    processes[node].epoch = random.next() | 1
    processes[node].isRegistered = false
    processes[node].retryAt = nil
    markHealth(of: node)
    connect(processes[node].routerConnection)
    queue.push(
      .heartbeat(node: node, epoch: processes[node].epoch), at: now + heartbeatPeriod)
  }

  private var heartbeatPeriod: SimulationTime {
    max(1, scenario.routing.heartbeatInterval.simulated / 2)
  }

  mutating func register(_ node: Int) {
    let process = processes[node]
    processes[node].isRegistered = false
    processes[node].lastHeard = now
    processes[node].retryAt = nil
    var registration = WorkerRegistration(
      role: process.role, name: process.name, epoch: process.epoch, modelFingerprint: [1],
      tokenizerFingerprint: [2], vocabularyCount: scenario.target.vocabularyCount,
      contextLength: Self.contextLength,
      slotCount: process.role == .verifier ? scenario.verifierSlots : scenario.drafterSlots)
    if process.role == .verifier { registration.endpoint = "\(node)" }
    send(.toRouter(.registered(peer: 0, registration)), over: process.routerConnection, from: node)
  }

  mutating func sendToRouter(_ event: RouterMachine.Event, from node: Int) {
    send(.toRouter(event), over: processes[node].routerConnection, from: node)
  }

  mutating func heartbeat(_ node: Int) {
    let process = processes[node]
    queue.push(.heartbeat(node: node, epoch: process.epoch), at: now + heartbeatPeriod)
    let silence = scenario.routing.heartbeatInterval.simulated * Self.heartbeatSilence
    if let retryAt = process.retryAt, now >= retryAt {
      register(node)
    } else if process.isRegistered {
      // The router may have forgotten this worker.
      if now - process.lastHeard > silence {
        register(node)
      } else {
        sendToRouter(.heartbeat(peer: 0, isDraining: false), from: node)
      }
    } else if now - process.lastHeard > silence, process.retryAt == nil {
      register(node)
    }
  }

  mutating func forgetSessions(of node: Int) {
    if scenario.verifierNodes.contains(node) {
      verifierMail(.reset, at: node)
    } else {
      resetDrafter(node)
    }
  }

  mutating func workerReceives(_ effect: RouterMachine.Effect, at node: Int) {
    processes[node].lastHeard = now
    switch effect {
    case .accept: processes[node].isRegistered = true
    case .refuse(_, .tooManyWorkers, _): processes[node].retryAt = now + 1_000_000_000
    case .refuse, .displace:
      // Names are unique here, so this is a registration that came late.
      processes[node].retryAt = now + 1_000_000_000
    case .askToRegister:
      forgetSessions(of: node)
      register(node)
    case .openSession(_, let id, let request, let decided):
      verifierMail(.open(id, request, decided: decided), at: node)
    case .cancelSession(_, let id): verifierMail(.cancel(id), at: node)
    case .announceDrafter(_, let id, let name, let epoch):
      verifierMail(.assigned(id, name: name, epoch: epoch), at: node)
    case .assignDraft(_, let id, let endpoint, _, _):
      if let verifier = Int(endpoint) { assign(id, verifier: verifier, to: node) }
    case .endDraft(_, let id): endDraft(id, at: node)
    case .deliver, .finish, .fail: break
    }
  }
}

extension RouterMachine.Effect {
  /// Whom it is sent to.
  var peer: Int? {
    switch self {
    case .accept(let peer), .refuse(let peer, _, _), .displace(let peer, _),
      .askToRegister(let peer), .openSession(let peer, _, _, _), .cancelSession(let peer, _),
      .announceDrafter(let peer, _, _, _), .assignDraft(let peer, _, _, _, _),
      .endDraft(let peer, _):
      peer
    case .deliver, .finish, .fail: nil
    }
  }
}

import Decoding
import InferenceTypes

/// Connections and what they carry.
extension SimulatedCluster {
  /// Sends over the present connection; what is sent over a broken one is lost.
  mutating func send(_ message: SimulatedMessage, over index: Int, from node: Int) {
    let connection = connections[index]
    guard connection.isUp else { return }
    let receiver = connection.dialer == node ? connection.listener : connection.dialer
    if processes[receiver].overflowCount > 0, receiver == 0 || connection.listener != 0,
      random.below(3) == 0
    {
      // The router's transport says when it drops something.
      if receiver == 0 { routerInbox.append(.messagesLost) }
      return
    }
    guard connection.cutCount == 0 else {
      connections[index].held.append((receiver, message))
      return
    }
    transmit(message, over: index, to: receiver)
  }

  private mutating func transmit(
    _ message: SimulatedMessage, over index: Int, to receiver: Int
  ) {
    let network = scenario.network
    let isToDialer = connections[index].dialer == receiver
    var departure = now
    if network.bytesPerSecond > 0 {
      let busy =
        isToDialer ? connections[index].busyUntil.toDialer : connections[index].busyUntil.toListener
      let seconds = Double(message.sizeBytes) / network.bytesPerSecond
      departure = max(now, busy) + SimulationTime(seconds * 1e9)
      if isToDialer {
        connections[index].busyUntil.toDialer = departure
      } else {
        connections[index].busyUntil.toListener = departure
      }
    }
    var arrival = departure + network.delay.simulated + random.time(below: network.jitter.simulated)
    while network.lossRate > 0, random.unit() < network.lossRate {
      arrival += max(1, network.retransmission.simulated)
    }
    if isToDialer {
      arrival = max(arrival, connections[index].lastArrivals.atDialer)
      connections[index].lastArrivals.atDialer = arrival
    } else {
      arrival = max(arrival, connections[index].lastArrivals.atListener)
      connections[index].lastArrivals.atListener = arrival
    }
    queue.push(
      .arrival(
        connection: index, generation: connections[index].generation, node: receiver, message),
      // Who ends a pass at this moment finds the message.
      at: arrival, isFirst: true)
  }

  /// The dialer tries to connect; it tries again where nobody answers.
  mutating func connect(_ index: Int) {
    let connection = connections[index]
    guard !connection.isUp, processes[connection.dialer].isRunning else { return }
    guard processes[connection.listener].isRunning, connection.cutCount == 0 else {
      queue.push(
        .connect(connection: index),
        at: now + max(1_000_000, scenario.network.reconnection.simulated))
      return
    }
    connections[index].isUp = true
    connections[index].generation += 1
    connections[index].lastArrivals = (0, 0)
    connections[index].busyUntil = (0, 0)
    if connection.listener == 0 {
      peerCount += 1
      connections[index].peer = peerCount
      peers[peerCount] = index
    }
    queue.push(
      .connected(
        connection: index, generation: connections[index].generation, node: connection.dialer),
      at: now + scenario.network.roundTrip.simulated)
  }

  /// Breaks a connection; what is on its way is lost. The node `silentTo` does not hear of it.
  mutating func disconnect(_ index: Int, silentTo: Int? = nil) {
    guard connections[index].isUp else { return }
    connections[index].isUp = false
    connections[index].generation += 1
    connections[index].held.removeAll()
    for node in [connections[index].dialer, connections[index].listener] where node != silentTo {
      queue.push(
        .disconnected(
          connection: index, generation: connections[index].generation, node: node),
        at: now + scenario.network.delay.simulated)
    }
  }

  mutating func cut(_ index: Int) { connections[index].cutCount += 1 }

  /// What was sent meanwhile arrives; or the connection did not survive.
  mutating func heal(_ index: Int) {
    connections[index].cutCount -= 1
    guard connections[index].cutCount == 0, connections[index].isUp else { return }
    guard random.below(3) > 0 else { return disconnect(index) }
    let held = connections[index].held
    connections[index].held.removeAll()
    for (node, message) in held { transmit(message, over: index, to: node) }
  }

  /// A node's end of a connection is ready.
  mutating func connected(_ index: Int, at node: Int) {
    if connections[index].listener == 0 {
      forgetSessions(of: node)
      register(node)
    } else {
      drafterLinked(node, verifier: connections[index].listener)
    }
  }

  mutating func disconnected(_ index: Int, at node: Int) {
    let connection = connections[index]
    if node == 0 {
      // A newer connection has a peer of its own by now.
      for (peer, of) in peers.sorted(by: { $0.key < $1.key })
      where of == index && (peer != connection.peer || !connection.isUp) {
        peers[peer] = nil
        feed(.left(peer: peer))
      }
    } else if connection.listener == 0 {
      processes[node].isRegistered = false
      forgetSessions(of: node)
      queue.push(.connect(connection: index), at: now + scenario.network.reconnection.simulated)
    } else if connection.dialer == node {
      drafterUnlinked(node, verifier: connection.listener)
      queue.push(.connect(connection: index), at: now + scenario.network.reconnection.simulated)
    } else {
      verifierUnlinked(node, drafter: connection.dialer)
    }
  }

  func dataConnection(drafter: Int, verifier: Int) -> Int? {
    dataConnections[drafter * scenario.nodeCount + verifier]
  }

  /// The drafter wants to speak to a verifier.
  mutating func ensureDataConnection(drafter: Int, verifier: Int) {
    if let index = dataConnection(drafter: drafter, verifier: verifier) {
      if connections[index].isUp { drafterLinked(drafter, verifier: verifier) }
      return
    }
    let index = connections.count
    connections.append(SimulatedConnection(dialer: drafter, listener: verifier))
    for (fault, isActive) in zip(scenario.faults, activePartitions()) where isActive {
      guard case .partition(let nodes) = fault.kind else { continue }
      if nodes.contains(drafter) != nodes.contains(verifier) { connections[index].cutCount += 1 }
    }
    dataConnections[drafter * scenario.nodeCount + verifier] = index
    connect(index)
  }

  private func activePartitions() -> [Bool] {
    scenario.faults.map { fault in
      fault.start <= now && fault.end.map { now < max($0, fault.start + 1) } ?? true
    }
  }

  /// Delivers one message.
  mutating func deliver(_ message: SimulatedMessage, over connection: Int, at node: Int) {
    let dialer = connections[connection].dialer
    switch message {
    case .toRouter(let event): feed(event.addressed(to: connections[connection].peer))
    case .fromRouter(let effect): workerReceives(effect, at: node)
    case .heartbeatReply: processes[node].lastHeard = now
    case .attach, .endDraft:
      verifierMail(.message(message, drafter: dialer, arrival: now), at: node)
    case .nodes(_, let update):
      note(UInt64(update.nodes.count))
      verifierMail(.message(message, drafter: dialer, arrival: now), at: node)
    case .attached(let session, let sampling, let promptCount, let truthCount):
      drafterAttached(
        node, session, sampling: sampling, promptCount: promptCount, truthCount: truthCount)
    case .attachRefused(let session): drafterRefused(node, session)
    case .truth(let session, let update, let isFinished):
      drafterHears(node, session, update, isFinished: isFinished)
    }
  }
}

extension RouterMachine.Event {
  /// The same with the peer it came from.
  func addressed(to peer: Int) -> Self {
    switch self {
    case .registered(_, let registration): .registered(peer: peer, registration)
    case .heartbeat(_, let isDraining): .heartbeat(peer: peer, isDraining: isDraining)
    case .left: .left(peer: peer)
    case .tokens(_, let session, let firstIndex, let tokens, let ending, let mirostatLimit):
      .tokens(
        peer: peer, session: session, firstIndex: firstIndex, tokens, ending: ending,
        mirostatLimit: mirostatLimit)
    case .failed(_, let session, let isRetryable, let message):
      .failed(peer: peer, session: session, isRetryable: isRetryable, message: message)
    case .refused(_, let session, let message):
      .refused(peer: peer, session: session, message: message)
    case .requested, .stopped, .cancelled, .messagesLost, .drain, .tick: self
    }
  }
}

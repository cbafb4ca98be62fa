import Decoding
import InferenceTypes

/// What goes wrong.
extension SimulatedCluster {
  mutating func begin(_ fault: SimulatedFault) {
    switch fault.kind {
    case .crash(let node, let isSilent): crash(node, isSilent: isSilent)
    case .stall(let node): processes[node].stallCount += 1
    case .slow(let node, let factor): processes[node].slowness *= max(1, factor)
    case .disconnect(let node):
      for index in connections.indices where connections[index].joins(node) { disconnect(index) }
    case .partition(let nodes):
      for index in connections.indices where connections[index].crosses(nodes) { cut(index) }
    case .overflow(let node): processes[node].overflowCount += 1
    }
    for node in scenario.verifierNodes { markHealth(of: node) }
  }

  mutating func end(_ fault: SimulatedFault) {
    switch fault.kind {
    case .crash(let node, _): if !processes[node].isRunning { start(node) }
    case .stall(let node): resume(node)
    case .slow(let node, let factor): processes[node].slowness /= max(1, factor)
    case .disconnect: break
    case .partition(let nodes):
      for index in connections.indices where connections[index].crosses(nodes) { heal(index) }
    case .overflow(let node): processes[node].overflowCount -= 1
    }
    for node in scenario.verifierNodes { markHealth(of: node) }
  }

  private mutating func crash(_ node: Int, isSilent: Bool) {
    guard processes[node].isRunning else { return }
    endComputing(node)
    processes[node].isRunning = false
    processes[node].isRegistered = false
    processes[node].parked.removeAll()
    if scenario.verifierNodes.contains(node) {
      verifiers[verifierIndex(node)] = VerifierNode(scenario)
    } else {
      drafters[drafterIndex(node)] = DrafterNode()
    }
    for index in connections.indices where connections[index].joins(node) {
      let other =
        connections[index].dialer == node ? connections[index].listener : connections[index].dialer
      disconnect(index, silentTo: isSilent ? other : nil)
    }
  }

  private mutating func resume(_ node: Int) {
    processes[node].stallCount -= 1
    guard processes[node].stallCount == 0 else { return }
    let parked = processes[node].parked
    processes[node].parked.removeAll()
    // Another stall does not begin in between: it is an event of its own.
    for event in parked { perform(event) }
  }

  /// Notes since when a worker is fit for work. The time that it takes to register again is part
  /// of what follows, and of the margin of those who ask.
  mutating func markHealth(of node: Int) {
    let process = processes[node]
    let isFaulty = scenario.faults.contains { fault in
      fault.start <= now && fault.end.map { now < $0 } ?? true && fault.concerns(node)
    }
    guard process.isRunning, !isFaulty else {
      processes[node].healthySince = nil
      return
    }
    if process.healthySince == nil { processes[node].healthySince = now }
  }
}

extension SimulatedConnection {
  func joins(_ node: Int) -> Bool { dialer == node || listener == node }

  /// Whether it leads from these nodes to others.
  func crosses(_ nodes: [Int]) -> Bool { nodes.contains(dialer) != nodes.contains(listener) }
}

extension SimulatedFault {
  /// The nodes that are worse off; all of them where the router is, or messages to it are lost.
  var nodes: [Int] {
    switch kind {
    case .crash(let node, _), .stall(let node), .slow(let node, _), .disconnect(let node),
      .overflow(let node):
      [node]
    case .partition(let nodes): nodes
    }
  }

  func concerns(_ node: Int) -> Bool { nodes.contains(node) || nodes.contains(0) }
}

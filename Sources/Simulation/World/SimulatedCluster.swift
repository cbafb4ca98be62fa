import Decoding
import InferenceTypes

/// A cluster under a virtual clock: the state machines of `Decoding`, driven as the daemons drive
/// them, over a network that delays, loses and cuts. One scenario is one trace.
package struct SimulatedCluster: Sendable {
  let scenario: Scenario
  let drafter: ToyDrafter
  package private(set) var now: SimulationTime = 0
  /// Of everything that happened: equal where two runs are the same.
  package private(set) var traceHash: UInt64 = 0
  package private(set) var eventCount = 0
  package var clients: [SimulatedClient]
  /// What must never happen, in words.
  package var violations: [String] = []
  var random: SimulationRandom
  var queue = EventQueue<SimulatedEvent>()
  var connections: [SimulatedConnection] = []
  /// By drafter and verifier.
  var dataConnections: [Int: Int] = [:]
  var processes: [WorkerProcess] = []
  var verifiers: [VerifierNode]
  var drafters: [DrafterNode]
  var router: RouterMachine
  var routerEffects: [RouterMachine.Effect] = []
  var routerInbox: [RouterMachine.Event] = []
  /// The connection behind each of the router's peers.
  var peers: [Int: Int] = [:]
  var peerCount = 0
  var openCount: Int
  var scratch = ToyScratch()

  package init(_ scenario: Scenario) {
    self.scenario = scenario
    drafter = ToyDrafter(
      target: scenario.target, hitRates: scenario.hitRates, seed: mixed(scenario.seed ^ 7))
    random = SimulationRandom(scenario.seed)
    clients = scenario.requests.map { _ in SimulatedClient() }
    openCount = scenario.requests.count
    verifiers = scenario.verifierNodes.map { _ in VerifierNode(scenario) }
    drafters = scenario.drafterNodes.map { _ in DrafterNode() }
    var expected = ExpectedModel(
      modelFingerprint: [1], tokenizerFingerprint: [2],
      vocabularyCount: scenario.target.vocabularyCount, contextLength: 1 << 20)
    expected.contextLength = Self.contextLength
    router = RouterMachine(configuration: scenario.routing, expected: expected)
    processes.append(WorkerProcess(name: "router", role: .verifier, isRunning: true))
    for node in 1..<scenario.nodeCount {
      let isVerifier = scenario.verifierNodes.contains(node)
      var process = WorkerProcess(
        name: isVerifier ? "v\(node)" : "d\(node)", role: isVerifier ? .verifier : .drafter)
      process.routerConnection = connections.count
      connections.append(SimulatedConnection(dialer: node, listener: 0))
      processes.append(process)
    }
    schedule()
  }

  static let contextLength = 1 << 22

  private mutating func schedule() {
    for node in 1..<scenario.nodeCount {
      queue.push(.join(node: node), at: scenario.joinTimes[node] ?? 0)
    }
    queue.push(.tick, at: 0)
    for (index, request) in scenario.requests.enumerated() {
      queue.push(.request(index), at: request.time)
    }
    for (index, fault) in scenario.faults.enumerated() {
      queue.push(.faultStart(index), at: fault.start)
      if let end = fault.end { queue.push(.faultEnd(index), at: max(end, fault.start + 1)) }
    }
  }

  /// Clients whose text has not ended.
  package var openClientCount: Int { openCount }

  /// Runs until every client has its text or an error.
  ///
  /// - Parameter deadline: virtual time at which the run is given up.
  /// - Returns: whether all clients have ended.
  @discardableResult
  package mutating func run(until deadline: SimulationTime) -> Bool {
    while openCount > 0 {
      guard let (time, event) = queue.pop(), time <= deadline else { return false }
      now = time
      step(event)
    }
    return true
  }

  private mutating func step(_ event: SimulatedEvent) {
    let (node, kind) = event.subject
    traceHash = mixed(
      traceHash ^ UInt64(bitPattern: now) ^ kind << 56
        ^ UInt64(truncatingIfNeeded: node) << 32)
    eventCount += 1
    if node >= 0, processes[node].stallCount > 0 {
      // A tick of a router that stands still is not made up for.
      if case .tick = event {
        queue.push(.tick, at: now + tickInterval)
      } else {
        processes[node].parked.append(event)
      }
      return
    }
    perform(event)
  }

  func absorbed(_ value: UInt64) -> UInt64 { mixed(traceHash ^ value) }

  /// Makes a decision part of the trace.
  mutating func note(_ value: UInt64) { traceHash = absorbed(value) }

  mutating func perform(_ event: SimulatedEvent) {
    switch event {
    case .arrival(let connection, let generation, let node, let message):
      guard connections[connection].generation == generation, processes[node].isRunning else {
        return
      }
      deliver(message, over: connection, at: node)
    case .connected(let connection, let generation, let node):
      guard connections[connection].generation == generation, connections[connection].isUp,
        processes[node].isRunning
      else { return }
      connected(connection, at: node)
    case .disconnected(let connection, _, let node):
      guard processes[node].isRunning else { return }
      disconnected(connection, at: node)
    case .connect(let connection): connect(connection)
    case .computed(let node, let serial):
      guard processes[node].isRunning, processes[node].serial == serial else { return }
      endComputing(node)
      if scenario.verifierNodes.contains(node) {
        verifierComputed(node)
      } else {
        drafterComputed(node)
      }
    case .heartbeat(let node, let epoch):
      guard processes[node].isRunning, processes[node].epoch == epoch else { return }
      heartbeat(node)
    case .wakeUp(let node, let epoch):
      guard processes[node].isRunning, processes[node].epoch == epoch else { return }
      if scenario.verifierNodes.contains(node) { advanceVerifier(node) } else { wakeDrafter(node) }
    case .tick:
      queue.push(.tick, at: now + tickInterval)
      feed(.tick)
    case .request(let index): admit(index)
    case .join(let node): start(node)
    case .faultStart(let index): begin(scenario.faults[index])
    case .faultEnd(let index): end(scenario.faults[index])
    }
  }

  var tickInterval: SimulationTime { max(1, scenario.routing.heartbeatInterval.simulated / 4) }

  // MARK: computing

  /// Begins a computation of this many nanoseconds; ``SimulatedEvent/computed(node:serial:)`` ends it.
  mutating func compute(_ node: Int, for time: SimulationTime) {
    processes[node].serial += 1
    processes[node].isBusy = true
    processes[node].busySince = now
    let slowed = Double(time) * processes[node].slowness
    queue.push(
      .computed(node: node, serial: processes[node].serial),
      at: now + max(1, SimulationTime(slowed)))
  }

  /// The computation is over, or given up.
  mutating func endComputing(_ node: Int) {
    guard processes[node].isBusy else { return }
    processes[node].isBusy = false
    processes[node].serial += 1
    processes[node].busyTime += now - processes[node].busySince
  }

  /// Share of the time that a node has computed.
  package func utilisation(of node: Int) -> Double {
    let running = processes[node].isBusy ? now - processes[node].busySince : 0
    return Double(processes[node].busyTime + running) / Double(max(1, now))
  }
}

/// Buffers of the toy models.
struct ToyScratch: Sendable {
  var logits: [Float] = []
  var top: [TokenLogit] = []
  var hashes: [UInt64] = []
}

package import Decoding
package import InferenceTypes

/// What travels between two nodes.
enum SimulatedMessage: Sendable {
  /// The peer is filled in where it arrives.
  case toRouter(RouterMachine.Event)
  case fromRouter(RouterMachine.Effect)
  case heartbeatReply
  case attach(SessionID, epoch: UInt64, truthCount: Int, truthHash: UInt64)
  case attached(SessionID, sampling: SamplingParameters, promptCount: Int, truthCount: Int)
  case attachRefused(SessionID)
  case nodes(SessionID, DraftUpdate)
  case truth(SessionID, TruthUpdate, isFinished: Bool)
  case endDraft(SessionID)

  /// About what it takes on the wire.
  var sizeBytes: Int {
    switch self {
    case .nodes(_, let update): 40 + 8 * update.nodes.count
    case .truth(_, let update, _): 40 + 8 * update.tokens.count
    case .fromRouter(.openSession(_, _, let request, let decided)):
      120 + 4 * (request.prompt.count + decided.count)
    case .toRouter(.tokens(_, _, _, let tokens, _, _)): 60 + 4 * tokens.count
    default: 60
    }
  }
}

/// What happens in a simulated cluster.
enum SimulatedEvent: Sendable {
  case arrival(connection: Int, generation: Int, node: Int, SimulatedMessage)
  /// A node notices that its connection is there or gone.
  case connected(connection: Int, generation: Int, node: Int)
  case disconnected(connection: Int, generation: Int, node: Int)
  case connect(connection: Int)
  case computed(node: Int, serial: Int)
  case heartbeat(node: Int, epoch: UInt64)
  /// A worker looks at what it waits for.
  case wakeUp(node: Int, epoch: UInt64)
  case tick
  case request(Int)
  case join(node: Int)
  case faultStart(Int)
  case faultEnd(Int)

  /// The node that a stall of it concerns, and a number for the trace.
  var subject: (node: Int, kind: UInt64) {
    switch self {
    case .arrival(_, _, let node, _): (node, 1)
    case .connected(_, _, let node): (node, 2)
    case .disconnected(_, _, let node): (node, 3)
    case .connect(let connection): (-1 - connection, 4)
    case .computed(let node, _): (node, 5)
    case .heartbeat(let node, _): (node, 6)
    case .wakeUp(let node, _): (node, 7)
    case .tick: (0, 8)
    case .request: (0, 9)
    case .join(let node): (-1 - node, 10)
    case .faultStart(let index): (-1 - index, 11)
    case .faultEnd(let index): (-1 - index, 12)
    }
  }
}

/// Two nodes that can speak to each other.
struct SimulatedConnection: Sendable {
  /// The side that dials.
  let dialer: Int
  let listener: Int
  var isUp = false
  /// Rises with every connection, so that what was sent over an older one is lost.
  var generation = 0
  /// Name of the dialer at the router.
  var peer = -1
  /// Latest arrivals: at the dialer, at the listener. Streams keep their order.
  var lastArrivals: (atDialer: SimulationTime, atListener: SimulationTime) = (0, 0)
  /// When the last byte left: towards the dialer, towards the listener.
  var busyUntil: (toDialer: SimulationTime, toListener: SimulationTime) = (0, 0)
  /// Number of partitions that cut it.
  var cutCount = 0
  /// Messages sent while it was cut.
  var held: [(node: Int, message: SimulatedMessage)] = []
}

/// What every process has.
struct WorkerProcess: Sendable {
  let name: String
  let role: WorkerRegistration.Role
  var isRunning = false
  /// Rises with every start.
  var epoch: UInt64 = 0
  var stallCount = 0
  var overflowCount = 0
  var slowness = 1.0
  /// What waits for a stalled process.
  var parked: [SimulatedEvent] = []
  var routerConnection = -1
  var isRegistered = false
  var lastHeard: SimulationTime = 0
  var retryAt: SimulationTime?
  /// Since when nothing was wrong with it, its connection to the router included.
  var healthySince: SimulationTime?
  /// Names the computation that runs; others were given up.
  var serial = 0
  var isBusy = false
  var busyTime: SimulationTime = 0
  var busySince: SimulationTime = 0
}

/// One client as the router serves it.
package struct SimulatedClient: Sendable {
  package var delivered: [TokenID] = []
  package var firstTokenAt: SimulationTime?
  package var endedAt: SimulationTime?
  package var finish: FinishReason?
  package var failure: RouteFailure?
  package var totals = RoutedTotals()
  package var endCount = 0
}

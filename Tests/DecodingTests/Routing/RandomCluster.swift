import Decoding
import InferenceTypes

/// A router among workers that join, die, stop and go on, lose and invent messages; all by one
/// seed. Links keep the order of what they carry.
struct RandomCluster {
  struct Worker {
    let registration: WorkerRegistration
    var inbox: [RouterMachine.Effect] = []
    var outbox: [RouterMachine.Event] = []
    /// Generated tokens of the sessions that it runs, and their limits.
    var sessions: [(id: SessionID, decided: Int, limit: Int)] = []
    /// Carries nothing while it is stopped.
    var isStopped = false
  }

  struct Client {
    let limit: Int
    var delivered: [TokenID] = []
    var endCount = 0
    var wasCancelled = false
  }

  static let configuration = {
    var configuration = RouterMachine.Configuration()
    configuration.queueCountMax = 4
    configuration.workerCountMax = 6
    configuration.recoveryMax = .seconds(3)
    configuration.silenceMax = .seconds(3)
    configuration.silenceAfterLossMax = .seconds(1)
    return configuration
  }()

  var bench = RouterBench(Self.configuration)
  /// The same router with other names for its peers: what it does must not depend on them.
  private var twin: RouterBench?
  var workers: [Int: Worker] = [:]
  var clients: [SessionID: Client] = [:]
  /// What must not happen.
  private(set) var violations: [String] = []
  private var random: SmallRandom
  private var peerCount = 0
  private var epochCount: UInt64 = 0

  init(seed: UInt64, hasTwin: Bool = false) {
    random = SmallRandom(seed)
    if hasTwin { twin = bench }
  }

  /// The text of every session, wherever it is written.
  static func token(_ id: SessionID, _ index: Int) -> TokenID {
    TokenID(UInt32((id.rawValue &* 31 &+ UInt64(index) &* 17) % 97))
  }

  mutating func run(stepCount: Int) {
    for step in 0..<stepCount {
      act(isLate: step > stepCount * 3 / 4)
      for _ in 0..<3 { carry() }
      pass(.milliseconds(random.below(80)))
    }
  }

  /// Time goes on until all sessions have ended. The workers die, finish what they have, or do
  /// nothing but live.
  mutating func finish() {
    let fate = random.below(8)
    if fate < 4 { workers.removeAll() }
    for _ in 0..<3000 where clients.values.contains(where: { $0.endCount == 0 }) {
      for _ in 0..<3 { carry() }
      if fate < 7 { progress() }
      pass(.milliseconds(50))
    }
  }

  private mutating func pass(_ duration: Duration) {
    bench.now += duration
    twin?.now = bench.now
    feed(.tick)
    for peer in workers.keys.sorted() where random.below(2) == 0 {
      workers[peer]?.outbox.append(.heartbeat(peer: peer, isDraining: false))
    }
  }

  private mutating func act(isLate: Bool) {
    switch random.below(20) {
    case 0...2: join(name: "w\(random.below(7))")
    case 3: leave()
    case 4:
      if let peer = anyWorker() { workers[peer]?.isStopped.toggle() }
    case 5...9: request()
    case 10:
      if let id = anyClient() {
        clients[id]?.wasCancelled = true
        feed(.cancelled(id))
      }
    case 11:
      if let id = anyClient(), clients[id]?.delivered.isEmpty == false { feed(.stopped(id)) }
    case 12: misbehave()
    case 13:
      if let peer = anyWorker(), workers[peer]?.outbox.isEmpty == false {
        workers[peer]?.outbox.removeFirst()
        feed(.messagesLost)
      }
    case 14 where isLate && random.below(8) == 0: feed(.drain)
    default: progress()
    }
  }

  private mutating func anyWorker() -> Int? {
    workers.keys.sorted().randomElement(using: &random)
  }

  private mutating func anyClient() -> SessionID? {
    clients.filter { $0.value.endCount == 0 }.keys.sorted().randomElement(using: &random)
  }

  private mutating func join(name: String) {
    peerCount += 1
    epochCount += 1
    let registration = RouterBench.registration(
      peerCount, random.below(3) == 0 ? .drafter : .verifier, name: name, epoch: epochCount,
      slots: 1 + random.below(3))
    workers[peerCount] = Worker(registration: registration)
    feed(.registered(peer: peerCount, registration))
  }

  /// A worker dies, or loses its connection and comes back on another.
  private mutating func leave() {
    guard let peer = anyWorker(), var worker = workers.removeValue(forKey: peer) else { return }
    feed(.left(peer: peer))
    guard random.below(2) == 0 else { return }
    peerCount += 1
    worker.inbox = []
    worker.outbox = [.registered(peer: peerCount, worker.registration)]
    workers[peerCount] = worker
  }

  private mutating func request() {
    let id = SessionID(rawValue: UInt64(clients.count + 1))
    let limit = 1 + random.below(10)
    clients[id] = Client(limit: limit)
    feed(.requested(id, RouterBench.request(limit: limit)))
  }

  private mutating func progress() {
    guard let peer = anyWorker(), let worker = workers[peer], !worker.sessions.isEmpty else {
      return
    }
    let index = random.below(worker.sessions.count)
    let session = worker.sessions[index]
    let count = min(1 + random.below(3), session.limit - session.decided)
    let tokens = (session.decided..<session.decided + count).map { Self.token(session.id, $0) }
    let isLast = session.decided + count == session.limit
    let ending = isLast ? RoutedEnding(reason: .length, totals: RoutedTotals()) : nil
    workers[peer]?.sessions[index].decided += count
    if isLast { workers[peer]?.sessions.remove(at: index) }
    workers[peer]?.outbox.append(
      .tokens(
        peer: peer, session: session.id, firstIndex: session.decided, tokens, ending: ending))
  }

  private mutating func misbehave() {
    guard let peer = anyWorker(), let id = clients.keys.sorted().randomElement(using: &random)
    else { return }
    let first = random.below(12)
    let tokens: [TokenID] = random.below(2) == 0 ? [100] : []
    switch random.below(3) {
    case 0:
      workers[peer]?.outbox.append(
        .tokens(peer: peer, session: id, firstIndex: first + 1, tokens, ending: nil))
    case 1:
      workers[peer]?.sessions.removeAll { $0.id == id }
      workers[peer]?.outbox.append(
        .failed(peer: peer, session: id, isRetryable: true, message: "broken"))
    default:
      workers[peer]?.outbox.append(.heartbeat(peer: peer, isDraining: random.below(2) == 0))
    }
  }

  /// One link carries one message each way.
  private mutating func carry() {
    guard let peer = anyWorker(), var worker = workers[peer], !worker.isStopped else { return }
    if !worker.inbox.isEmpty {
      receive(worker.inbox.removeFirst(), at: peer, &worker)
    }
    let event = worker.outbox.isEmpty ? nil : worker.outbox.removeFirst()
    workers[peer] = worker
    if let event { feed(event) }
  }

  private mutating func receive(
    _ effect: RouterMachine.Effect, at peer: Int, _ worker: inout Worker
  ) {
    switch effect {
    case .askToRegister:
      worker.outbox.append(.registered(peer: peer, worker.registration))
    case .openSession(_, let id, let request, let decided):
      if worker.sessions.contains(where: { $0.id == id }) {
        violations.append("session \(id) opened twice at \(peer)")
      }
      if worker.sessions.count < worker.registration.slotCount {
        worker.sessions.append((id, decided.count, request.tokenLimit))
      } else {
        worker.outbox.append(
          .failed(peer: peer, session: id, isRetryable: true, message: "full"))
      }
    case .cancelSession(_, let id):
      let isKnown = worker.sessions.contains { $0.id == id }
      worker.sessions.removeAll { $0.id == id }
      let ending = RoutedEnding(reason: .cancelled, totals: RoutedTotals())
      worker.outbox.append(
        isKnown
          ? .tokens(peer: peer, session: id, firstIndex: 0, [], ending: ending)
          : .failed(peer: peer, session: id, isRetryable: true, message: "unknown"))
    default: break
    }
  }

  private mutating func feed(_ event: RouterMachine.Event) {
    let effects = bench.handle(event)
    if let relabelled = twin?.handle(event.mapPeer { $0 * 7919 % 10_007 }),
      relabelled != effects.map({ $0.mapPeer { $0 * 7919 % 10_007 } })
    {
      violations.append("\(event): \(effects) but also \(relabelled)")
    }
    for effect in effects { perform(effect) }
    check()
  }

  private mutating func perform(_ effect: RouterMachine.Effect) {
    switch effect {
    case .deliver(let id, let tokens):
      if clients[id]?.endCount != 0 { violations.append("\(id): tokens after its end") }
      clients[id]?.delivered += tokens
    case .finish(let id, let reason, _):
      clients[id]?.endCount += 1
      if let client = clients[id], reason == .length, client.delivered.count != client.limit {
        violations.append("\(id): \(client.delivered.count) of \(client.limit) tokens")
      }
    case .fail(let id, _): clients[id]?.endCount += 1
    case .openSession(let peer, let id, _, _), .assignDraft(let peer, let id, _, _, _):
      if bench.machine.registration(of: peer) == nil { violations.append("\(id) at no worker") }
      workers[peer]?.inbox.append(effect)
    default:
      if let peer = effect.peer { workers[peer]?.inbox.append(effect) }
    }
  }

  private mutating func check() {
    let machine = bench.machine
    for peer in 0...peerCount where machine.sessionCount(at: peer) > 0 {
      let slots = machine.registration(of: peer)?.slotCount ?? 0
      if machine.sessionCount(at: peer) > slots { violations.append("\(peer) is overbooked") }
    }
    // Those that lost a verifier had a slot; only new ones queue.
    if machine.queuedCount > Self.configuration.queueCountMax { violations.append("long queue") }
    let open = clients.values.count { $0.endCount == 0 }
    if open != machine.sessionCount {
      violations.append("\(open) clients, not \(machine.sessionCount)")
    }
  }
}

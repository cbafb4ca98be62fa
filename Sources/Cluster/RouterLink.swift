import InferenceTypes
import Logging
import Synchronization
import Transport
import Wire

/// A worker's connection to one router: registers on every connection, answers for its life by
/// heartbeats, and hands on what concerns sessions.
final class RouterLink: Sendable {
  private struct State {
    var isRegistered = false
    var interval = Duration.milliseconds(200)
    var lastHeard: ContinuousClock.Instant?
    var sequence: UInt64 = 0
    var echo: (sentAt: UInt64, at: ContinuousClock.Instant)?
    var retryAt: ContinuousClock.Instant?
  }

  private let transport: any FrameTransport
  private let registration: Register
  private let logger: Logger
  private let state = Mutex(State())
  private let isDraining = Atomic<Bool>(false)
  private let start = ContinuousClock().now

  init(transport: any FrameTransport, registration: Register, logger: Logger) {
    self.transport = transport
    self.registration = registration
    self.logger = logger
  }

  /// Sends to the router; what cannot be sent is lost, the router notices by index or silence.
  func send(_ envelope: Envelope) {
    do {
      let result = transport.send(try envelope.encoded())
      if result != .queued, result != .peerGone {
        logger.warning(
          "frame to the router not sent",
          metadata: ["message.type": "\(envelope.message.name)", "reason": "\(result)"])
      }
    } catch {
      logger.error(
        "message cannot be encoded",
        metadata: ["message.type": "\(envelope.message.name)", "error": "\(error)"])
    }
  }

  /// Tells the router that no new sessions are taken.
  func drain() { isDraining.store(true, ordering: .relaxed) }

  /// Runs until the task is cancelled.
  ///
  /// - Parameters:
  ///   - activeSessionCount: asked for each heartbeat.
  ///   - totals: what each heartbeat tells of this worker's work.
  ///   - onRegistered: called whenever the router has taken this worker.
  ///   - onReset: the router forgot this worker: its sessions are void.
  ///   - onMessage: everything about sessions.
  /// - Throws: ``WorkerError/refused(code:message:)`` when the router will never take this worker.
  func run(
    activeSessionCount: @escaping @Sendable () -> Int,
    totals: @escaping @Sendable () -> WorkerTotals?,
    onRegistered: @escaping @Sendable () -> Void, onReset: @escaping @Sendable () -> Void,
    onMessage: @escaping @Sendable (Envelope) -> Void
  ) async throws {
    let handlers = Handlers(
      onRegistered: onRegistered, onReset: onReset, onMessage: onMessage)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        for await event in self.transport.events {
          try self.handle(event, handlers)
        }
      }
      group.addTask {
        while !Task.isCancelled {
          self.tick(activeSessionCount: activeSessionCount(), totals: totals())
          try await Task.sleep(for: self.state.withLock { $0.interval / 2 })
        }
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  private struct Handlers: Sendable {
    let onRegistered: @Sendable () -> Void
    let onReset: @Sendable () -> Void
    let onMessage: @Sendable (Envelope) -> Void
  }

  private func handle(_ event: TransportEvent, _ handlers: Handlers) throws {
    switch event {
    case .connected:
      handlers.onReset()
      register()
    case .disconnected:
      logger.warning("router lost")
      state.withLock { $0.isRegistered = false }
      handlers.onReset()
    case .message(_, let frame):
      do {
        try receive(try Envelope(decoding: frame), handlers)
      } catch let error as WireError {
        logger.warning("malformed frame from the router", metadata: ["error": "\(error)"])
      }
    case .undelivered, .refused, .overflow:
      logger.warning("router link", metadata: ["event": "\(event)"])
    }
  }

  private func receive(_ envelope: Envelope, _ handlers: Handlers) throws {
    state.withLock { $0.lastHeard = ContinuousClock().now }
    switch envelope.message {
    case .registered(.accepted(let interval, _)):
      state.withLock {
        $0.isRegistered = true
        $0.interval = max(interval, .milliseconds(10))
      }
      logger.info("registered", metadata: ["worker.name": "\(registration.name)"])
      handlers.onRegistered()
    case .registered(.refused(let refusal)):
      guard refusal.code.isRetryable else {
        throw WorkerError.refused(code: "\(refusal.code)", message: refusal.message)
      }
      logger.warning("registration refused for now", metadata: ["reason": "\(refusal.message)"])
      state.withLock { $0.retryAt = ContinuousClock().now + .seconds(1) }
    case .heartbeat(let heartbeat):
      state.withLock { $0.echo = (heartbeat.sentAtNanoseconds, ContinuousClock().now) }
    case .reject(let reject) where reject.refusal.code == .unexpectedMessage:
      // The router started anew on the same connection.
      handlers.onReset()
      register()
    case .reject(let reject):
      logger.warning("router rejects a message", metadata: ["reason": "\(reject.refusal.message)"])
    default: handlers.onMessage(envelope)
    }
  }

  private func register() {
    state.withLock {
      $0.isRegistered = false
      $0.lastHeard = ContinuousClock().now
      $0.retryAt = nil
    }
    send(Envelope(message: .register(registration)))
  }

  private func tick(activeSessionCount: Int, totals: WorkerTotals?) {
    let now = ContinuousClock().now
    let action = state.withLock { state -> (heartbeat: Heartbeat?, registers: Bool) in
      if let retryAt = state.retryAt, now >= retryAt { return (nil, true) }
      guard state.isRegistered else { return (nil, false) }
      // Silence for six intervals: the router may have forgotten this worker.
      if let heard = state.lastHeard, now - heard > state.interval * 6 { return (nil, true) }
      state.sequence += 1
      var heartbeat = Heartbeat(
        sequence: state.sequence, activeSessionCount: activeSessionCount,
        sentAtNanoseconds: UInt64(max(1, (now - start).nanoseconds)))
      if let echo = state.echo {
        heartbeat.echoNanoseconds = echo.sentAt
        heartbeat.echoDelay = now - echo.at
      }
      heartbeat.isDraining = isDraining.load(ordering: .relaxed)
      heartbeat.totals = totals
      return (heartbeat, false)
    }
    if action.registers { register() }
    if let heartbeat = action.heartbeat { send(Envelope(message: .heartbeat(heartbeat))) }
  }
}

extension Duration {
  /// Whole nanoseconds.
  var nanoseconds: Int64 {
    components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000
  }
}

import Cluster
import InferenceTypes
import Testing
import Transport
import Wire

/// A worker whose every message a test writes and reads.
struct ScriptedWorker {
  let transport: InMemoryTransport
  private var events: AsyncStream<TransportEvent>.AsyncIterator
  private var heartbeatCount: UInt64 = 0

  init(_ transport: InMemoryTransport) {
    self.transport = transport
    events = transport.events.makeAsyncIterator()
  }

  func send(_ message: WireMessage, in session: SessionID = Envelope.noSession) throws {
    #expect(
      try transport.send(Envelope(session: session, message: message).encoded()) == .queued)
  }

  func sendRaw(_ frame: [UInt8]) { #expect(transport.send(frame) == .queued) }

  /// - Returns: the next message. Waits for ever where none comes: the time limit of the test ends
  ///   that.
  mutating func next() async throws -> Envelope {
    while true {
      let event = try #require(await events.next(isolation: #isolation), "the link was closed")
      if case .message(_, let frame) = event { return try Envelope(decoding: frame) }
    }
  }

  /// The next message but for answers to heartbeats.
  mutating func nextOrder() async throws -> Envelope {
    while true {
      let envelope = try await next()
      if case .heartbeat = envelope.message { continue }
      return envelope
    }
  }

  mutating func heartbeat() throws {
    heartbeatCount += 1
    try send(
      .heartbeat(
        Heartbeat(sequence: heartbeatCount, activeSessionCount: 0, sentAtNanoseconds: 7)))
  }

  /// - Returns: the session that the router opens next, and with what.
  mutating func opened() async throws -> (SessionID, OpenSession) {
    let envelope = try await nextOrder()
    guard case .openSession(let open) = envelope.message else { throw Surprise(envelope) }
    return (envelope.session, open)
  }

  func tokens(
    _ session: SessionID, from firstIndex: Int, _ tokens: [TokenID], ending: FinishReason? = nil,
    statistics: SessionStatistics = SessionStatistics()
  ) throws {
    let ending = ending.map { SessionEnding(finishReason: $0, statistics: statistics) }
    try send(
      .sessionTokens(SessionTokens(firstIndex: firstIndex, tokens: tokens, ending: ending)),
      in: session)
  }

  /// Sends every byte of `text` in messages of `size` tokens, and the end token last.
  func write(_ text: String, to session: SessionID, from start: Int = 0, size: Int = 1) throws {
    let all = ByteVocabulary.tokens(text) + [ByteVocabulary.end]
    for first in stride(from: start, to: all.count, by: size) {
      let end = min(all.count, first + size)
      try tokens(
        session, from: first, Array(all[first..<end]), ending: end == all.count ? .stop : nil)
    }
  }

  struct Surprise: Error {
    let envelope: Envelope

    init(_ envelope: Envelope) { self.envelope = envelope }
  }
}

/// Everything that a client got.
struct ReceivedText {
  var ids: [TokenID] = []
  var text = ""
  var summary: GenerationSummary?

  init(_ stream: AsyncThrowingStream<GenerationEvent, any Error>) async throws {
    for try await event in stream {
      switch event {
      case .tokens(let ids, let text):
        self.ids += ids
        self.text += text
      case .finished(let summary, let text):
        self.summary = summary
        self.text += text
      }
    }
  }
}

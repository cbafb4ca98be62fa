import Cluster
import InferenceTypes

/// Turns the events of a generation into server-sent events.
struct GenerationStream: Sendable {
  let events: AsyncThrowingStream<GenerationEvent, any Error>
  let shape: CompletionShape
  let pingInterval: Duration
  /// Every chunk carries the token counts so far.
  var countsAlong = false
  /// The counts so far.
  var summary = GenerationSummary()

  private enum Arrival: Sendable {
    case event(GenerationEvent?)
    case pause
  }

  init(
    events: AsyncThrowingStream<GenerationEvent, any Error>, shape: CompletionShape,
    pingInterval: Duration
  ) {
    self.events = events
    self.shape = shape
    self.pingInterval = pingInterval
  }

  /// Writes until the generation has ended; a failure of it becomes the last event.
  ///
  /// The next event is only asked for after the last one was written: a slow client needs no
  /// buffer here.
  ///
  /// - Throws: what `write` throws, or `CancellationError`; both end the generation.
  @concurrent func run(write: @concurrent (String) async throws -> Void) async throws {
    var stream = self
    try await withThrowingTaskGroup(of: Arrival.self) { group in
      defer { group.cancelAll() }
      if let opening = shape.opening(usage: stream.usage) { try await write(Self.event(opening)) }
      var lastWrite = ContinuousClock.now
      group.addTask { try await Self.next(events) }
      group.addTask { try await Self.pause(pingInterval) }
      while true {
        let arrival: Arrival?
        do {
          arrival = try await group.next()
        } catch {
          try Task.checkCancellation()
          return try await write(Self.event(APIError(any: error).body))
        }
        switch arrival {
        case .event(let event):
          let (text, isLast) = stream.render(event)
          if !text.isEmpty {
            try await write(text)
            lastWrite = .now
          }
          if isLast { return }
          group.addTask { try await Self.next(events) }
        case .pause, nil:
          var rest = pingInterval - (.now - lastWrite)
          if rest <= .zero {
            try await write(":\n\n")
            lastWrite = .now
            rest = pingInterval
          }
          group.addTask { [rest] in try await Self.pause(rest) }
        }
      }
    }
  }

  /// The text of one event, and whether the stream ends with it.
  private mutating func render(_ event: GenerationEvent?) -> (text: String, isLast: Bool) {
    switch event {
    case .tokens(let ids, let text):
      summary.completionTokenCount += ids.count
      // Text can lag behind its tokens; a chunk with neither tells nothing.
      guard !text.isEmpty || shape.returnsTokens else { return ("", false) }
      return (Self.event(shape.piece(text: text, tokens: ids, usage: usage)), false)
    case .finished(let final, let text):
      guard final.finishReason != .cancelled else {
        return (Self.event(APIError.generationCancelled.body), true)
      }
      summary = final
      var output = ""
      if !text.isEmpty { output += Self.event(shape.piece(text: text, tokens: [], usage: usage)) }
      for chunk in shape.closing(final, usage: usage) { output += Self.event(chunk) }
      return (output + "data: [DONE]\n\n", true)
    case nil:
      // The stream of a service ends with `finished` or throws.
      return (Self.event(APIError.internal.body), true)
    }
  }

  private var usage: JSONValue { countsAlong ? CompletionShape.usage(summary) : .null }

  private static func event(_ value: JSONValue) -> String { "data: \(value.text)\n\n" }

  private static func next(
    _ events: AsyncThrowingStream<GenerationEvent, any Error>
  ) async throws -> Arrival {
    var iterator = events.makeAsyncIterator()
    return .event(try await iterator.next())
  }

  private static func pause(_ duration: Duration) async throws -> Arrival {
    try await Task.sleep(for: duration)
    return .pause
  }
}

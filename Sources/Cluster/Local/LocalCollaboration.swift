package import Decoding
package import Engine
package import InferenceTypes

/// Writes texts with a small and a large model in one process, on one thread.
///
/// The models of a collaboration have one vocabulary. They take turns, so nothing is read ahead.
package final class LocalCollaboration {
  /// Tokens of one forward pass, as in the sessions of one model.
  private static let passLimit = 64

  private let target: InferenceEngine
  private let draft: InferenceEngine
  private let antiexpert: InferenceEngine?
  /// What the estimate of the saved time is made with.
  package let costs: CollaborationCosts

  /// Measures the costs of both models unless told.
  ///
  /// - Parameters:
  ///   - target: the large model.
  ///   - draft: the small model.
  ///   - antiexpert: the small model before tuning; for ``CollaborationParameters/Method/proxy``.
  ///   - costs: for estimates only.
  /// - Throws: ``LocalCollaborationError``; ``EngineError`` where measuring fails.
  package init(
    target: InferenceEngine, draft: InferenceEngine, antiexpert: InferenceEngine? = nil,
    costs: CollaborationCosts? = nil
  ) throws {
    let vocabularyCount = target.model.shape.vocabularyCount
    for engine in [draft, antiexpert] {
      guard let engine, engine.model.shape.vocabularyCount != vocabularyCount else { continue }
      throw LocalCollaborationError.vocabulariesDiffer(
        target: vocabularyCount, other: engine.model.shape.vocabularyCount)
    }
    self.target = target
    self.draft = draft
    self.antiexpert = antiexpert
    self.costs = try costs ?? Self.measuredCosts(target: target, draft: draft)
  }

  /// Tokens that every model can hold.
  package var contextLength: Int {
    min(target.contextLength, draft.contextLength, antiexpert?.contextLength ?? .max)
  }

  /// What a collaboration produced.
  package struct Result: Sendable {
    package var tokens: [TokenID] = []
    /// Whose logits each token was chosen from.
    package var writers: [CollaborationWriter] = []
    package var finishReason = FinishReason.length
    /// Until the first token was there.
    package var promptDuration = Duration.zero
    package var decodeDuration = Duration.zero
    package var statistics = CollaborationStatistics()

    package init() {}
  }

  /// Writes to the end.
  ///
  /// - Parameters:
  ///   - configuration: of decoding with the target alone; its context length is at most
  ///     ``contextLength``.
  ///   - parameters: who writes when.
  ///   - onToken: hears every token, and answers with what it adds to the text.
  /// - Returns: the tokens and who wrote them.
  /// - Throws: ``DecodingError`` for an unfit request, ``LocalCollaborationError`` where a model is
  ///   missing, ``EngineError`` without memory.
  package func generate(
    _ configuration: VerifierSession.Configuration, parameters: CollaborationParameters,
    onToken: (TokenID) -> String
  ) throws -> Result {
    var readers = [
      CollaborationModel.draft: try Reader(engine: draft),
      .target: try Reader(engine: target),
    ]
    if parameters.method == .proxy {
      guard let antiexpert else { throw LocalCollaborationError.noAntiexpert }
      readers[.antiexpert] = try Reader(engine: antiexpert)
    }
    var machine = try CollaborationSession(configuration, parameters: parameters, costs: costs)
    var chooser = try TokenChooser(
      parameters: configuration.sampling, vocabularyCount: configuration.vocabularyCount)
    var result = Result()
    var effects: [CollaborationEffect] = []
    var combined: [Float] = []
    let clock = ContinuousClock()
    let start = clock.now
    machine.start(into: &effects)
    while !effects.isEmpty {
      switch effects.removeFirst() {
      case .ingest(let model, let range, let wantsRow):
        guard let reader = readers[model] else { preconditionFailure("no \(model)") }
        let row = try reader.ingest(machine.truth[range], wantsRow: wantsRow)
        machine.handle(.ingested(model, range, row: row), into: &effects)
      case .choose(let writer):
        let recent = Array(machine.truth.suffix(chooser.historyLength))
        let row = row(of: writer, parameters, readers, &combined)
        let token = chooser.choose(
          logits: row.span, top: Span(), recent: recent.span, position: machine.truth.count)
        if result.writers.isEmpty { result.promptDuration = clock.now - start }
        result.writers.append(writer)
        machine.handle(.chosen(token, text: onToken(token)), into: &effects)
      case .finish(let reason): result.finishReason = reason
      }
    }
    result.decodeDuration = clock.now - start - result.promptDuration
    result.tokens = Array(machine.truth[machine.promptCount...])
    result.statistics = machine.statistics
    return result
  }

  private func row(
    of writer: CollaborationWriter, _ parameters: CollaborationParameters,
    _ readers: [CollaborationModel: Reader], _ combined: inout [Float]
  ) -> [Float] {
    func row(_ model: CollaborationModel) -> [Float] { readers[model]?.row ?? [] }
    switch writer {
    case .draft: return row(.draft)
    case .target: return row(.target)
    case .combined:
      if parameters.method == .proxy {
        LogitCombination.proxy(
          base: row(.target).span, expert: row(.draft).span, antiexpert: row(.antiexpert).span,
          strength: parameters.tuningStrength, into: &combined)
      } else {
        LogitCombination.contrastive(
          target: row(.target).span, draft: row(.draft).span,
          plausibility: parameters.plausibility, contrast: parameters.contrast, into: &combined)
      }
      return combined
    }
  }

  private static func measuredCosts(
    target: InferenceEngine, draft: InferenceEngine
  ) throws(EngineError) -> CollaborationCosts {
    let large = try MeasuredCosts(engine: target)
    let small = try MeasuredCosts(engine: draft)
    let unit = large.single > .zero ? small.single / large.single : 1
    return CollaborationCosts(target: large.costs, draft: small.costs, draftUnit: unit)
  }

  /// One model's cache and its latest logits.
  private final class Reader {
    private let engine: InferenceEngine
    private let cache: KVCache
    private(set) var row: [Float]

    init(engine: InferenceEngine) throws(EngineError) {
      self.engine = engine
      cache = try engine.makeCache()
      row = [Float](repeating: 0, count: engine.model.shape.vocabularyCount)
    }

    /// Reads tokens behind those it holds; describes the row that follows them where it is wanted.
    func ingest(_ tokens: ArraySlice<TokenID>, wantsRow: Bool) throws(EngineError) -> RowSummary? {
      var rest = tokens
      while !rest.isEmpty {
        let chunk = Array(rest.prefix(passLimit))
        rest = rest.dropFirst(chunk.count)
        let wantsLogits = wantsRow && rest.isEmpty
        try engine.forward(
          ForwardBatch(chain: chunk, logits: wantsLogits ? .last : .none), cache: cache)
        cache.commit(Array(chunk.indices))
      }
      guard wantsRow else { return nil }
      return engine.withLogits { logits in
        for index in logits.indices { row[index] = logits[index] }
        return RowSummary(logits: logits)
      }
    }
  }
}

/// Models that cannot write a text together.
package enum LocalCollaborationError: Error, Equatable, Sendable {
  case vocabulariesDiffer(target: Int, other: Int)
  case noAntiexpert
}

extension LocalCollaborationError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .vocabulariesDiffer(let target, let other):
      "the target has a vocabulary of \(target) tokens, a small model one of \(other); they have "
        + "to be the same"
    case .noAntiexpert:
      "proxy tuning needs the small model before tuning beside the tuned one: name it with "
        + "--antiexpert FILE"
    }
  }
}

import Decoding
import Engine
import InferenceTypes
import Wire

/// A draft model that takes part in one collaboration: reads what the verifier says, tells what it
/// thinks of it, and writes on where it is asked to.
///
/// The verifier's word is the text: what it sends from a position on takes the place of what was
/// written here. A message that leaves a gap, or that the model cannot hold, is the peer's fault and
/// ends the part of this drafter.
final class CollaborationAnswerer {
  /// What came out of a pass.
  enum Progress {
    case answer(CollaborateAnswer)
    case working
    case idle
  }

  /// Tokens of one forward pass over what the verifier sent.
  private static let passLimit = 64

  private struct Task {
    var ingest: CollaborateIngest
    var turn: DraftTurn?
    var answer: CollaborateAnswer
  }

  private let parameters: CollaborationParameters
  private let engine: InferenceEngine
  private let cache: KVCache
  private let stopTokens: [TokenID]
  private var chooser: TokenChooser
  /// What the verifier sent, and what was written here behind it.
  private var text: [TokenID] = []
  private var waiting: [CollaborateIngest] = []
  private var task: Task?

  /// - Throws: ``DecodingError`` for parameters out of range, ``EngineError`` without memory.
  init(
    sampling: SamplingParameters, parameters: CollaborationParameters, stopTokens: [TokenID],
    engine: InferenceEngine
  ) throws {
    try parameters.validate()
    self.parameters = parameters
    self.stopTokens = stopTokens
    self.engine = engine
    chooser = try TokenChooser(
      parameters: sampling, vocabularyCount: engine.model.shape.vocabularyCount)
    cache = try engine.makeCache()
  }

  /// Takes a task; tasks are done in order.
  ///
  /// - Throws: ``CollaborationFault`` where too many are open.
  func receive(_ ingest: CollaborateIngest) throws(CollaborationFault) {
    // A whole context, in the smallest number of messages that it takes.
    let limit = Limits.contextLengthMax / Limits.ingestTokenCountMax + 1
    guard waiting.count < limit else { throw .tooManyTasks(limit: limit) }
    waiting.append(ingest)
  }

  /// One forward pass at most.
  ///
  /// - Throws: ``CollaborationFault`` for a task that does not fit, ``EngineError`` without memory.
  func advance() throws -> Progress {
    if task == nil, !waiting.isEmpty { task = try begin(waiting.removeFirst()) }
    guard var task else { return .idle }
    self.task = nil
    let wantsRow = task.ingest.want != .nothing
    guard try readOn(wantsRow: wantsRow) else {
      self.task = task
      return .working
    }
    guard wantsRow else { return .answer(task.answer) }
    let goesOn = engine.withLogits { conclude($0, &task) }
    guard goesOn else { return .answer(task.answer) }
    self.task = task
    return .working
  }

  private func begin(_ ingest: CollaborateIngest) throws(CollaborationFault) -> Task {
    guard ingest.firstPosition <= text.count else {
      throw .gap(from: ingest.firstPosition, heldCount: text.count)
    }
    guard ingest.range.upperBound <= engine.contextLength else {
      throw .contextFull(wanted: ingest.range.upperBound, capacity: engine.contextLength)
    }
    let vocabularyCount = engine.model.shape.vocabularyCount
    for token in ingest.tokens where token.rawValue >= vocabularyCount {
      throw .unknownToken(token, vocabularyCount: vocabularyCount)
    }
    text.removeSubrange(ingest.firstPosition...)
    text += ingest.tokens
    // The last token is always read: its logits are wanted, and may have been void for long.
    cache.truncate(to: min(cache.committedCount, ingest.firstPosition))
    var task = Task(ingest: ingest, answer: CollaborateAnswer(range: ingest.range))
    if case .choice(let turn) = ingest.want {
      task.turn = DraftTurn(
        parameters, burstMax: turn.burstMax, entropies: turn.entropies, stay: turn.stay)
    }
    return task
  }

  /// One pass over what is not read yet. Returns whether everything is.
  private func readOn(wantsRow: Bool) throws(EngineError) -> Bool {
    let first = cache.committedCount
    let last = min(text.count, first + Self.passLimit)
    let isLast = last == text.count
    let batch = ForwardBatch(
      chain: Array(text[first..<last]), logits: wantsRow && isLast ? .last : .none)
    try engine.forward(batch, cache: cache)
    cache.commit(Array(0..<last - first))
    return isLast
  }

  /// Puts what the logits say into the answer. Returns whether the task goes on with another token.
  private func conclude(_ logits: Span<Float>, _ task: inout Task) -> Bool {
    let row = RowSummary(logits: logits)
    task.answer.summaries.append(
      CollaborateAnswer.Summary(
        entropy: row.entropy, maxProbability: row.maxProbability, gap: row.gap))
    if task.ingest.want == .row {
      for index in logits.indices {
        // NaN counts as -infinity wherever tokens are chosen; it does not travel.
        task.answer.row.append(logits[index] < .infinity ? logits[index] : -.infinity)
      }
    }
    guard var turn = task.turn, turn.wants(row), text.count < engine.contextLength else {
      return false
    }
    let recent = Array(text.suffix(chooser.historyLength))
    let token = chooser.choose(
      logits: logits, top: Span(), recent: recent.span, position: text.count)
    task.answer.tokens.append(token)
    let goesOn = turn.count() && !stopTokens.contains(token)
    task.turn = turn
    guard goesOn, text.count + 1 < engine.contextLength else { return false }
    text.append(token)
    return true
  }
}

/// What a verifier may not ask of a draft model.
enum CollaborationFault: Error, Equatable, Sendable {
  case gap(from: Int, heldCount: Int)
  case contextFull(wanted: Int, capacity: Int)
  case unknownToken(TokenID, vocabularyCount: Int)
  case tooManyTasks(limit: Int)
}

extension CollaborationFault: CustomStringConvertible {
  var description: String {
    switch self {
    case .gap(let from, let heldCount):
      "the verifier sent tokens from \(from) on, and the draft model holds \(heldCount); nothing may "
        + "be left out"
    case .contextFull(let wanted, let capacity):
      "the verifier sent \(wanted) tokens for a context of \(capacity)"
    case .unknownToken(let token, let vocabularyCount):
      "token \(token) is not in the vocabulary of \(vocabularyCount) tokens"
    case .tooManyTasks(let limit):
      "the verifier asked for more than \(limit) answers at once"
    }
  }
}

package import InferenceTypes

/// One text written by several models in turns: says which model reads what, and whose logits the
/// next token is chosen from.
///
/// Each model's cache holds a beginning of the truth. A model that is needed reads everything it
/// lacks in one batch; no position is read twice, and none is missing when a row is used. The noise
/// of the sampling is shared, so a model that writes everything writes what it would alone.
///
/// | state | waits for |
/// |---|---|
/// | reading | rows of the models that the next token needs |
/// | choosing | the token |
/// | finished | nothing |
///
/// Bad input: an answer to nothing that was asked is the peer's fault, ignored and counted in
/// ``ignoredCount``; answers that come after the end are ignored. A token outside the vocabulary is
/// our bug, and so is the loss of the target model, which is where the session runs.
package struct CollaborationSession: Sendable, Equatable {
  /// What a model holds.
  private struct Reader: Equatable {
    /// Positions that it holds, from 0.
    var heldCount = 0
    var inFlight: Range<Int>?
    /// Of the position `heldCount`.
    var row: RowSummary?
    var isLost = false
  }

  /// What a method keeps between tokens.
  private enum Turns: Equatable {
    case entropy(EntropySwitch)
    case leading(LeadingTurns)
    case combining
  }

  package private(set) var truth: [TokenID]
  package let promptCount: Int
  package private(set) var finish: FinishReason?
  package private(set) var statistics = CollaborationStatistics()
  /// Events that answer nothing.
  package private(set) var ignoredCount = 0
  package let parameters: CollaborationParameters
  private let costs: CollaborationCosts
  private let stopTokens: [TokenID]
  private let vocabularyCount: Int
  /// Length of the truth at which the generation ends.
  private let lengthMax: Int
  private var readers = [Reader](repeating: Reader(), count: CollaborationModel.allCases.count)
  private var turns: Turns
  private var choosing: CollaborationWriter?
  private var hasStarted = false

  package var generatedCount: Int { truth.count - promptCount }
  /// Whether a small model was lost, so that the target writes alone.
  package var isDegraded: Bool { readers.contains { $0.isLost } }
  /// Where the method ``CollaborationParameters/Method/entropy`` stands; `nil` with others.
  package var entropySwitch: EntropySwitch? {
    guard case .entropy(let entropySwitch) = turns else { return nil }
    return entropySwitch
  }

  /// - Parameters:
  ///   - configuration: of decoding with the target alone; the context length is the smallest of
  ///     the models'. Of decided tokens it is not known who wrote them: the method begins anew
  ///     behind them, and the counters leave them out.
  ///   - parameters: who writes when.
  ///   - costs: for ``CollaborationStatistics/computeSaved`` only; decides nothing.
  /// - Throws: ``DecodingError`` where the prompt is empty, too long, or holds a token that is not
  ///   in the vocabulary, or a parameter is out of its range.
  package init(
    _ configuration: VerifierSession.Configuration, parameters: CollaborationParameters,
    costs: CollaborationCosts
  ) throws(DecodingError) {
    try parameters.validate()
    try configuration.sampling.validate(vocabularyCount: configuration.vocabularyCount)
    guard !configuration.sampling.isCautious else {
      throw .notPossible(choice: "cautiousTrials", with: "a collaboration")
    }
    try SamplingParameters.check("tokenLimit", configuration.tokenLimit ?? 0, 0...Int.max)
    promptCount = configuration.prompt.count
    guard promptCount > 0 else { throw .emptyPrompt }
    guard promptCount < configuration.contextLength else {
      throw .promptTooLong(tokenCount: promptCount, contextLength: configuration.contextLength)
    }
    truth = configuration.prompt + configuration.decided
    for token in truth where token.rawValue >= configuration.vocabularyCount {
      throw .unknownToken(token, vocabularyCount: configuration.vocabularyCount)
    }
    vocabularyCount = configuration.vocabularyCount
    stopTokens = configuration.ignoresEndOfSequence ? [] : configuration.stopTokens
    let room = configuration.contextLength - promptCount
    lengthMax = promptCount + min(room, configuration.tokenLimit ?? room)
    self.parameters = parameters
    self.costs = costs
    turns =
      switch parameters.method {
      case .entropy: .entropy(EntropySwitch(parameters))
      case .leading: .leading(LeadingTurns(parameters, seed: configuration.sampling.seed))
      case .contrastive, .proxy, .oracle: .combining
      }
  }

  /// Begins; once, before the first event.
  package mutating func start(into effects: inout [CollaborationEffect]) {
    if generatedCount > 0, let last = truth.last, stopTokens.contains(last) {
      end(.stop, into: &effects)
      return
    }
    guard truth.count < lengthMax else {
      end(.length, into: &effects)
      return
    }
    hasStarted = true
    proceed(into: &effects)
    readAhead(into: &effects)
  }

  /// Takes an event in and appends what is to be done.
  package mutating func handle(
    _ event: CollaborationEvent, into effects: inout [CollaborationEffect]
  ) {
    guard finish == nil else { return }
    switch event {
    case .ingested(let model, let range, let row):
      guard readers[model.rawValue].inFlight == range else {
        ignoredCount += 1
        return
      }
      readers[model.rawValue].inFlight = nil
      readers[model.rawValue].heldCount = range.upperBound
      readers[model.rawValue].row = range.upperBound == truth.count ? row : nil
      if choosing == nil { proceed(into: &effects) }
    case .chosen(let token, let text):
      guard let writer = choosing else {
        ignoredCount += 1
        return
      }
      precondition(token.rawValue < vocabularyCount, "token \(token) of \(vocabularyCount)")
      choosing = nil
      append(token, text: text, writer: writer)
      if stopTokens.contains(token) {
        end(.stop, into: &effects)
      } else if truth.count >= lengthMax {
        end(.length, into: &effects)
      } else {
        proceed(into: &effects)
        readAhead(into: &effects)
      }
    case .lost(let model):
      precondition(model != .target, "the target model is lost")
      guard !readers[model.rawValue].isLost else { return }
      readers[model.rawValue].isLost = true
      readers[model.rawValue].inFlight = nil
      if choosing != .target { choosing = nil }
      // Before the start there is nothing to go on with.
      if hasStarted, choosing == nil { proceed(into: &effects) }
    }
  }

  private mutating func end(_ reason: FinishReason, into effects: inout [CollaborationEffect]) {
    finish = reason
    effects.append(.finish(reason))
  }

  private mutating func append(_ token: TokenID, text: String, writer: CollaborationWriter) {
    statistics.countToken(writer, promptCount: promptCount, costs: costs)
    switch turns {
    case .entropy(var entropySwitch):
      let reader = readers[(writer == .target ? CollaborationModel.target : .draft).rawValue]
      guard let row = reader.row else { preconditionFailure("no row at \(truth.count)") }
      entropySwitch.observe(entropy: row.entropy)
      turns = .entropy(entropySwitch)
    case .leading(var leading):
      leading.append(text)
      turns = .leading(leading)
    case .combining: break
    }
    truth.append(token)
    for index in readers.indices { readers[index].row = nil }
  }

  /// Asks for the rows that are missing, or for the token.
  private mutating func proceed(into effects: inout [CollaborationEffect]) {
    let plan = plan()
    var isComplete = true
    for model in plan.models where readers[model.rawValue].row == nil {
      isComplete = false
      read(model, to: truth.count, wantsRow: true, into: &effects)
    }
    guard isComplete else { return }
    guard let writer = plan.writer else { preconditionFailure("nobody writes at \(truth.count)") }
    choosing = writer
    effects.append(.choose(writer))
  }

  /// The rows that are needed next, and the writer where that is known.
  private mutating func plan() -> (models: [CollaborationModel], writer: CollaborationWriter?) {
    guard !isDegraded else { return ([.target], .target) }
    let draftRow = readers[CollaborationModel.draft.rawValue].row
    switch turns {
    case .entropy(var entropySwitch):
      if generatedCount == 0, entropySwitch.meanEntropy == nil {
        guard let draftRow else { return ([.draft], nil) }
        entropySwitch.begin(entropy: draftRow.entropy)
        turns = .entropy(entropySwitch)
      }
      return entropySwitch.writesTarget ? ([.target], .target) : ([.draft], .draft)
    case .leading(let leading):
      return leading.writesTarget ? ([.target], .target) : ([.draft], .draft)
    case .combining:
      if parameters.intervention != .always {
        guard let draftRow else { return ([.draft], nil) }
        guard parameters.intervenes(draftRow) else { return ([.draft], .draft) }
      }
      return switch parameters.method {
      case .oracle: ([.target], .target)
      case .proxy: ([.draft, .antiexpert, .target], .combined)
      case .contrastive, .entropy, .leading: ([.draft, .target], .combined)
      }
    }
  }

  /// Lets models that wait read what they lack, all but the last token: its logits may be wanted.
  private mutating func readAhead(into effects: inout [CollaborationEffect]) {
    guard let lag = parameters.catchUpLag else { return }
    for model in participants {
      let reader = readers[model.rawValue]
      guard reader.inFlight == nil, !reader.isLost, truth.count - 1 - reader.heldCount >= lag else {
        continue
      }
      read(model, to: truth.count - 1, wantsRow: false, into: &effects)
    }
  }

  private var participants: [CollaborationModel] {
    parameters.method == .proxy ? CollaborationModel.allCases : [.draft, .target]
  }

  private mutating func read(
    _ model: CollaborationModel, to end: Int, wantsRow: Bool,
    into effects: inout [CollaborationEffect]
  ) {
    guard readers[model.rawValue].inFlight == nil else { return }
    let range = readers[model.rawValue].heldCount..<end
    precondition(!range.isEmpty, "\(model) holds \(range.lowerBound) tokens already")
    readers[model.rawValue].inFlight = range
    statistics.countPass(model, tokenCount: range.count, costs: costs)
    effects.append(.ingest(model, range, wantsRow: wantsRow))
  }
}

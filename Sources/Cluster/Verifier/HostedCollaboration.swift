import Decoding
import Engine
import InferenceTypes
import Tokenizer
import Transport
import Wire

/// One text that the target model here and the draft model of a drafter write together.
///
/// A ``CollaborationSession`` decides. What it asks of the target is computed here, one pass at a
/// time; what it asks of the draft model goes over the wire, and comes back for several tokens at
/// once: they answer what the session asks next. Where the drafter does not come, dies, is silent or
/// answers what makes no sense, the target goes on alone, and the text is labelled.
final class HostedCollaboration {
  /// Tokens that the drafter may write in one round trip. Those that turn out to be the target's are
  /// thrown away: with ``CollaborationParameters/Method/leading`` the drafter cannot know.
  private static let burstMax = 16
  private static let blindBurstMax = 8
  /// Tokens that the waiting target may lack: it has a machine of its own.
  private static let catchUpLag = 16
  /// How long a drafter may take to attach, and to answer without and for each token.
  private static let attachMax = Duration.seconds(5)
  private static let answerMax = Duration.seconds(10)
  private static let answerMaxPerToken = Duration.milliseconds(50)

  /// A part of what the draft model was told to read.
  private struct Asked {
    var range: Range<Int>
    var want: CollaborateIngest.Want
  }

  let id: SessionID
  let parameters: CollaborationParameters
  let sampling: SamplingParameters
  /// Drafters that may attach.
  var assigned: [DraftAssigned] = []
  /// The drafter that takes part.
  private(set) var peer: PeerID?
  /// What the drafter is to be sent.
  private(set) var outgoing: [CollaborateIngest] = []
  /// Tokens that the router has not been told.
  private(set) var fresh: [TokenID] = []
  /// Until when the drafter has to attach or to answer.
  private(set) var deadline: ContinuousClock.Instant?
  var life: SignOfLife
  /// Gave its memory to other sessions and goes on when one of them has ended.
  var isWaiting = false
  /// Answers that nobody asked for.
  private(set) var ignoredCount = 0

  private let configuration: VerifierSession.Configuration
  private let costs: MeasuredCosts
  private let clock = ContinuousClock()
  private let start: ContinuousClock.Instant
  private var firstTokenAt: ContinuousClock.Instant?
  private var machine: CollaborationSession
  private var chooser: TokenChooser
  private var detokenizer: StreamingDetokenizer
  private let reader: TargetReader
  private var hasStarted = false
  private var effects: [CollaborationEffect] = []
  private var targetTask: (range: Range<Int>, wantsRow: Bool)?
  private var asked: [Asked] = []
  private var askedRange = 0..<0
  private var burst: DraftBurst?
  private var draftRow: [Float] = []
  private var combined: [Float] = []

  /// A text that another verifier has begun goes on without a drafter.
  ///
  /// - Throws: ``DecodingError`` for an unfit request.
  init(
    id: SessionID, request: OpenSession, parameters: CollaborationParameters,
    engine: InferenceEngine, costs: MeasuredCosts, tokenizer: BytePairTokenizer
  ) throws(DecodingError) {
    guard parameters.method != .proxy else {
      throw .notPossible(choice: "proxy", with: "a cluster, which has no third model")
    }
    self.id = id
    sampling = request.sampling
    var parameters = parameters
    parameters.catchUpLag = Self.catchUpLag
    self.parameters = parameters
    var configuration = VerifierSession.Configuration(
      prompt: request.prompt, sampling: request.sampling, contextLength: engine.contextLength,
      vocabularyCount: engine.model.shape.vocabularyCount)
    configuration.decided = request.decided
    configuration.tokenLimit = request.tokenLimit
    configuration.stopTokens = request.endTokens
    configuration.ignoresEndOfSequence = request.ignoresEnd
    self.configuration = configuration
    self.costs = costs
    machine = try CollaborationSession(
      configuration, parameters: parameters, costs: CollaborationCosts(draftUnit: 0))
    chooser = try TokenChooser(
      parameters: sampling, vocabularyCount: configuration.vocabularyCount)
    detokenizer = StreamingDetokenizer(tokenizer: tokenizer, after: request.prompt)
    for token in request.decided { _ = detokenizer.append(token) }
    reader = TargetReader(engine: engine, prompt: request.prompt)
    start = clock.now
    life = SignOfLife(at: start)
    deadline = start + Self.attachMax
    if !request.decided.isEmpty { begin(nil) }
  }

  var finish: FinishReason? { machine.finish }
  var truth: [TokenID] { machine.truth }
  var promptCount: Int { machine.promptCount }
  var generatedCount: Int { machine.generatedCount }
  var hasWork: Bool { targetTask != nil && !isWaiting }
  /// Whether a drafter may still come.
  var wantsDrafter: Bool { !hasStarted }

  // MARK: the drafter

  /// Begins with the drafter.
  func attach(_ peer: PeerID, contextLength: Int, draftDuration: Duration) {
    guard configuration.prompt.count < contextLength else { return begin(nil) }
    self.peer = peer
    let unit = costs.single > .zero ? draftDuration / costs.single : 0
    begin((contextLength, unit))
  }

  /// The drafter is gone, or does not make sense.
  func lose() {
    peer = nil
    outgoing = []
    asked = []
    burst = nil
    deadline = nil
    guard hasStarted else { return begin(nil) }
    effects.removeAll { effect in
      switch effect {
      case .ingest(let model, _, _): model != .target
      case .choose(let writer): writer != .target
      case .finish: false
      }
    }
    machine.handle(.lost(.draft), into: &effects)
    settle()
  }

  /// Gives the drafter up where its time is over.
  func expire(at now: ContinuousClock.Instant) {
    if let deadline, deadline <= now { lose() }
  }

  /// Takes an answer of the drafter.
  ///
  /// - Returns: what is wrong with it; `nil` where it was good, or nobody asked for it.
  func receive(_ answer: CollaborateAnswer) -> String? {
    guard let first = asked.first, first.range == answer.range else {
      ignoredCount += 1
      return nil
    }
    asked.removeFirst()
    guard asked.isEmpty else {
      setAnswerDeadline()
      return nil
    }
    deadline = nil
    if let fault = fault(of: answer, want: first.want) { return fault }
    let rows = answer.summaries.map { RowSummary($0) }
    draftRow = answer.row
    burst = DraftBurst(position: answer.range.upperBound, rows: rows, tokens: answer.tokens)
    machine.handle(
      .ingested(.draft, askedRange, row: first.want == .nothing ? nil : rows.first),
      into: &effects)
    settle()
    return nil
  }

  private func fault(of answer: CollaborateAnswer, want: CollaborateIngest.Want) -> String? {
    let vocabularyCount = configuration.vocabularyCount
    switch want {
    case .nothing:
      guard answer.summaries.isEmpty, answer.tokens.isEmpty, answer.row.isEmpty else {
        return "an answer to what was only to be read"
      }
      return nil
    case .summary, .choice: if answer.summaries.isEmpty { return "a summary is missing" }
    case .row:
      guard answer.row.count == vocabularyCount, answer.summaries.count == 1,
        answer.tokens.isEmpty
      else { return "\(answer.row.count) logits of \(vocabularyCount)" }
    }
    var burstMax = 0
    if case .choice(let turn) = want { burstMax = turn.burstMax }
    guard answer.tokens.count <= burstMax else {
      return "\(answer.tokens.count) tokens where \(burstMax) were asked for"
    }
    for token in answer.tokens where token.rawValue >= vocabularyCount {
      return "token \(token) is not in the vocabulary of \(vocabularyCount)"
    }
    return nil
  }

  private func setAnswerDeadline() {
    let count = asked.reduce(0) { $0 + $1.range.count } + Self.burstMax
    deadline = clock.now + Self.answerMax + Self.answerMaxPerToken * count
  }

  // MARK: the session

  private func begin(_ draft: (contextLength: Int, unit: Double)?) {
    guard !hasStarted else { return }
    hasStarted = true
    deadline = nil
    var configuration = configuration
    if let draft {
      configuration.contextLength = min(configuration.contextLength, draft.contextLength)
    }
    let costs = CollaborationCosts(target: costs.costs, draftUnit: draft?.unit ?? 0)
    do {
      machine = try CollaborationSession(configuration, parameters: parameters, costs: costs)
    } catch {
      preconditionFailure("checked before: \(error)")
    }
    if draft == nil { machine.handle(.lost(.draft), into: &effects) }
    machine.start(into: &effects)
    settle()
  }

  /// Does what can be done at once.
  private func settle() {
    while !effects.isEmpty {
      switch effects.removeFirst() {
      case .ingest(.target, let range, let wantsRow): targetTask = (range, wantsRow)
      case .ingest(.draft, let range, let wantsRow):
        if wantsRow, let row = burst?.row(at: range.upperBound, of: machine.truth) {
          machine.handle(.ingested(.draft, range, row: row), into: &effects)
        } else {
          ask(range, wantsRow: wantsRow)
        }
      case .ingest(.antiexpert, _, _): preconditionFailure("there is no third model")
      case .choose(let writer):
        guard let token = choose(writer) else { return lose() }
        if firstTokenAt == nil { firstTokenAt = clock.now }
        fresh.append(token)
        machine.handle(.chosen(token, text: detokenizer.append(token)), into: &effects)
      case .finish: reader.remember(machine.truth)
      }
    }
  }

  /// Whether tokens of the draft model are chosen here: where the choice needs another row as well,
  /// or changes the state of Mirostat, which is here.
  private var choosesHere: Bool { parameters.method == .contrastive || sampling.usesMirostat }

  private func ask(_ range: Range<Int>, wantsRow: Bool) {
    askedRange = range
    var first = range.lowerBound
    while first < range.upperBound {
      let last = min(range.upperBound, first + Limits.ingestTokenCountMax)
      let want = wantsRow && last == range.upperBound ? wantOfRow : .nothing
      let tokens = Array(machine.truth[first..<last])
      asked.append(Asked(range: first..<last, want: want))
      outgoing.append(CollaborateIngest(firstPosition: first, tokens: tokens, want: want))
      first = last
    }
    setAnswerDeadline()
  }

  private var wantOfRow: CollaborateIngest.Want {
    guard !choosesHere else { return .row }
    let limit = parameters.method == .leading ? Self.blindBurstMax : Self.burstMax
    let room = configuration.tokenLimit.map { $0 - machine.generatedCount } ?? limit
    var turn = CollaborateTurn(burstMax: max(1, min(limit, room)))
    if let entropySwitch = machine.entropySwitch {
      turn.entropies = entropySwitch.entropies
      turn.stay = min(entropySwitch.stay, Limits.contextLengthMax)
    }
    return .choice(turn)
  }

  /// - Returns: `nil` where the draft model made no choice though it was its turn.
  private func choose(_ writer: CollaborationWriter) -> TokenID? {
    let position = machine.truth.count
    switch writer {
    case .draft where !choosesHere: return burst?.token(at: position)
    case .draft: return choose(from: draftRow)
    case .target: return choose(from: reader.row)
    case .combined:
      let targetRow = reader.row
      let row = draftRow
      LogitCombination.contrastive(
        target: targetRow.span, draft: row.span, plausibility: parameters.plausibility,
        contrast: parameters.contrast, into: &combined)
      return choose(from: combined)
    }
  }

  private func choose(from row: [Float]) -> TokenID {
    let recent = Array(machine.truth.suffix(chooser.historyLength))
    return chooser.choose(
      logits: row.span, top: Span(), recent: recent.span, position: machine.truth.count)
  }

  /// One pass of the target, where it has something to read.
  ///
  /// - Throws: ``EngineError``; the same call may succeed later.
  func advance() throws(EngineError) {
    guard let task = targetTask else { return }
    let isDone = try reader.read(
      machine.truth, to: task.range.upperBound, wantsRow: task.wantsRow)
    guard isDone else { return }
    targetTask = nil
    let logits = reader.row
    let row = task.wantsRow ? RowSummary(logits: logits.span) : nil
    machine.handle(.ingested(.target, task.range, row: row), into: &effects)
    settle()
  }

  func releaseCache() { reader.releaseCache() }

  // MARK: what leaves

  /// The tokens that the router has not been told, with the index of the first.
  func takeFresh() -> (firstIndex: Int, tokens: [TokenID]) {
    let taken = fresh
    fresh = []
    return (machine.generatedCount - taken.count, taken)
  }

  func takeOutgoing() -> [CollaborateIngest] {
    let taken = outgoing
    outgoing = []
    return taken
  }

  /// Counters as they travel.
  var statistics: SessionStatistics {
    let counts = machine.statistics
    var report = CollaborationReport(method: parameters.method)
    report.draftCount = counts.draftCount
    report.targetCount = counts.targetCount
    report.combinedCount = counts.combinedCount
    report.switchCount = counts.switchCount
    report.spentCost = counts.spentCost
    report.plainCost = counts.plainCost
    report.isDegraded = machine.isDegraded
    var statistics = SessionStatistics()
    statistics.collaboration = report
    statistics.promptDuration = (firstTokenAt ?? clock.now) - start
    statistics.decodeDuration = firstTokenAt.map { clock.now - $0 } ?? .zero
    statistics.cachedTokenCount = reader.cachedCount
    statistics.verifyStepCount = counts.targetPassCount
    return statistics
  }
}

extension RowSummary {
  /// As it travelled.
  init(_ summary: CollaborateAnswer.Summary) {
    self.init(
      entropy: summary.entropy, maxProbability: summary.maxProbability, gap: summary.gap)
  }
}

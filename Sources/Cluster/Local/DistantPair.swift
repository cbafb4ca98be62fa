package import Decoding
package import Engine
package import InferenceTypes
import Wire

/// A target and a draft model as if on hosts of their own, under a virtual clock: the real models
/// and texts, in the order of events that these times and this network would bring.
///
/// Two processes of one host share its memory, and slow each other down; this says what they would
/// do apart. The decisions are those of the daemons: ``SessionPace``, ``DraftPacing``,
/// ``DraftLinger`` and ``PassPlanner``. What the daemons do beside their passes takes no time here.
/// At the start both models have read the prompt, and the draft model's first guesses are on their
/// way; what was learned from other texts is forgotten.
package struct DistantPair {
  /// What the virtual time is made of.
  package struct Configuration: Sendable {
    package var pipeline = Pipeline.streamed
    /// Network time there and back.
    package var roundTrip = Duration.zero
    package var targetCosts: MeasuredCosts
    package var draftCosts: MeasuredCosts
    package var shape = DraftShape.tree
    /// Most nodes of a verification.
    package var nodeLimit = 32

    package init(targetCosts: MeasuredCosts, draftCosts: MeasuredCosts) {
      self.targetCosts = targetCosts
      self.draftCosts = draftCosts
    }
  }

  /// What came of a text.
  package struct Result: Sendable {
    package var tokens: [TokenID]
    /// From the complete prompt to the last token.
    package var duration: Duration
    /// What the target alone would take.
    package var plainDuration: Duration
    package var statistics: DraftStatistics
    /// Passes of the draft model that ran to their end, those over the prompt left out.
    package var passCount: Int
    package var abortedCount: Int
    /// Nodes that the drafter sent.
    package var sentCount = 0
    /// What the verification of a stream waited for drafts.
    package var waited: Duration
  }

  private struct Verify {
    var batch: VerifyBatch
    var duration: Duration
    var end: Duration
  }

  private struct Draft {
    var pass: LocalDrafter.Pass
    var end: Duration
  }

  /// Truth on its way down.
  private struct Letter {
    var arrival: Duration
    var step: SessionPace.Step
    var update: TruthUpdate
  }

  private let configuration: Configuration
  private let engine: InferenceEngine
  private let target: TargetSession
  private var drafter: LocalDrafter
  private var pacing: DraftPacing
  private var pace: SessionPace
  private var planner: PassPlanner
  private var linger = DraftLinger()
  private var arrivals: DraftArrivals
  /// Of the verifier, and of the drafter.
  private var sources: LocalSources
  private var draftSources: LocalSources
  private var now = Duration.zero
  private var verify: Verify?
  private var draft: Draft?
  private var waitsUntil: Duration?
  private var waitsSince: Duration?
  private var draftHasWork = false
  /// Whether the draft model has answered once: up to there it reads the prompt.
  private var isDrafting = false
  private var toTarget: [(arrival: Duration, update: DraftUpdate)] = []
  private var toDrafter: [Letter] = []
  /// Letters that have come while a pass ran, and did not end it.
  private var unreadCount = 0
  private var result: Result

  private static let link = 0

  /// Reads the prompt.
  ///
  /// - Parameters:
  ///   - session: the text; its rule is the standard one.
  ///   - configuration: times and network.
  ///   - engine: the target's.
  ///   - draftEngine: has the same vocabulary.
  ///   - sources: the verifier's own drafts.
  /// - Throws: ``DecodingError`` for an unfit text, ``EngineError`` of the passes.
  package init(
    _ session: VerifierSession.Configuration, _ configuration: Configuration,
    engine: InferenceEngine, draftEngine: InferenceEngine, sources: LocalSources
  ) throws {
    self.configuration = configuration
    self.engine = engine
    self.sources = sources
    target = try TargetSession(session, engine: engine)
    while target.isPrefilling { try target.prefill(engine: engine, sources: &self.sources) }
    let truth = target.machine.truth
    let costs = configuration.targetCosts
    var acceptance = AttachAcceptance(
      sampling: session.sampling, promptLength: truth.count, truthLength: 0)
    acceptance.pipeline = configuration.pipeline
    acceptance.relativeVerifyCosts = costs.costs.relative
    acceptance.verifyDuration = costs.single
    pacing = DraftPacing(acceptance, record: nil)
    var methods = DraftMethods()
    methods.usesModel = true
    methods.shape = configuration.shape
    var own = DrafterSession.Configuration(
      truth: truth, sampling: session.sampling, contextLength: draftEngine.contextLength,
      vocabularyCount: session.vocabularyCount)
    own.stopTokens = session.stopTokens
    drafter = try LocalDrafter(
      own, stopTokens: session.stopTokens,
      plan: pacing.plan(configuration.shape, draftCosts: configuration.draftCosts.costs),
      engine: draftEngine)
    draftSources = LocalSources(
      methods.foresight, vocabularyCount: draftEngine.model.shape.vocabularyCount)
    draftSources.observe(prompt: truth)
    pace = SessionPace(configuration.pipeline, step: costs.single)
    planner = PassPlanner(
      nodeLimit: configuration.nodeLimit, rowLimit: InferenceEngine.batchLimit)
    arrivals = DraftArrivals(
      turnaround: configuration.draftCosts.single + configuration.roundTrip)
    result = Result(
      tokens: [], duration: .zero, plainDuration: .zero, statistics: DraftStatistics(),
      passCount: 0, abortedCount: 0, waited: .zero)
    pace.drafterCame(at: now, roundTrip: configuration.roundTrip)
    beginRound()
  }

  /// Decodes to the end of the text.
  package mutating func run() throws -> Result {
    while !target.isFinished {
      try advanceDrafter()
      try advanceTarget()
      guard !target.isFinished else { break }
      guard let next = nextEvent() else {
        preconditionFailure(
          "nothing goes on at \(now) with \(target.machine.generatedCount) tokens")
      }
      now = max(now, next)
    }
    let machine = target.machine
    result.tokens = Array(machine.truth.dropFirst(machine.promptCount))
    result.statistics = machine.statistics
    result.duration = now
    for index in result.tokens.indices {
      result.plainDuration += time(
        configuration.targetCosts, count: 1, context: machine.promptCount + index - 1)
    }
    return result
  }

  /// When something happens that nobody has seen yet.
  private func nextEvent() -> Duration? {
    var times: [Duration] = []
    if let verify {
      times.append(verify.end)
    } else {
      times += [toTarget.first?.arrival, waitsUntil ?? pace.deadline].compactMap { $0 }
    }
    if let draft { times.append(draft.end) }
    if toDrafter.count > unreadCount { times.append(toDrafter[unreadCount].arrival) }
    return times.min()
  }

  private func time(_ costs: MeasuredCosts, count: Int, context: Int) -> Duration {
    costs.single * Double(costs.costs.cost(count, attending: count * max(0, context)))
  }

  private var oneWay: Duration { configuration.roundTrip / 2 }

  // MARK: the drafter

  private mutating func advanceDrafter() throws {
    try endPass()
    readTruth()
    while draft == nil, draftHasWork {
      guard pacing.mayDraft, let pass = drafter.begin(sources: &draftSources) else {
        draftHasWork = false
        if pacing.mayDraft, let rest = pacing.close() { sendUp(rest) }
        return
      }
      let costs = configuration.draftCosts
      let reads = pass.tokenCount
      let duration =
        isDrafting
        ? time(costs, count: reads, context: target.machine.truth.count) : .zero
      draft = Draft(pass: pass, end: now + duration)
      if duration == .zero { try endPass() }
    }
  }

  /// Ends the running pass where its time has come, or truth that has come leaves it without use.
  private mutating func endPass() throws {
    guard let running = draft else { return }
    while draft != nil, running.end > now, unreadCount < toDrafter.count,
      toDrafter[unreadCount].arrival <= now
    {
      if running.pass.isVoid(after: toDrafter[unreadCount].update) {
        drafter.abandon()
        result.abortedCount += 1
        draft = nil
      }
      unreadCount += 1
    }
    guard draft != nil, running.end <= now else { return }
    draft = nil
    let progress = try drafter.run(running.pass, sources: &draftSources)
    if isDrafting { result.passCount += 1 }
    isDrafting = isDrafting || !progress.update.nodes.isEmpty
    if let message = pacing.add(progress) { sendUp(message) }
  }

  private mutating func readTruth() {
    guard draft == nil else { return }
    unreadCount = 0
    while let letter = toDrafter.first, letter.arrival <= now {
      toDrafter.removeFirst()
      drafter.follow(letter.update)
      pacing.heard(stepOf: letter.step.outcome.usedNodeCount + 1, letter.step.duration)
      beginRound()
    }
  }

  private mutating func beginRound() {
    draftHasWork = true
    let opening = pacing.begin(
      &drafter, roundTrip: configuration.roundTrip,
      draftDuration: configuration.draftCosts.single)
    if let opening { sendUp(opening) }
  }

  private mutating func sendUp(_ update: DraftUpdate) {
    var update = update
    result.sentCount += update.nodes.count
    for index in update.nodes.indices {
      update.nodes[index].score = Nodes.quantised(score: update.nodes[index].score)
    }
    toTarget.append((now + oneWay, update))
  }

  // MARK: the target

  private mutating func advanceTarget() throws {
    if let step = verify, step.end <= now {
      verify = nil
      try conclude(step)
    }
    guard verify == nil, !target.isFinished else { return }
    var isWokenByMail = false
    while let (arrival, update) = toTarget.first, arrival <= now {
      toTarget.removeFirst()
      receive(update, arrival: arrival)
      isWokenByMail = true
    }
    if let held = pace.release(at: now) { sendDown(held) }
    guard pace.mayStep(at: now) else { return }
    if let until = waitsUntil, !isWokenByMail, until > now { return }
    let mayWait = waitsUntil.map { $0 > now } ?? true
    waitsUntil = nil
    if configuration.pipeline == .streamed, mayWait, let deadline = lingerDeadline() {
      waitsUntil = deadline
      waitsSince = waitsSince ?? now
      return
    }
    if let since = waitsSince.take() { result.waited += now - since }
    beginStep()
  }

  private mutating func receive(_ update: DraftUpdate, arrival: Duration) {
    let before = target.machine.liveReceptionCount
    target.receive(update.nodes, anchor: update.anchor, link: Self.link)
    if !update.nodes.isEmpty {
      arrivals.received(
        update.nodes, liveCount: target.machine.liveReceptionCount - before, at: arrival)
    }
    pace.received(at: now)
  }

  private mutating func lingerDeadline() -> Duration? {
    let machine = target.machine
    let costs = configuration.targetCosts
    let count = machine.pendingCount + 1
    return linger.deadline(
      arrivals.forecast(silence: costs.single * 4, at: now), value: machine.nextDraftValue,
      acceptance: machine.draftedShare, liveCount: machine.liveReceptionCount,
      nodeCost: costs.costs.cost(count + 1) - costs.costs.cost(count), step: costs.single, at: now)
  }

  private mutating func beginStep() {
    let costs = configuration.targetCosts
    pace.stepBegins(at: now)
    linger.stepBegins(liveCount: target.machine.liveReceptionCount)
    let batch: VerifyBatch
    if configuration.pipeline == .streamed {
      let session = PassPlanner.Session(missingCount: 0, contextCount: target.contextCount)
      let pass = planner.next([session], costs: costs.costs) { [target] _, body in
        body(&target.machine, &sources)
      }
      batch = pass.batches[0].batch
    } else {
      let limit = pace.limit(configuration.nodeLimit, pendingCount: target.machine.pendingCount)
      batch = target.machine.nextBatch(
        sources: &sources, costs: pace.costs(costs.costs).at(context: target.contextCount),
        limit: limit)
    }
    let duration = time(costs, count: batch.count, context: target.contextCount)
    verify = Verify(batch: batch, duration: duration, end: now + duration)
  }

  private mutating func conclude(_ step: Verify) throws(EngineError) {
    let part = target.part(step.batch)
    try engine.forward(part.batch, cache: part.cache)
    let outcome = target.conclude(
      step.batch, engine: engine, rows: 0..<step.batch.count, sources: &sources)
    linger.concluded(tokenCount: outcome.tokens.count, at: now)
    let done = SessionPace.Step(outcome: outcome, duration: step.duration)
    if outcome.finish != nil || !pace.holds(done, at: now) { sendDown(done) }
  }

  private mutating func sendDown(_ step: SessionPace.Step) {
    pace.published(at: now)
    arrivals.published(contradictsDrafts: step.outcome.contradictsDrafts, at: now)
    toDrafter.append(
      Letter(
        arrival: now + oneWay, step: step, update: step.outcome.update(forLink: Self.link)))
  }
}

import Decoding
import InferenceTypes
import Logging
import Wire

/// What a session with a verifier leaves behind for the next one.
struct DraftRecord {
  /// Counted from no truth.
  var throttle: DraftThrottle
  /// How good the guesses were: a rest would end at once if the next session assumed better.
  var acceptance: DraftAcceptance
}

/// How one session of a drafter shares the time with its verifier: when it drafts, how far and how
/// wide, from what was measured on the way.
struct DraftPacing {
  /// Draft tokens of a round at most.
  private static let roundMax = 16
  /// Guesses for each place of a chain at most; those of pipelines with rounds have no leaves.
  private static let widthMax = 4
  /// Assumed of a link that was not measured yet.
  private static let assumedRoundTrip = Duration.milliseconds(1)

  private var draftCosts = VerifyCosts.assumed
  private var pacer = DraftPacer(pipeline: .streamed, draftLength: 1)
  private(set) var throttle = DraftThrottle()
  private var costs = VerifyCosts.assumed
  /// Time of a step over one token.
  private var step: Duration?
  /// What the latest decision came from.
  private(set) var conditions = DraftConditions(
    roundTrip: assumedRoundTrip, step: .milliseconds(10), costs: .assumed,
    draft: .milliseconds(5), acceptance: 0.75)
  private var passCount = 0
  private var abortedCount = 0

  init() {}

  /// What the verifier tells of the session, and how the one before with it ended.
  init(_ acceptance: AttachAcceptance, record: DraftRecord?) {
    if let record { throttle = record.throttle.carried(from: 0, to: acceptance.promptLength) }
    pacer = DraftPacer(pipeline: acceptance.pipeline, draftLength: 1)
    if !acceptance.relativeVerifyCosts.isEmpty {
      costs = VerifyCosts(relative: acceptance.relativeVerifyCosts)
    }
    if acceptance.verifyDuration > .zero { step = acceptance.verifyDuration }
  }

  /// How a draft model is to begin; `draftCosts` are those of its passes.
  mutating func plan(_ shape: DraftShape, draftCosts: VerifyCosts) -> DraftPlan {
    self.draftCosts = draftCosts
    var plan = DraftPlan(shape: shape)
    plan.window = 1
    plan.runsAhead = pacer.pipeline != .vanilla
    plan.isStream = pacer.pipeline == .streamed
    return plan
  }

  /// Whether the draft model may compute now.
  var mayDraft: Bool { pacer.mayDraft }

  /// Whether drafts come too late to help.
  var isResting: Bool {
    if case .resting = throttle.state { true } else { false }
  }

  /// A step over so many tokens took this long.
  mutating func heard(stepOf count: Int, _ duration: Duration) {
    guard duration > .zero else { return }
    let single = duration / Double(costs.cost(max(1, count)))
    step = step.map { ($0 * 7 + single) / 8 } ?? single
  }

  /// Truth has arrived: sets window and width of the draft model, and begins a round.
  ///
  /// - Returns: the message that opens the round, where there is one.
  mutating func begin(
    _ drafter: inout LocalDrafter, roundTrip: Duration?, draftDuration: Duration
  ) -> DraftUpdate? {
    let acceptance = drafter.acceptance
    conditions = DraftConditions(
      roundTrip: roundTrip ?? Self.assumedRoundTrip, step: step ?? draftDuration * 2, costs: costs,
      draft: draftDuration, acceptance: acceptance.rate)
    drafter.setCosts(conditions.draftCosts(draftCosts))
    guard pacer.pipeline != .streamed else {
      let mayDraft = throttle.mayDraft(
        conditions, sampleCount: acceptance.sampleCount, truthCount: drafter.truthCount)
      // A tree ends by itself where its paths are improbable.
      let window = drafter.isTree ? conditions.reach : conditions.window
      drafter.setWindow(mayDraft ? window : 0)
      drafter.setChainWidth(
        acceptance.width(nodeCost: Double(costs.cost(2)) - 1, limit: Self.widthMax))
      return nil
    }
    // Where the target waits, a tree says itself when it is large enough.
    let length =
      pacer.pipeline == .vanilla && drafter.isTree
      ? DraftPlan.treeDepth : conditions.roundLength(pacer.pipeline, limit: Self.roundMax)
    if length != pacer.draftLength {
      pacer = DraftPacer(pipeline: pacer.pipeline, draftLength: length)
    }
    drafter.setWindow(pacer.window ?? length)
    drafter.setChainWidth(1)
    return pacer.begin(truthCount: drafter.truthCount)
  }

  /// - Returns: what to send now.
  mutating func add(_ progress: LocalDrafter.Progress) -> DraftUpdate? {
    passCount += 1
    if progress.isAborted { abortedCount += 1 }
    return pacer.add(progress.update, growth: progress.growth)
  }

  /// There is nothing to draft: ends a round that is open.
  mutating func close() -> DraftUpdate? { pacer.close() }

  /// Tells what was measured, once a session has ended.
  func log(_ logger: Logger, id: SessionID) {
    guard passCount > 0 else { return }
    logger.info(
      "drafted",
      metadata: [
        "session.id": "\(id)", "pipeline": "\(pacer.pipeline)", "pass.count": "\(passCount)",
        "aborted.count": "\(abortedCount)", "round.trip": "\(conditions.roundTrip)",
        "step": "\(conditions.step)", "draft": "\(conditions.draft)",
        "acceptance": "\(conditions.acceptance)",
      ])
  }
}

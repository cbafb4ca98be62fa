package import Decoding
package import InferenceTypes

/// How long computing takes.
package struct ComputeTimes: Sendable, Equatable {
  /// One token of the draft model.
  package var draft: Duration
  /// `[n - 1]`: a forward pass of the target over n tokens; the mean slope goes on behind the end.
  package private(set) var verify: [Duration]
  /// A prompt token of the target.
  package var promptToken = Duration.zero
  /// A token that the draft model reads without guessing after it.
  package var draftPromptToken = Duration.zero

  /// `verify` has at least one time, and none is smaller than the one before.
  package init(draft: Duration, verify: [Duration]) {
    precondition(!verify.isEmpty, "no time of a forward pass")
    self.draft = draft
    self.verify = verify
  }

  /// A straight line: `single` for one token, `slope` for each further one.
  package init(draft: Duration, single: Duration, slope: Duration) {
    self.init(draft: draft, verify: (0..<128).map { single + slope * $0 })
  }

  /// The time of a pass over `count` tokens, at least one.
  package func pass(_ count: Int) -> Duration {
    if count <= verify.count { return verify[max(0, count - 1)] }
    let last = verify[verify.count - 1]
    return last + (last - verify[0]) / max(1, verify.count - 1) * (count - verify.count)
  }

  /// The time of a pass over so many nodes beside so many prompt tokens.
  func pass(nodes: Int, prompt: Int) -> Duration {
    (nodes > 0 ? pass(nodes) : .zero) + promptToken * prompt
  }

  /// The table of the planner.
  func costs(limit: Int) -> VerifyCosts {
    VerifyCosts(relative: (1...max(1, limit)).map { Float(pass($0) / pass(1)) })
  }
}

/// What lies between two workers. A stream of messages keeps its order, as over TCP: what is lost
/// comes later, together with all that follows it.
package struct NetworkSettings: Sendable, Equatable {
  /// One way.
  package var delay = Duration.milliseconds(1)
  /// Added at random, up to this.
  package var jitter = Duration.zero
  /// Share of the messages that are sent again.
  package var lossRate = 0.0
  /// After this time.
  package var retransmission = Duration.milliseconds(200)
  /// Of each direction of each connection; 0 is without limit.
  package var bytesPerSecond = 0.0
  /// Before a broken connection is tried again.
  package var reconnection = Duration.milliseconds(100)

  package init() {}

  var roundTrip: Duration { delay * 2 + jitter }
}

/// One client.
package struct SimulatedRequest: Sendable, Equatable {
  package var time: SimulationTime
  package var prompt: [TokenID]
  package var sampling: SamplingParameters
  package var tokenLimit: Int
  package var endTokens: [TokenID] = []

  package init(
    time: SimulationTime, prompt: [TokenID], sampling: SamplingParameters, tokenLimit: Int
  ) {
    self.time = time
    self.prompt = prompt
    self.sampling = sampling
    self.tokenLimit = tokenLimit
  }
}

/// What goes wrong, and when.
package struct SimulatedFault: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    /// The process ends; it comes back under a new epoch. Without a word means that nobody hears of
    /// it but by silence.
    case crash(node: Int, isSilent: Bool)
    /// The process stands still.
    case stall(node: Int)
    /// Computing takes longer by this factor.
    case slow(node: Int, factor: Double)
    /// The connections between these and all others break.
    case disconnect(node: Int)
    /// Nothing passes between these nodes and the others; what was sent arrives afterwards.
    case partition(nodes: [Int])
    /// Queues overflow at this node: messages to it are lost, one in three.
    case overflow(node: Int)
  }

  package var kind: Kind
  package var start: SimulationTime
  /// `nil` lasts for ever.
  package var end: SimulationTime?

  package init(_ kind: Kind, start: SimulationTime, end: SimulationTime?) {
    self.kind = kind
    self.start = start
    self.end = end
  }
}

/// How long verifiers wait for drafts before a step.
package enum Linger: Sendable {
  /// Where that pays: ``DraftLinger``, the rule of the cluster.
  case worthwhile
  /// Up to so many passes over one token, for the first draft only.
  case fixed(Double)
}

/// A whole experiment. Node 0 is the router, then come the verifiers, then the drafters.
package struct Scenario: Sendable {
  package var seed: UInt64 = 0
  package var target = ToyTarget(seed: 0)
  /// See ``ToyDrafter/hitRates``; their number is the width of the drafts, at least 1.
  package var hitRates = [0.8]
  package var times: ComputeTimes
  package var network = NetworkSettings()
  package var pipeline = Pipeline.streamed
  /// Of the pipelines in rounds.
  package var draftLength = 4
  /// Tokens of draft beyond the truth; `nil` follows ``DraftWindow``.
  package var window: Int?
  /// Most nodes of one session in a forward pass of the target.
  package var nodeLimit = 32
  /// Most nodes and prompt tokens of a forward pass, which all sessions share.
  package var rowLimit = 128
  package var linger = Linger.worthwhile
  package var verifierCount = 1
  package var drafterCount = 1
  package var verifierSlots = 8
  package var drafterSlots = 8
  package var routing = RouterMachine.Configuration()
  package var requests: [SimulatedRequest] = []
  package var faults: [SimulatedFault] = []
  /// Drafters that send garbage.
  package var hostileNodes: Set<Int> = []
  /// When workers start; those that are not named start at once.
  package var joinTimes: [Int: SimulationTime] = [:]

  package init(times: ComputeTimes) { self.times = times }

  package var verifierNodes: Range<Int> { 1..<1 + verifierCount }
  package var drafterNodes: Range<Int> { 1 + verifierCount..<1 + verifierCount + drafterCount }
  var nodeCount: Int { 1 + verifierCount + drafterCount }

  /// The drafter's window in ``Pipeline/streamed``.
  var streamWindow: Int {
    window
      ?? DraftWindow.length(
        roundTrip: network.roundTrip, verify: times.pass(1), draft: times.draft,
        acceptance: hitRates.first ?? 0)
  }
}

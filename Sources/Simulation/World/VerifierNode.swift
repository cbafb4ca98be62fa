import Decoding
import InferenceTypes

/// What reaches the thread of a verifier; it is taken in between two forward passes.
enum VerifierMail: Sendable {
  case open(SessionID, RoutedRequest, decided: [TokenID])
  case cancel(SessionID)
  case assigned(SessionID, name: String, epoch: UInt64)
  case message(SimulatedMessage, drafter: Int, arrival: SimulationTime)
  case unlinked(drafter: Int)
  case reset
}

/// A verifier: sessions of one target.
struct VerifierNode: Sendable {
  struct Link: Sendable {
    var number: Int
    var drafter: Int
    var arrivals = DraftArrivals()
  }

  struct Entry: Sendable {
    let id: SessionID
    var machine: VerifierSession
    let request: RoutedRequest
    /// `[i]`: hash of the first i tokens, which stands for their keys and values; all but the root.
    var hashes: [UInt64]
    var assigned: [(name: String, epoch: UInt64)] = []
    var links: [Link] = []
    var nextLink = 0
    var gate: StepGate
    var linger = DraftLinger()
    /// Truth of a step that waits for the meeting.
    var held: VerifyOutcome?
    /// Prompt and decided tokens that wait for their hashes.
    var missingCount: Int { machine.truth.count - hashes.count }

    func mayAdvance(at now: Duration) -> Bool {
      missingCount > 0 || (held == nil && gate.mayStep(at: now))
    }
  }

  /// What a forward pass evaluates.
  struct Job: Sendable {
    var prompts: [(id: SessionID, count: Int)] = []
    var batches: [(id: SessionID, batch: VerifyBatch)] = []
  }

  var entries: [Entry] = []
  var mail: [VerifierMail] = []
  var job: Job?
  var turn = 0
  var sources = LocalSources.none
  var lingerUntil: SimulationTime?
  let costs: VerifyCosts
  private var planner: PassPlanner

  init(_ scenario: Scenario) {
    costs = scenario.times.costs(limit: scenario.rowLimit)
    planner = PassPlanner(nodeLimit: scenario.nodeLimit, rowLimit: scenario.rowLimit)
  }

  /// One pass for all of these sessions.
  mutating func nextJob(_ chosen: [Int]) -> Job {
    let pass = planner.next(
      chosen.map {
        PassPlanner.Session(
          missingCount: entries[$0].missingCount, contextCount: entries[$0].hashes.count - 1)
      }, costs: costs
    ) { order, body in body(&entries[chosen[order]].machine, &sources) }
    return Job(
      prompts: pass.prompts.map { (entries[chosen[$0.session]].id, $0.count) },
      batches: pass.batches.map { (entries[chosen[$0.session]].id, $0.batch) })
  }

  /// One pass for a session that works in rounds with its drafter: a round is verified whole.
  mutating func nextRound(_ index: Int, limit: Int) -> Job {
    let entry = entries[index]
    guard entry.missingCount == 0 else {
      return Job(prompts: [(entry.id, min(StepPlanner.prefillMax, entry.missingCount))])
    }
    let batch = entries[index].machine.nextBatch(
      sources: &sources, costs: VerifyCosts(relative: []),
      limit: max(1, min(limit, entry.machine.pendingCount + 1)))
    return Job(batches: [(entry.id, batch)])
  }

  /// Keeps the hashes of the accepted path, as an engine keeps its keys and values.
  mutating func conclude(
    _ index: Int, _ batch: VerifyBatch, scratch: borrowing ToyScratch
  ) -> VerifyOutcome {
    let outcome = entries[index].machine.conclude(
      batch, logits: scratch.logits.span, top: scratch.top.span, topCount: 1, sources: &sources)
    for token in outcome.acceptedPath { entries[index].hashes.append(scratch.hashes[token]) }
    return outcome
  }

  func index(of id: SessionID) -> Int? { entries.firstIndex { $0.id == id } }
}

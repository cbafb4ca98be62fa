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
    /// Whether prompt or decided tokens wait for their hashes.
    var isPrefilling: Bool { hashes.count < machine.truth.count }

    func mayStep(at now: Duration) -> Bool { held == nil && gate.mayStep(at: now) }
  }

  enum Job: Sendable {
    case prefill(SessionID, count: Int)
    case verify([(id: SessionID, batch: VerifyBatch)])
  }

  var entries: [Entry] = []
  var mail: [VerifierMail] = []
  var job: Job?
  var turn = 0
  var sources = LocalSources.none
  var lingerUntil: SimulationTime?
  /// By number of sessions that share a pass.
  let costs: [VerifyCosts]

  init(_ scenario: Scenario) {
    costs = (1...max(1, scenario.sessionsPerPass)).map {
      scenario.times.costs(limit: scenario.nodeLimit, sharedBy: $0)
    }
  }

  mutating func nextBatch(_ index: Int, costs: VerifyCosts, limit: Int) -> VerifyBatch {
    entries[index].machine.nextBatch(sources: &sources, costs: costs, limit: limit)
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

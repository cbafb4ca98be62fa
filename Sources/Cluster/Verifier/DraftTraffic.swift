import InferenceTypes
import Synchronization
import Transport
import Wire

/// What passes between a verifier and its drafters, by session: frames are counted where they come
/// and go, and their sum is told when the session ends.
final class DraftTraffic: Sendable {
  private struct State {
    /// Sessions that are open, and no others: a drafter may name any.
    var counts: [SessionID: TrafficCount] = [:]
    /// As the drafters measured them.
    var roundTrips: [PeerID: Duration] = [:]
  }

  private let state = Mutex(State())

  func begin(_ id: SessionID) { state.withLock { $0.counts[id] = TrafficCount() } }

  func end(_ id: SessionID) { state.withLock { $0.counts[id] = nil } }

  func receive(_ byteCount: Int, in id: SessionID) {
    state.withLock { $0.counts[id]?.inbound += byteCount }
  }

  func send(_ byteCount: Int, in id: SessionID) {
    state.withLock { $0.counts[id]?.outbound += byteCount }
  }

  /// `peer` is a registered drafter's connection; it is forgotten by ``forget(_:)``.
  func note(roundTrip: Duration, of peer: PeerID) {
    guard roundTrip > .zero else { return }
    state.withLock { $0.roundTrips[peer] = roundTrip }
  }

  func forget(_ peer: PeerID) { state.withLock { $0.roundTrips[peer] = nil } }

  func roundTrip(of peer: PeerID) -> Duration? { state.withLock { $0.roundTrips[peer] } }

  /// Adds what is known of a session whose drafters have these connections.
  func describe(_ id: SessionID, peers: [PeerID], in statistics: inout SessionStatistics) {
    let (count, roundTrip) = state.withLock { state in
      (state.counts[id], peers.last.flatMap { state.roundTrips[$0] })
    }
    statistics.draftBytes = count ?? TrafficCount()
    statistics.roundTrip = roundTrip ?? .zero
  }
}

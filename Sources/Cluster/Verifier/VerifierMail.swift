import Decoding
import InferenceTypes
import Transport
import Wire

/// What reaches the thread of the target model.
enum VerifierMail: Sendable {
  case open(SessionID, OpenSession)
  case cancel(SessionID)
  case assigned(SessionID, DraftAssigned)
  case peerRegistered(PeerID, Register)
  case peerGone(PeerID)
  case attach(PeerID, SessionID, AttachDraft)
  case nodes(PeerID, SessionID, Nodes, arrival: ContinuousClock.Instant)
  case answer(PeerID, SessionID, CollaborateAnswer)
  case endDraft(PeerID, SessionID)
  /// The router forgot all sessions.
  case reset
  case stop
}

import Decoding
import InferenceTypes
import Wire

/// What reaches the thread that drafts.
enum DrafterMail: Sendable {
  case assign(SessionID, AssignDraft)
  case endDraft(SessionID)
  /// The connection to a verifier stands, and it has taken the registration.
  case linked(endpoint: String)
  case unlinked(endpoint: String)
  case attachReply(SessionID, AttachReply)
  case truth(SessionID, Truth)
  /// A probe of the link to a verifier came back.
  case roundTrip(endpoint: String, Duration)
  case ingest(SessionID, CollaborateIngest)
  case reset
  case stop
}

extension DrafterMail {
  /// Whether this leaves a running pass without use.
  func voids(_ pass: LocalDrafter.Pass, id: SessionID, endpoint: String) -> Bool {
    switch self {
    case .truth(id, let truth):
      truth.isFinished
        || pass.isVoid(
          after: TruthUpdate(
            fromPosition: truth.from, tokens: truth.tokens, nodeIDs: truth.nodeIDs))
    case .endDraft(let ended): ended == id
    case .assign(let assigned, _): assigned == id
    case .attachReply(let attached, _): attached == id
    case .unlinked(let lost): lost == endpoint
    case .reset, .stop: true
    case .truth, .ingest, .linked, .roundTrip: false
    }
  }
}

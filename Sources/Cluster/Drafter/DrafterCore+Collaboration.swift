import Decoding
import InferenceTypes
import Logging
import Wire

/// The part of a draft model in texts that it writes together with the target.
extension DrafterCore {
  func receive(_ message: CollaborateIngest, _ id: SessionID) {
    guard let index = index(of: id),
      case .collaboration(let answerer) = entries[index].drafting
    else { return }
    do {
      try answerer.receive(message)
      entries[index].hasWork = true
    } catch {
      leave(index, because: "\(error)")
    }
  }

  /// Takes part in a collaboration from its beginning.
  func startAnswering(_ index: Int, _ parameters: CollaborationParameters) {
    guard let engine, let acceptance = entries[index].acceptance else {
      return leave(index, because: "a collaboration needs a draft model")
    }
    do {
      entries[index].drafting = .collaboration(
        try CollaborationAnswerer(
          sampling: acceptance.sampling, parameters: parameters, stopTokens: stopTokens,
          engine: engine))
    } catch {
      leave(index, because: "\(error)")
    }
  }

  /// One pass of the model at most, for its part in a collaboration.
  ///
  /// - Throws: ``CollaborationFault`` and ``EngineError``, after which it is of no use there.
  func answer(_ answerer: CollaborationAnswerer, index: Int) throws {
    switch try answerer.advance() {
    case .answer(let answer):
      outlets.sendToVerifier(
        entries[index].endpoint,
        Envelope(session: entries[index].id, message: .collaborateAnswer(answer)))
    case .working: break
    case .idle: entries[index].hasWork = false
    }
  }
}

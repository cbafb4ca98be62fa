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
      drop(index, because: error)
    }
  }

  /// Takes part in a collaboration from its beginning.
  func startAnswering(_ index: Int, _ parameters: CollaborationParameters) {
    guard let engine, let acceptance = entries[index].acceptance else {
      logger.warning(
        "a collaboration needs a draft model",
        metadata: ["session.id": "\(entries[index].id)"])
      return remove(index)
    }
    do {
      entries[index].drafting = .collaboration(
        try CollaborationAnswerer(
          sampling: acceptance.sampling, parameters: parameters, stopTokens: stopTokens,
          engine: engine))
    } catch {
      drop(index, because: error)
    }
  }

  /// Leaves a session in which this drafter is of no use.
  func drop(_ index: Int, because error: any Error) {
    logger.warning(
      "cannot take part",
      metadata: ["session.id": "\(entries[index].id)", "error": "\(error)"])
    remove(index)
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

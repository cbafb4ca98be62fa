import Decoding
import InferenceTypes
import Logging
import Wire

/// How sessions end, and what the next ones learn from them.
extension DrafterCore {
  /// Gives a session up that is not over: the router may know another drafter for it.
  ///
  /// - Parameters:
  ///   - index: of the session.
  ///   - reason: for the logs of both.
  ///   - code: tells the router whether this drafter may be asked again later.
  func leave(_ index: Int, because reason: String, _ code: RefusalCode = .internal) {
    let id = entries[index].id
    logger.warning("leaves a session", metadata: ["session.id": "\(id)", "reason": "\(reason)"])
    remove(index)
    let refusal = Refusal(
      code: code, message: String(reason.prefix(Limits.textBytesMax / 4)))
    outlets.sendToRouter(Envelope(session: id, message: .sessionFailed(refusal)))
  }

  func remove(_ index: Int) {
    let entry = entries.remove(at: index)
    if engine != nil { entry.pacing.log(logger, id: entry.id) }
    if case .model(let drafter) = entry.drafting, linkedEndpoints.contains(entry.endpoint) {
      note(entry, drafter.acceptance)
    }
    activeCount.store(entries.count)
    outlets.sendToVerifier(entry.endpoint, Envelope(session: entry.id, message: .endDraft))
  }

  /// What the next session with the verifier is to know. One that put no guess to the test has but
  /// passed the time of a rest; others may have learned more meanwhile.
  private func note(_ entry: Entry, _ acceptance: DraftAcceptance) {
    let before = records[entry.endpoint]
    if acceptance.sampleCount > entry.sampleCount {
      records[entry.endpoint] = DraftRecord(
        throttle: entry.pacing.throttle.carried(from: entry.truth.count, to: 0),
        acceptance: acceptance)
    } else if let before {
      let count = entry.truth.count - (entry.acceptance?.promptLength ?? 0)
      records[entry.endpoint]?.throttle = before.throttle.carried(from: max(0, count), to: 0)
    }
  }
}

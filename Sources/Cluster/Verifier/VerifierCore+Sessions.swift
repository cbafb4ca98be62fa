import Decoding
import Engine
import InferenceTypes
import Logging
import Transport
import Wire

/// How sessions begin, end, and give way.
extension VerifierCore {
  func open(_ id: SessionID, _ message: OpenSession) {
    if let old = index(of: id) { remove(old) }
    collaborations.forget(id)
    guard entries.count + collaborations.count < slotCount else {
      fail(id, .tooManySessions, "all \(slotCount) sessions of this verifier are in use")
      return
    }
    guard verifyRules.contains(message.rule.rule) else {
      return fail(
        id, .ruleNotAllowed,
        "the verify rule \(message.rule.rule.rawValue) is not allowed by this verifier")
    }
    if let parameters = message.collaboration {
      return collaborations.open(id, message, parameters: parameters)
    }
    var configuration = VerifierSession.Configuration(
      prompt: message.prompt, sampling: message.sampling, contextLength: engine.contextLength,
      vocabularyCount: vocabularyCount)
    configuration.decided = message.decided
    configuration.mirostatLimit = message.mirostatLimit
    configuration.tokenLimit = message.tokenLimit
    configuration.stopTokens = message.endTokens
    configuration.ignoresEndOfSequence = message.ignoresEnd
    configuration.prediction = message.prediction
    configuration.draftOrigins = message.draftOrigins
    do {
      configuration.rule = try RuleChoice(
        message.rule, sampling: message.sampling, vocabularyCount: vocabularyCount)
      let rules = RuledSession(
        configuration.rule, sampling: message.sampling, vocabularyCount: vocabularyCount,
        nodeLimit: nodeLimit)
      let target = try TargetSession(configuration, engine: engine, sharesPrefixes: true)
      // Draws are for one root: only taking turns leaves time for them.
      let pipeline = rules?.drawsDrafts == true ? .vanilla : message.pipeline ?? pipeline
      entries.append(
        Entry(
          id: id, target: target, sampling: message.sampling,
          tenant: message.tenant,
          pace: SessionPace(pipeline, step: costs.single),
          patience: DrafterPatience(at: time), rules: rules, life: SignOfLife(at: clock.now)))
      traffic.begin(id)
      activeCount.store(entries.count)
      if target.isFinished { finish(entries.count - 1) }
    } catch let error as DecodingError {
      let code: RefusalCode
      if case .promptTooLong = error { code = .promptTooLong } else { code = .invalidMessage }
      fail(id, code, "\(error)")
    } catch let error as VerificationError {
      fail(id, .invalidMessage, "\(error)")
    } catch {
      fail(id, .internal, "\(error)")
    }
  }

  func cancel(_ id: SessionID) {
    if collaborations.cancel(id) { return wakeEntries() }
    guard let index = index(of: id) else {
      fail(id, .unknownSession, "no such session here")
      return
    }
    end(index, reason: .cancelled, tokens: [], firstIndex: entries[index].target.generatedCount)
  }

  func finish(_ index: Int) {
    end(
      index, reason: entries[index].target.finish ?? .length, tokens: [],
      firstIndex: entries[index].target.generatedCount)
  }

  func end(_ index: Int, reason: FinishReason, tokens: [TokenID], firstIndex: Int) {
    let entry = entries[index]
    var statistics = entry.target.statistics
    traffic.describe(entry.id, peers: entry.links.map(\.peer), in: &statistics)
    remove(index)
    if reason == .cancelled { finishLinks(entry) }
    let ending = SessionEnding(finishReason: reason, statistics: statistics)
    sendToRouter(
      Envelope(
        session: entry.id,
        message: .sessionTokens(
          SessionTokens(firstIndex: firstIndex, tokens: tokens, ending: ending))))
  }

  /// Ends a session whose pass failed, or lets one wait where memory is short.
  func stop(_ index: Int, _ error: EngineError) {
    // Goes on in a later pass.
    if case .keyValueMemoryFull = error, yield(for: index) { return }
    logger.error(
      "session failed",
      metadata: ["session.id": "\(entries[index].id)", "error": "\(error)"])
    fail(entries[index].id, .internal, "\(error)")
    finishLinks(entries[index])
    remove(index)
  }

  /// The youngest session that runs gives its memory to the others and waits until one has ended;
  /// its keys and values are computed again then.
  ///
  /// - Returns: whether there was one beside the session that wants memory, or it can wait itself.
  func yield(for index: Int) -> Bool {
    let running = entries.indices.filter { !entries[$0].isWaiting }
    guard running.count > 1 || collaborations.isRunning, let youngest = running.last else {
      return false
    }
    logger.info(
      "session waits for memory of the KV cache",
      metadata: ["session.id": "\(entries[youngest].id)", "wanted.by": "\(entries[index].id)"])
    entries[youngest].target.releaseCache(engine: engine)
    entries[youngest].isWaiting = true
    return true
  }

  func remove(_ index: Int) {
    let entry = entries.remove(at: index)
    traffic.end(entry.id)
    meter.ended(entry.target.machine.statistics)
    activeCount.store(entries.count)
    wakeEntries()
    collaborations.wake()
  }

  /// Memory of the KV cache is free again.
  func wakeEntries() {
    for index in entries.indices { entries[index].isWaiting = false }
  }

  func fail(_ id: SessionID, _ code: RefusalCode, _ message: String) {
    sendToRouter(
      Envelope(
        session: id,
        message: .sessionFailed(
          Refusal(code: code, message: String(message.prefix(Limits.textBytesMax / 4))))))
  }
}

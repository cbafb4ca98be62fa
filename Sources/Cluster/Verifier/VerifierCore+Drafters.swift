import Decoding
import Engine
import InferenceTypes
import Logging
import Transport
import Wire

/// What drafters say, and what they hear.
extension VerifierCore {
  func register(_ peer: PeerID, _ register: Register) {
    guard register.tokenizerFingerprint == tokenizerFingerprint,
      register.vocabularyCount == vocabularyCount
    else {
      let refusal = Refusal(
        code: .tokenizersDiffer,
        message: "the drafter's tokenizer differs from the target's: drafts are token ids, so both "
          + "need files with the same vocabulary")
      sendToPeer(peer, Envelope(message: .registered(.refused(refusal))))
      return
    }
    peers[peer] = register
    let epoch = InstanceEpoch(rawValue: 1)
    sendToPeer(
      peer, Envelope(message: .registered(.accepted(heartbeatInterval: .seconds(1), epoch: epoch))))
  }

  func attach(_ peer: PeerID, _ id: SessionID, _ message: AttachDraft) {
    func refuse(_ code: RefusalCode, _ text: String) {
      let refusal = Refusal(code: code, message: text)
      sendToPeer(peer, Envelope(session: id, message: .attachReply(.refused(refusal))))
    }
    guard let register = peers[peer], register.name == message.drafterName,
      register.epoch == message.drafterEpoch
    else { return refuse(.unexpectedMessage, "register first, under the same name and epoch") }
    if collaborations.attach(peer, register, id, message) { return }
    guard let index = index(of: id) else { return refuse(.unknownSession, "no such session here") }
    let drafter = DraftAssigned(
      drafterName: message.drafterName, drafterEpoch: message.drafterEpoch)
    guard entries[index].assigned.contains(drafter) else {
      return refuse(.notAssigned, "the router has not assigned this drafter to the session")
    }
    unlink(peer, from: index)
    let truth = entries[index].target.truth
    let known = message.truthLength <= truth.count ? message.truthLength : 0
    var hash = TruthHash()
    hash.absorb(truth[..<known])
    let start = hash.value == message.truthHash ? known : 0
    let roundTrip = traffic.roundTrip(of: peer)
    let arrivals = DraftArrivals(
      turnaround: register.draftDuration > .zero
        ? register.draftDuration + (roundTrip ?? .zero) : nil)
    entries[index].links.append(
      Link(number: entries[index].nextLink, peer: peer, arrivals: arrivals))
    entries[index].nextLink += 1
    entries[index].pace.drafterCame(at: time, roundTrip: roundTrip ?? .zero)
    var acceptance = AttachAcceptance(
      sampling: entries[index].sampling, promptLength: entries[index].target.promptCount,
      truthLength: start)
    acceptance.tenant = entries[index].tenant
    acceptance.pipeline = entries[index].pace.pipeline
    acceptance.rule = entries[index].rules?.choice.rule ?? .gumbelMatch
    acceptance.relativeVerifyCosts = Array(
      costs.costs.relative.prefix(Limits.verifyCostCountMax))
    acceptance.verifyDuration = costs.single
    sendToPeer(peer, Envelope(session: id, message: .attachReply(.accepted(acceptance))))
    sendTruth(peer, id, from: start, tokens: Array(truth[start...]))
  }

  /// A whole truth may be longer than one message holds.
  func sendTruth(_ peer: PeerID, _ id: SessionID, from start: Int, tokens: [TokenID]) {
    var first = 0
    while first < tokens.count {
      let last = min(tokens.count, first + Limits.truthTokenCountMax)
      let truth = Truth(from: start + first, tokens: Array(tokens[first..<last]))
      sendToPeer(peer, Envelope(session: id, message: .truth(truth)))
      first = last
    }
  }

  func receive(
    _ peer: PeerID, _ id: SessionID, _ message: Nodes, arrival: ContinuousClock.Instant
  ) {
    guard let index = index(of: id),
      let link = entries[index].links.firstIndex(where: { $0.peer == peer })
    else { return }
    if let rules = entries[index].rules, rules.drawsDrafts, !message.laws.isEmpty {
      return receiveDraws(peer, index, message, rules)
    }
    let before = entries[index].target.machine.liveReceptionCount
    // On the wire the anchor is the token continued, here the place guessed.
    entries[index].target.receive(
      message.nodes, anchor: message.anchor + 1, link: entries[index].links[link].number)
    if !message.nodes.isEmpty {
      entries[index].links[link].arrivals.received(
        message.nodes, liveCount: entries[index].target.machine.liveReceptionCount - before,
        at: arrival - start)
    }
    entries[index].pace.received(at: time)
  }

  private func receiveDraws(
    _ peer: PeerID, _ index: Int, _ message: Nodes, _ rules: RuledSession
  ) {
    do throws(VerificationError) {
      guard try rules.receive(message, target: entries[index].target) else { return }
      entries[index].pace.received(at: time)
    } catch {
      logger.warning(
        "drafts that cannot be judged",
        metadata: ["session.id": "\(entries[index].id)", "reason": "\(error)"])
      unlink(peer, from: index)
    }
  }

  func unlink(_ peer: PeerID, from index: Int) {
    for link in entries[index].links where link.peer == peer {
      entries[index].target.removeLink(link.number)
    }
    entries[index].links.removeAll { $0.peer == peer }
    if entries[index].links.isEmpty { entries[index].pace.drafterLeft() }
  }

  /// Tells the drafters what a step decided.
  func sendDown(_ step: SessionPace.Step, index: Int) {
    entries[index].pace.published(at: time)
    for number in entries[index].links.indices {
      entries[index].links[number].arrivals.published(
        contradictsDrafts: step.outcome.contradictsDrafts, at: time)
      let link = entries[index].links[number]
      let update = step.outcome.update(forLink: link.number)
      var truth = Truth(
        from: update.fromPosition, tokens: update.tokens, nodeIDs: update.nodeIDs)
      truth.verifyDuration = step.duration
      truth.usedNodeCount = step.outcome.usedNodeCount
      truth.isFinished = step.outcome.finish != nil
      sendToPeer(link.peer, Envelope(session: entries[index].id, message: .truth(truth)))
    }
  }

  /// Sends the truth of steps whose meeting has come.
  func publishHeld() {
    for index in entries.indices {
      if let step = entries[index].pace.release(at: time) { sendDown(step, index: index) }
    }
  }

  func finishLinks(_ entry: Entry) {
    for link in entry.links {
      var truth = Truth(from: entry.target.truth.count, tokens: [])
      truth.isFinished = true
      sendToPeer(link.peer, Envelope(session: entry.id, message: .truth(truth)))
    }
  }
}

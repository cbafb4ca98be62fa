import Foundation
import GGUF
import InferenceTypes
import Synchronization
import Tokenizer
import Transport
import Wire

/// A drafter that registers and attaches as it should, and then sends garbage: random drafts with
/// perfect confidence, contradictory trees, and bytes that are no messages at all.
final class HostileDrafter: Sendable {
  private let context: ZeroMQContext
  private let control: ZeroMQDealer
  private let registration: Register
  private let task: Task<Void, Never>
  private let sent: Sent

  /// Drafts sent so far.
  var nodeCount: Int { sent.count.withLock { $0 } }

  private final class Sent: Sendable {
    let count = Mutex(0)
  }

  init(model path: String, router: String) async throws {
    let file = try GGUFFile(path: path)
    let tokenizer = try BytePairTokenizer(file: file)
    guard let model = Fingerprint(bytes: file.fingerprint),
      let tokens = Fingerprint(bytes: tokenizer.fingerprint)
    else { throw Daemon.Failure(description: "fingerprints of \(path)") }
    let registration = Register(
      role: .drafter, name: "hostile", epoch: InstanceEpoch(rawValue: 666), modelID: "noise",
      modelFingerprint: model, tokenizerFingerprint: tokens,
      vocabularyCount: tokenizer.vocabularyCount, contextLength: 8192, slotCount: 64)
    let context = try ZeroMQContext()
    let control = try ZeroMQDealer(context, connect: router)
    let sent = Sent()
    let (registered, registeredSink) = AsyncStream.makeStream(of: Void.self)
    task = Task {
      await withDiscardingTaskGroup { group in
        var dealers: [String: ZeroMQDealer] = [:]
        for await event in control.events {
          switch event {
          case .connected: HostileDrafter.send(.register(registration), to: control)
          case .message(_, let frame):
            guard let envelope = try? Envelope(decoding: frame) else { continue }
            switch envelope.message {
            case .registered: registeredSink.finish()
            case .assignDraft(let assignment):
              let endpoint = assignment.verifierEndpoint
              let dealer = dealers[endpoint] ?? (try? ZeroMQDealer(context, connect: endpoint))
              guard let dealer else { continue }
              let isNew = dealers[endpoint] == nil
              dealers[endpoint] = dealer
              let attack = Attack(
                registration: registration, session: envelope.session, dealer: dealer, sent: sent)
              if isNew {
                group.addTask { await attack.listen() }
              } else {
                attack.attach()
              }
            default: continue
            }
          default: continue
          }
        }
        for dealer in dealers.values { await dealer.close() }
        group.cancelAll()
      }
    }
    self.context = context
    self.control = control
    self.registration = registration
    self.sent = sent
    for await _ in registered {}
  }

  func stop() async {
    await control.close()
    task.cancel()
    await task.value
    await context.close()
  }

  private static func send(
    _ message: WireMessage, session: SessionID = Envelope.noSession, to dealer: ZeroMQDealer
  ) {
    guard let frame = try? Envelope(session: session, message: message).encoded() else { return }
    _ = dealer.send(frame)
  }

  /// What it does on one link to a verifier.
  private struct Attack: Sendable {
    let registration: Register
    let session: SessionID
    let dealer: ZeroMQDealer
    let sent: Sent

    func attach() {
      HostileDrafter.send(
        .attachDraft(
          AttachDraft(
            drafterName: registration.name, drafterEpoch: registration.epoch, truthLength: 0,
            truthHash: TruthHash().value)),
        session: session, to: dealer)
    }

    func listen() async {
      var random = SystemRandomNumberGenerator()
      var nextID: UInt32 = 1
      for await event in dealer.events {
        switch event {
        case .connected: HostileDrafter.send(.register(registration), to: dealer)
        case .message(_, let frame):
          guard let envelope = try? Envelope(decoding: frame) else { continue }
          switch envelope.message {
          case .registered: attach()
          case .attachReply(.refused):
            try? await Task.sleep(for: .milliseconds(20))
            attach()
          case .truth(let truth):
            poison(
              envelope.session, end: truth.from + truth.tokens.count, nextID: &nextID,
              random: &random)
          default: continue
          }
        default: continue
        }
      }
    }

    private func poison(
      _ session: SessionID, end: Int, nextID: inout UInt32,
      random: inout SystemRandomNumberGenerator
    ) {
      let vocabulary = UInt32(registration.vocabularyCount)
      for anchor in [end - 1, end, max(0, end - 5), end + 1000] {
        var nodes: [DraftNode] = []
        let first = nextID
        for _ in 0..<24 {
          let parent = UInt32.random(in: first...nextID, using: &random)
          nodes.append(
            DraftNode(
              id: NodeID(rawValue: nextID),
              parent: parent == nextID ? .none : NodeID(rawValue: parent),
              token: TokenID(UInt32.random(in: 0..<vocabulary, using: &random)), score: 0))
          nextID += 1
        }
        HostileDrafter.send(
          .nodes(Nodes(anchor: anchor, nodes: nodes)), session: session, to: dealer)
        // The same ids once more, with other tokens; then ids that were never sent.
        for index in nodes.indices { nodes[index].token = TokenID(7) }
        HostileDrafter.send(
          .nodes(Nodes(anchor: anchor, nodes: nodes)), session: session, to: dealer)
        sent.count.withLock { $0 += nodes.count }
      }
      _ = dealer.send((0..<200).map { _ in UInt8.random(in: 0...255, using: &random) })
      HostileDrafter.send(
        .truth(Truth(from: 0, tokens: [1, 2, 3])), session: session, to: dealer)
    }
  }
}

import CZeroMQ
import Synchronization
import Testing
import Transport

/// What only ZeroMQ connections can do wrong.
@Suite(.timeLimit(.minutes(1))) struct ZeroMQTests {
  @Test func frameBeyondTheReceiversLimitEndsTheConnection() async throws {
    let context = try ZeroMQContext()
    var small = TransportLimits()
    small.frameBytesMax = 1000
    let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"], limits: small)
    let dealer = try ZeroMQDealer(context, connect: router.endpoints[0])
    var atRouter = EventReader(router)
    var atDealer = EventReader(dealer)
    _ = try await atDealer.connection()
    #expect(dealer.send([UInt8](repeating: 1, count: 1000)) == .queued)
    let peer = try await atRouter.connection()
    #expect(try await atRouter.message().frame.count == 1000)
    #expect(dealer.send([UInt8](repeating: 1, count: 1001)) == .queued)
    #expect(try await atRouter.next() == .disconnected(peer))
    #expect(try await atDealer.next() == .disconnected(.server))
    #expect(try await atDealer.connection() == .server)
    await dealer.close()
    await router.close()
    await context.close()
  }

  @Test func queueOfFramesIsBounded() async throws {
    let context = try ZeroMQContext()
    let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
    var limits = TransportLimits()
    limits.outboundBytesMax = 10
    let dealer = try ZeroMQDealer(context, connect: router.endpoints[0], limits: limits)
    var atDealer = EventReader(dealer)
    _ = try await atDealer.connection()
    #expect(dealer.send([UInt8](repeating: 1, count: 11)) == .full)
    #expect(dealer.send([UInt8](repeating: 1, count: 10)) == .queued)
    limits.outboundFrameCountMax = 0
    let mute = try ZeroMQDealer(context, connect: router.endpoints[0], limits: limits)
    var atMute = EventReader(mute)
    _ = try await atMute.connection()
    #expect(mute.send([]) == .full)
    await dealer.close()
    await mute.close()
    await router.close()
    await context.close()
  }

  /// More than the high-water marks of both sides hold.
  @Test func floodsArriveWholeWhereTheReaderKeepsUp() async throws {
    let context = try ZeroMQContext()
    let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
    let dealer = try ZeroMQDealer(context, connect: router.endpoints[0])
    var atRouter = EventReader(router)
    var atDealer = EventReader(dealer)
    _ = try await atDealer.connection()
    let count = 6000
    let sender = Task {
      var sentCount = 0
      while sentCount < count {
        if dealer.send([UInt8](repeating: UInt8(sentCount & 0xFF), count: 100)) == .queued {
          sentCount += 1
        } else {
          await Task.yield()
        }
      }
    }
    _ = try await atRouter.connection()
    var receivedCount = 0
    while receivedCount < count {
      switch try await atRouter.next() {
      case .message(_, let frame):
        #expect(frame.first == UInt8(receivedCount & 0xFF))
        receivedCount += 1
      case .overflow(let dropped): receivedCount += dropped
      case let event: throw EventReader.Unexpected(event: event)
      }
    }
    await sender.value
    await dealer.close()
    await router.close()
    await context.close()
  }

  /// Far more than libzmq itself queues.
  @Test func queuedFramesLeaveAlthoughTheSenderCloses() async throws {
    let context = try ZeroMQContext()
    let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
    let dealer = try ZeroMQDealer(context, connect: router.endpoints[0])
    var atRouter = EventReader(router)
    var atDealer = EventReader(dealer)
    _ = try await atDealer.connection()
    let frames = (0..<4000).map { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
    for frame in frames { #expect(dealer.send(frame) == .queued) }
    await dealer.close()
    let peer = try await atRouter.connection()
    for frame in frames { #expect(try await atRouter.message().frame == frame) }
    #expect(try await atRouter.next() == .disconnected(peer))
    await router.close()
    await context.close()
  }

  @Test func messagesOfSeveralFramesAreRefused() async throws {
    let context = try ZeroMQContext()
    let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
    var atRouter = EventReader(router)
    try sendRaw([[1], [2], [3]], to: router.endpoints[0])
    #expect(try await atRouter.next() == .refused(.frameCount(3)))
    try sendRaw([[4]], to: router.endpoints[0])
    let peer = try await atRouter.connection()
    #expect(try await atRouter.message().frame == [4])
    #expect(try await atRouter.next() == .disconnected(peer))
    await router.close()
    await context.close()
  }

  /// Sends one message as a peer that follows no rules.
  private func sendRaw(_ frames: [[UInt8]], to endpoint: String) throws {
    let context = try unsafe #require(unsafe zmq_ctx_new())
    let socket = try unsafe #require(unsafe zmq_socket(context, ZMQ_DEALER))
    #expect(unsafe zmq_connect(socket, endpoint) == 0)
    for (index, frame) in frames.enumerated() {
      let flags = index + 1 < frames.count ? ZMQ_SNDMORE : 0
      #expect(unsafe zmq_send(socket, frame, frame.count, flags) == Int32(frame.count))
    }
    unsafe zmq_close(socket)
    unsafe zmq_ctx_term(context)
  }

  @Test func oneRouterListensOnSeveralAddresses() async throws {
    let context = try ZeroMQContext()
    let name = "ipc://@slipstream-\(UInt64.random(in: .min ... .max))"
    let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*", name])
    #expect(router.endpoints.count == 2)
    var atRouter = EventReader(router)
    for endpoint in router.endpoints {
      let dealer = try ZeroMQDealer(context, connect: endpoint)
      var atDealer = EventReader(dealer)
      _ = try await atDealer.connection()
      #expect(dealer.send([1]) == .queued)
      let peer = try await atRouter.connection()
      #expect(try await atRouter.message().frame == [1])
      await dealer.close()
      #expect(try await atRouter.next() == .disconnected(peer))
    }
    await router.close()
    await context.close()
  }

  @Test func contextEndsSocketsThatNobodyClosed() async throws {
    let context = try ZeroMQContext()
    let router = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
    let dealer = try ZeroMQDealer(context, connect: router.endpoints[0])
    var atRouter = EventReader(router)
    var atDealer = EventReader(dealer)
    _ = try await atDealer.connection()
    await context.close()
    _ = await atRouter.rest()
    _ = await atDealer.rest()
    #expect(dealer.send([1]) == .closed)
    #expect(throws: TransportError.contextClosed) {
      try ZeroMQDealer(context, connect: router.endpoints[0])
    }
    await router.close()
  }

  @Test func droppingATransportEndsIt() async throws {
    let context = try ZeroMQContext()
    var router: ZeroMQRouter? = try ZeroMQRouter(context, bind: ["tcp://127.0.0.1:*"])
    var reader = EventReader(try #require(router))
    router = nil
    #expect(await reader.rest() == [])
    await context.close()
  }

  @Test func bindingOffLoopbackNeedsTheFlag() async throws {
    let context = try ZeroMQContext()
    #expect(throws: TransportError.plaintextOffLoopback("tcp://0.0.0.0:*")) {
      try ZeroMQRouter(context, bind: ["tcp://0.0.0.0:*"])
    }
    await context.close()
  }

  @Test func threadRunsItsBodyOnce() async throws {
    let runs = Mutex(0)
    let thread = try PinnedThread(name: "a-name-longer-than-the-system-keeps", cpu: 0) {
      runs.withLock { $0 += 1 }
    }
    await thread.join()
    await thread.join()
    #expect(runs.withLock { $0 } == 1)
  }
}

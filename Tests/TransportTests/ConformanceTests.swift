import Testing
import Transport
import Wire

/// What every transport promises.
@Suite(.timeLimit(.minutes(1))) struct ConformanceTests {
  @Test(arguments: Stage.Kind.allCases)
  func framesArriveInOrderBothWays(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    let server = try stage.bind()
    let client = try stage.connect(to: server.endpoints[0])
    var atServer = EventReader(server)
    var atClient = EventReader(client)
    #expect(try await atClient.connection() == .server)

    let frames = (0..<2000).map { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
    for frame in frames { #expect(client.send(frame) == .queued) }
    let peer = try await atServer.connection()
    for frame in frames {
      let received = try await atServer.message()
      #expect(received.peer == peer)
      #expect(received.frame == frame)
      #expect(server.send(frame, to: peer) == .queued)
    }
    for frame in frames { #expect(try await atClient.message().frame == frame) }
    await client.close()
    #expect(try await atServer.next() == .disconnected(peer))
    await server.close()
    await stage.close()
  }

  @Test(arguments: Stage.Kind.allCases)
  func peersAreToldApart(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    let server = try stage.bind()
    var atServer = EventReader(server)
    var peers: [PeerID] = []
    var clients: [any FrameTransport] = []
    var readers: [EventReader] = []
    for number in 0..<4 {
      let client = try stage.connect(to: server.endpoints[0])
      var reader = EventReader(client)
      _ = try await reader.connection()
      #expect(client.send([UInt8(number)]) == .queued)
      peers.append(try await atServer.connection())
      #expect(try await atServer.message().frame == [UInt8(number)])
      clients.append(client)
      readers.append(reader)
    }
    #expect(Set(peers).count == 4)
    for (number, peer) in peers.enumerated().reversed() {
      #expect(server.send([UInt8(100 + number)], to: peer) == .queued)
    }
    for number in readers.indices {
      #expect(try await readers[number].message().frame == [UInt8(100 + number)])
    }
    for client in clients { await client.close() }
    await server.close()
    await stage.close()
  }

  @Test(arguments: Stage.Kind.allCases)
  func largestFramePassesAndOneMoreByteDoesNot(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    let server = try stage.bind()
    let client = try stage.connect(to: server.endpoints[0])
    var atServer = EventReader(server)
    var atClient = EventReader(client)
    _ = try await atClient.connection()
    let limit = Limits.frameBytesMax
    let largest = [UInt8](repeating: 0xA5, count: limit)
    let refusal = SendResult.tooLarge(sizeBytes: limit + 1, limit: limit)
    #expect(client.send(largest + [0]) == refusal)
    #expect(client.send(largest) == .queued)
    let peer = try await atServer.connection()
    #expect(try await atServer.message().frame == largest)
    #expect(server.send(largest + [0], to: peer) == refusal)
    #expect(server.send(largest, to: peer) == .queued)
    #expect(try await atClient.message().frame == largest)
    #expect(server.send([], to: peer) == .queued)
    #expect(try await atClient.message().frame == [])
    await client.close()
    await server.close()
    await stage.close()
  }

  @Test(arguments: Stage.Kind.allCases)
  func unknownPeersAreReported(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    let server = try stage.bind()
    #expect(server.send([1], to: PeerID(bytes: [1, 2, 3])) == .peerGone)
    #expect(server.send([1], to: .server) == .peerGone)
    let client = try stage.connect(to: server.endpoints[0])
    var atServer = EventReader(server)
    var atClient = EventReader(client)
    _ = try await atClient.connection()
    #expect(client.send([1], to: PeerID(bytes: [9])) == .peerGone)
    #expect(client.send([1]) == .queued)
    let peer = try await atServer.connection()
    await client.close()
    #expect(try await atServer.message().frame == [1])
    #expect(try await atServer.next() == .disconnected(peer))
    #expect(server.send([2], to: peer) == .peerGone)
    await server.close()
    await stage.close()
  }

  @Test(arguments: Stage.Kind.allCases)
  func clientsReconnectWhenTheServerIsBack(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    let first = try stage.bind()
    let endpoint = first.endpoints[0]
    let client = try stage.connect(to: endpoint)
    var atClient = EventReader(client)
    _ = try await atClient.connection()
    #expect(client.send([1]) == .queued)
    var atFirst = EventReader(first)
    let oldPeer = try await atFirst.connection()
    #expect(try await atFirst.message().frame == [1])
    #expect(first.send([2], to: oldPeer) == .queued)
    #expect(try await atClient.message().frame == [2])
    await first.close()
    #expect(try await atClient.next() == .disconnected(.server))
    #expect(client.send([3]) == .peerGone)

    let second = try stage.bind(endpoint)
    #expect(second.endpoints == [endpoint])
    #expect(try await atClient.connection() == .server)
    #expect(client.send([4]) == .queued)
    var atSecond = EventReader(second)
    let newPeer = try await atSecond.connection()
    #expect(newPeer != oldPeer)
    #expect(try await atSecond.message().frame == [4])
    #expect(second.send([5], to: oldPeer) == .peerGone)
    await client.close()
    await second.close()
    await stage.close()
  }

  @Test(arguments: Stage.Kind.allCases)
  func clientsMayComeFirst(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    let probe = try stage.bind()
    let endpoint = probe.endpoints[0]
    await probe.close()
    let client = try stage.connect(to: endpoint)
    #expect(client.send([1]) == .peerGone)
    let server = try stage.bind(endpoint)
    var atClient = EventReader(client)
    #expect(try await atClient.connection() == .server)
    await server.close()
    await client.close()
    await stage.close()
  }

  @Test(arguments: Stage.Kind.allCases)
  func addressesAreBoundOnce(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    let server = try stage.bind()
    #expect(throws: TransportError.addressInUse(server.endpoints[0])) {
      try stage.bind(server.endpoints[0])
    }
    await server.close()
    await stage.close()
  }

  @Test(arguments: Stage.Kind.allCases)
  func closingIsCleanAndIdempotent(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    let server = try stage.bind()
    let client = try stage.connect(to: server.endpoints[0])
    var atClient = EventReader(client)
    var atServer = EventReader(server)
    _ = try await atClient.connection()
    #expect(client.send([7]) == .queued)
    // The last frame leaves although the sender closes at once, and twice.
    async let again: Void = client.close()
    await client.close()
    await again
    #expect(client.send([8]) == .closed)
    #expect(await atClient.rest() == [])
    let peer = try await atServer.connection()
    #expect(try await atServer.message().frame == [7])
    #expect(try await atServer.next() == .disconnected(peer))
    await server.close()
    await server.close()
    #expect(server.send([9], to: peer) == .closed)
    #expect(await atServer.rest() == [])
    await stage.close()
    await stage.close()
  }

  @Test(arguments: Stage.Kind.allCases)
  func eventsThatDoNotFitAreCounted(_ kind: Stage.Kind) async throws {
    let stage = try Stage(kind)
    var limits = TransportLimits()
    limits.eventCountMax = 3
    let server = try stage.bind(limits: limits)
    let client = try stage.connect(to: server.endpoints[0])
    var atClient = EventReader(client)
    var atServer = EventReader(server)
    _ = try await atClient.connection()
    let sentCount = 20
    for number in 0..<sentCount { #expect(client.send([UInt8(number)]) == .queued) }
    await client.close()
    // The end of the connection comes through although the stream was full, and nothing is missed
    // without being counted.
    var seenCount = 0
    var droppedCount = 0
    let peer = try await atServer.connection()
    reading: while true {
      switch try await atServer.next() {
      case .message: seenCount += 1
      case .overflow(let count): droppedCount += count
      case .disconnected(peer): break reading
      case let event: throw EventReader.Unexpected(event: event)
      }
    }
    await server.close()
    for case .overflow(let count) in await atServer.rest() { droppedCount += count }
    #expect(seenCount + droppedCount == sentCount)
    await stage.close()
  }
}

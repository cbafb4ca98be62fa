import CMeasure
import Engine
import Foundation
import InferenceTypes
import Testing

/// Allocations are counted for a whole process, so each test has one of its own.
@Suite struct AllocationTests {
  /// One token at a time, across blocks of the KV cache.
  @Test(arguments: [1, 2])
  func decodingAllocatesNothing(threadCount: Int) async {
    await #expect(processExitsWith: .success) { [threadCount] in
      try Steady.decode(threadCount: threadCount)
    }
  }

  @Test(arguments: [1, 2])
  func verifyingATreeAllocatesNothing(threadCount: Int) async {
    await #expect(processExitsWith: .success) { [threadCount] in
      try Steady.verify(threadCount: threadCount)
    }
  }

  /// A tree and single tokens of several sessions in one pass.
  @Test(arguments: [1, 2])
  func passesOfManySessionsAllocateNothing(threadCount: Int) async {
    await #expect(processExitsWith: .success) { [threadCount] in
      try Steady.share(threadCount: threadCount)
    }
  }

  /// The counter sees what Swift allocates.
  @Test func theCounterCounts() async {
    await #expect(processExitsWith: .success) {
      var arrays: [[Int]] = []
      arrays.reserveCapacity(8)
      let count = Steady.allocations { for size in 1...8 { arrays.append(Array(0..<size)) } }
      #expect(count == 8)
      #expect(Steady.allocations { arrays.swapAt(0, 7) } == 0)
      // Once stopped, it stays where it is.
      #expect(Steady.allocations {} == 0)
      arrays.append(Array(0..<9))
      #expect(cmeasure_allocations() == 0)
    }
  }
}

/// Passes at steady state and what they allocate.
private enum Steady {
  static func allocations(_ body: () throws -> Void) rethrows -> UInt64 {
    // Expectations allocate, so they stand outside.
    let redirected = cmeasure_allocations_start()
    let before = cmeasure_allocations()
    defer {
      cmeasure_allocations_stop()
      #expect(redirected > 0 && before == 0)
    }
    try body()
    return cmeasure_allocations()
  }

  static func engine(threadCount: Int) throws -> InferenceEngine {
    var tiny = TinyModel()
    tiny.contextLength = 512
    return try InferenceEngine(model: Model(file: tiny.file()), threadCount: threadCount)
  }

  static func decode(threadCount: Int) throws {
    let engine = try engine(threadCount: threadCount)
    let cache = try engine.makeCache()
    var batch = ForwardBatch(chain: [TokenID(1)], logits: .last)
    var top: [TokenLogit] = []
    let path = [0]
    func step() throws {
      try engine.forward(batch, cache: cache)
      engine.topLogits(4, into: &top)
      cache.commit(path)
      batch.tokens[0] = top[0].token
    }
    try step()
    #expect(try allocations { for _ in 0..<400 { try step() } } == 0)
  }

  static func verify(threadCount: Int) throws {
    let engine = try engine(threadCount: threadCount)
    let cache = try engine.makeCache()
    // Three branches, and the middle one is accepted.
    var batch = ForwardBatch(chain: (1...8).map { TokenID($0) }, logits: .all)
    batch.parents = [-1, 0, 0, 0, 1, 2, 3, 5]
    var top: [TokenLogit] = []
    let path = [0, 2, 5]
    func step() throws {
      try engine.forward(batch, cache: cache)
      engine.topLogits(4, into: &top)
      cache.commit(path)
      batch.tokens[0] = top[0].token
    }
    try step()
    #expect(try allocations { for _ in 0..<100 { try step() } } == 0)
  }

  static func share(threadCount: Int) throws {
    let engine = try engine(threadCount: threadCount)
    var tree = ForwardBatch(chain: (1...8).map { TokenID($0) }, logits: .all)
    tree.parents = [-1, 0, 0, 0, 1, 2, 3, 5]
    let single = ForwardBatch(chain: [TokenID(1)], logits: .last)
    var parts = try [single, tree, single, tree, single].map {
      ForwardPart(batch: $0, cache: try engine.makeCache())
    }
    var top: [TokenLogit] = []
    let paths = [[0], [0, 2, 5]]
    func step() throws {
      try engine.forward(parts)
      for index in parts.indices {
        engine.topLogits(4, rows: index..<index + 1, into: &top)
        parts[index].cache.commit(paths[index % 2])
        parts[index].batch.tokens[0] = top[0].token
      }
    }
    try step()
    #expect(try allocations { for _ in 0..<100 { try step() } } == 0)
  }
}

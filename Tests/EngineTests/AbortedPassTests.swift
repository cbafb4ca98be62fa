import Engine
import InferenceTypes
import Synchronization
import Testing

/// A pass that is given up between two layers leaves nothing behind.
@Suite struct AbortedPassTests {
  private let layerCount = 5
  private let text: [TokenID] = (0..<23).map { TokenID(UInt32(($0 * 17 + 5) % 61)) }

  private func makeEngine(threadCount: Int) throws -> InferenceEngine {
    var tiny = TinyModel()
    tiny.layerCount = layerCount
    return try InferenceEngine(
      model: Model(file: tiny.file()), threadCount: threadCount, contextLength: 64)
  }

  private func bits(_ engine: InferenceEngine) -> [UInt32] {
    engine.withLogits { logits in logits.indices.map { logits[$0].bitPattern } }
  }

  /// Refuses the question of this number, counted from 0, and counts all.
  private final class Refusal: Sendable {
    private let asked = Atomic<Int>(0)
    private let refused: Int
    init(at refused: Int) { self.refused = refused }
    var askedCount: Int { asked.load(ordering: .relaxed) }
    func ask() -> Bool { asked.wrappingAdd(1, ordering: .relaxed).oldValue == refused }
  }

  @Test(arguments: [1, 2, 3])
  func thePassAfterItGivesTheSameBits(threadCount: Int) throws {
    let engine = try makeEngine(threadCount: threadCount)
    let untouched = try engine.makeCache()
    try engine.forward(ForwardBatch(chain: Array(text[..<17]), logits: .none), cache: untouched)
    untouched.commit(Array(0..<17))
    try engine.forward(ForwardBatch(chain: Array(text[17...]), logits: .all), cache: untouched)
    let expected = bits(engine)

    for layer in 0..<layerCount {
      let cache = try engine.makeCache()
      try engine.forward(ForwardBatch(chain: Array(text[..<17]), logits: .none), cache: cache)
      cache.commit(Array(0..<17))
      let blocks = cache.blockCount
      let free = engine.pool.freeCount
      // Other tokens than those that follow, in a tree with nodes beside its longest chain.
      var stray = ForwardBatch(chain: [7, 8, 9], logits: .all)
      stray.tokens += [10, 11]
      stray.parents += [0, -1]
      let refusal = Refusal(at: layer)
      let isComplete = try engine.forward(stray, cache: cache) { refusal.ask() }
      #expect(!isComplete && refusal.askedCount == layer + 1, "before layer \(layer)")
      #expect(cache.committedCount == 17 && cache.blockCount == blocks)
      #expect(engine.pool.freeCount == free)
      #expect(engine.withLogits { $0.count } == 0)
      try engine.forward(ForwardBatch(chain: Array(text[17...]), logits: .all), cache: cache)
      #expect(bits(engine) == expected, "after a stop before layer \(layer)")
    }
  }

  @Test(arguments: [1, 2])
  func aPassThatNobodyStopsIsAnyOther(threadCount: Int) throws {
    let engine = try makeEngine(threadCount: threadCount)
    let cache = try engine.makeCache()
    let batch = ForwardBatch(chain: text, logits: .all)
    try engine.forward(batch, cache: cache)
    let expected = bits(engine)
    let refusal = Refusal(at: .max)
    #expect(try engine.forward(batch, cache: cache) { refusal.ask() })
    #expect(refusal.askedCount == layerCount)
    #expect(bits(engine) == expected)
  }
}

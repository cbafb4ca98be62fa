import Engine
import GGUF
import InferenceTypes

/// Bits of one row of logits.
typealias LogitBits = [UInt32]

/// Equality that prints no millions of numbers when it fails.
func same<Value: Equatable>(_ left: Value, _ right: Value) -> Bool { left == right }

extension InferenceEngine {
  /// The logits of the latest pass, bit by bit, one array for each row.
  func bitRows() -> [LogitBits] {
    let vocabulary = model.shape.vocabularyCount
    return withLogits { logits in
      (0..<logits.count / vocabulary).map { row in
        (0..<vocabulary).map { logits[row * vocabulary + $0].bitPattern }
      }
    }
  }

  /// Appends `tokens` to a sequence in pieces of these sizes; a row of logits for each token.
  @discardableResult
  func append(_ tokens: [TokenID], to cache: KVCache, pieces: [Int] = [64]) throws -> [LogitBits] {
    var rows: [LogitBits] = []
    var start = 0
    var turn = 0
    while start < tokens.count {
      let count = min(pieces[turn % pieces.count], tokens.count - start)
      turn += 1
      let batch = ForwardBatch(chain: Array(tokens[start..<start + count]), logits: .all)
      try forward(batch, cache: cache)
      rows += bitRows()
      cache.commit(Array(0..<count))
      start += count
    }
    return rows
  }
}

/// A random model whose heads are 32 long, three to a key/value head, with room for long texts.
struct CacheModel {
  static let vocabularyCount = 61
  let model: Model

  init(
    contextLength: Int = 512, kernels: Kernels = .best, format: WeightFormat = .q4_1
  ) throws {
    var tiny = TinyModel()
    tiny.format = format
    tiny.embeddingLength = 192
    tiny.headCount = 6
    tiny.contextLength = contextLength
    model = try Model(file: tiny.file(), kernels: kernels)
  }

  /// Heads of `headLength`, `group` to each of `keyValueHeadCount` key/value heads.
  init(headLength: Int, group: Int, keyValueHeadCount: Int) throws {
    var tiny = TinyModel()
    tiny.embeddingLength = headLength * group * keyValueHeadCount
    tiny.headCount = group * keyValueHeadCount
    tiny.keyValueHeadCount = keyValueHeadCount
    tiny.contextLength = 256
    model = try Model(file: tiny.file())
  }

  func engine(
    _ types: CacheTypes = CacheTypes(), threadCount: Int = 1, blockCount: Int = 256
  ) throws -> InferenceEngine {
    let layout = BlockLayout(
      layerCount: model.shape.layerCount, headCount: model.shape.keyValueHeadCount,
      headLength: model.shape.headLength, types: types)
    return try InferenceEngine(
      model: model, threadCount: threadCount,
      keyValueMemoryBytes: blockCount * layout.blockBytes, cacheTypes: types)
  }

  /// A text of random tokens.
  static func text(_ count: Int, seed: Int) -> [TokenID] {
    var random = SmallRandom(seed)
    return (0..<count).map { _ in TokenID(UInt32(random.below(vocabularyCount))) }
  }
}

/// Random choices with a fixed seed.
struct SmallRandom {
  private var random: Random

  init(_ seed: Int) { random = Random(state: UInt64(seed) &* 0x2545_f491_4f6c_dd1d) }

  mutating func below(_ bound: Int) -> Int {
    min(bound - 1, Int((random.next() + 1) / 2 * Float(bound)))
  }
}

extension ForwardBatch {
  /// A random tree of so many nodes, all with logits.
  static func tree(_ count: Int, random: inout SmallRandom) -> ForwardBatch {
    var batch = ForwardBatch()
    for node in 0..<count {
      batch.tokens.append(TokenID(UInt32(random.below(CacheModel.vocabularyCount))))
      // Near parents make long branches, distant ones make many.
      let parent = random.below(3) == 0 ? random.below(node + 1) - 1 : node - 1 - random.below(3)
      batch.parents.append(max(-1, min(parent, node - 1)))
      batch.logitNodes.append(node)
    }
    return batch
  }

  /// The nodes from the first of a branch to `node`.
  func path(to node: Int) -> [Int] {
    var path = [node]
    while parents[path[0]] >= 0 { path.insert(parents[path[0]], at: 0) }
    return path
  }
}

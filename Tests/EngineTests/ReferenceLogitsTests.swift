import Engine
import Foundation
import GGUF
import InferenceTypes
import TestSupport
import Testing

/// Float64 logits along greedy texts of the default model; see Tests/Golden/PROVENANCE.md.
struct ReferenceLogits: Decodable {
  struct Case: Decodable {
    let id: Int
    let promptIds: [UInt32]
    let greedyIds: [UInt32]
    let steps: [Step]
  }
  struct Step: Decodable {
    let topIds: [Int]
    let topLogits: [Float]
    let logsumexp: Double
  }
  let cases: [Case]

  static func load() throws -> ReferenceLogits {
    let data = try Data(contentsOf: TestFiles.golden("smollm2-reference-logits.json"))
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(ReferenceLogits.self, from: data)
  }
}

/// Logits at every step of a case, the reference's own tokens fed in.
private func logitsAlong(_ testCase: ReferenceLogits.Case, engine: InferenceEngine) throws
  -> [[Float]]
{
  let cache = try engine.makeCache()
  let path = testCase.promptIds + testCase.greedyIds.prefix(testCase.steps.count - 1)
  let first = testCase.promptIds.count - 1
  var rows: [[Float]] = []
  var start = 0
  while start < path.count {
    let chunk = Array(path[start..<min(path.count, start + 32)])
    let batch = ForwardBatch(chain: chunk.map { TokenID($0) }, logits: .all)
    try engine.forward(batch, cache: cache)
    let vocabulary = engine.model.shape.vocabularyCount
    engine.withLogits { logits in
      for index in chunk.indices where start + index >= first {
        rows.append((0..<vocabulary).map { logits[index * vocabulary + $0] })
      }
    }
    cache.commit(Array(chunk.indices))
    start += chunk.count
  }
  return rows
}

private func logSumExp(_ row: [Float]) -> Double {
  let largest = Double(row.max() ?? 0)
  return largest + log(row.reduce(0.0) { $0 + exp(Double($1) - largest) })
}

private func largestIndex(_ row: [Float]) -> Int {
  row.indices.max { (row[$0], $1) < (row[$1], $0) } ?? 0
}

@Suite struct ReferenceLogitsTests {
  /// Single-precision sums of the float backend stay within 2e-3 of float64 sums; rounding keys and
  /// values adds what their type says. Only int8 changes which token is the likeliest, here and there.
  @Test(arguments: [(CacheType.f32, Float(2e-3)), (.f16, 0.03), (.i16, 0.03), (.q8_0, 1)])
  func floatBackendMatchesFloat64(type: CacheType, bound: Float) throws {
    let file = try GGUFFile(path: TestFiles.modelPath())
    let engine = try InferenceEngine(
      model: Model(file: file, backend: .openBLAS), contextLength: 512,
      cacheTypes: CacheTypes(keys: type, values: type))
    var largest: Float = 0
    var changedCount = 0
    var count = 0
    let cases = try ReferenceLogits.load().cases
    for testCase in cases.prefix(type == .f32 ? cases.count : cases.count / 3) {
      let rows = try logitsAlong(testCase, engine: engine)
      try #require(rows.count == testCase.steps.count)
      for (index, (row, step)) in zip(rows, testCase.steps).enumerated() {
        count += 1
        changedCount += largestIndex(row) == Int(testCase.greedyIds[index]) ? 0 : 1
        for (id, logit) in zip(step.topIds, step.topLogits) {
          largest = max(largest, abs(row[id] - logit))
        }
      }
    }
    print("float backend, \(type) cache: largest logit difference \(largest)")
    print("  \(changedCount) of \(count) likeliest tokens differ")
    #expect(largest <= bound)
    #expect(changedCount <= (type == .q8_0 ? count / 30 : 0))
  }

  /// Rounding activations to int8 blocks moves the likely tokens' log-probabilities by little.
  /// llama.cpp on the same cases: 0.06 and 0.24. Most of ours comes from the inputs of the
  /// attention and feed-forward products, see docs/PERFORMANCE.md.
  @Test func nativeBackendStaysNearFloat64() throws {
    let file = try GGUFFile(path: TestFiles.modelPath())
    let engine = try InferenceEngine(model: Model(file: file), contextLength: 512)
    var differences: [Double] = []
    for testCase in try ReferenceLogits.load().cases {
      let rows = try logitsAlong(testCase, engine: engine)
      for (row, step) in zip(rows, testCase.steps) {
        let total = logSumExp(row)
        for (id, logit) in zip(step.topIds, step.topLogits).prefix(5) {
          differences.append(abs(Double(row[id]) - total - (Double(logit) - step.logsumexp)))
        }
      }
    }
    differences.sort()
    let median = differences[differences.count / 2]
    let high = differences[differences.count * 95 / 100]
    print("native backend: top-5 log-probability difference median \(median), 95% \(high)")
    #expect(median <= 0.07)
    #expect(high <= 0.30)
  }
}

import Engine
import InferenceTypes
import Testing

/// Every weight format through a whole model.
@Suite struct FormatTests {
  /// The logits of each token, as bit patterns, the text fed in pieces of this size.
  private func rows(_ model: Model, tokens: [TokenID], pieceLength: Int) throws -> [[UInt32]] {
    let engine = try InferenceEngine(model: model)
    let cache = try engine.makeCache()
    let vocabulary = model.shape.vocabularyCount
    var rows: [[UInt32]] = []
    for start in stride(from: 0, to: tokens.count, by: pieceLength) {
      let piece = Array(tokens[start..<min(start + pieceLength, tokens.count)])
      try engine.forward(ForwardBatch(chain: piece, logits: .all), cache: cache)
      cache.commit(Array(piece.indices))
      rows += engine.withLogits { logits in
        piece.indices.map { row in
          (0..<vocabulary).map { logits[row * vocabulary + $0].bitPattern }
        }
      }
    }
    return rows
  }

  @Test(arguments: WeightFormat.allCases)
  func everyInstructionSetAndEveryBatchGiveTheSameBits(format: WeightFormat) throws {
    let file = try TinyModel.storing(format).file()
    let tokens: [TokenID] = (0..<19).map { TokenID(UInt32($0 * 17 % 61)) }
    let scalar = try rows(
      Model(file: file, kernels: Kernels.named("scalar")), tokens: tokens, pieceLength: 19)
    #expect(Set(scalar).count == tokens.count)
    for kernels in Kernels.available {
      let model = try Model(file: file, kernels: kernels)
      for pieceLength in [1, 2, 5, 16, 19] {
        let isSame = try rows(model, tokens: tokens, pieceLength: pieceLength) == scalar
        #expect(isSame, "\(kernels.name), pieces of \(pieceLength)")
      }
    }
  }
}

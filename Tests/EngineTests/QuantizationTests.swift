import Engine
import Foundation
import GGUF
import InferenceTypes
import Testing

/// Whole model files in other types.
@Suite struct QuantizationTests {
  /// Rows of 256 and 512, so that every type fits.
  private func tiny(_ format: WeightFormat = .f16, layers: Int = 2) -> TinyModel {
    var tiny = TinyModel()
    tiny.embeddingLength = 256
    tiny.feedForwardLength = 512
    tiny.layerCount = layers
    tiny.format = format
    tiny.vocabularyCount = 40
    return tiny
  }

  private struct Outcome {
    let file: GGUFFile
    let bytes: [UInt8]
    let tensors: [QuantizedTensor]
  }

  private func temporaryPath() -> String {
    FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).gguf").path()
  }

  private func quantize(
    _ file: GGUFFile, _ type: QuantizationType, threads: Int = 2, chunkBytes: Int = 8 << 20
  ) throws -> Outcome {
    let path = temporaryPath()
    defer { try? FileManager.default.removeItem(atPath: path) }  // nothing to do about leftovers
    let plan = try QuantizationPlan(file: file, type: type)
    let quantizer = try Quantizer(
      file: file, plan: plan, threadCount: threads, chunkBytes: chunkBytes)
    let tensors = try quantizer.write(to: path, replacing: false)
    let data = try Data(contentsOf: URL(filePath: path))
    return Outcome(file: try GGUFFile(path: path), bytes: [UInt8](data), tensors: tensors)
  }

  private func bytes(_ file: GGUFFile, _ tensor: GGUFTensor) -> [UInt8] {
    unsafe file.withTensorBytes(tensor) { unsafe Array($0) }
  }

  private func format(_ type: GGMLType) throws -> WeightFormat {
    try #require(WeightFormat(rawValue: type.name))
  }

  /// The rows of a tensor as floats.
  private func rows(_ file: GGUFFile, _ tensor: GGUFTensor) throws -> [[Float]] {
    let format = try format(tensor.type)
    let all = bytes(file, tensor)
    return (0..<tensor.rowCount).map { row in
      format.dequantize(
        Array(all[row * tensor.rowBytes..<(row + 1) * tensor.rowBytes]),
        count: tensor.dimensions[0])
    }
  }

  private func types(_ plan: QuantizationPlan) -> [String: GGMLType] {
    Dictionary(uniqueKeysWithValues: plan.entries.map { ($0.tensor.name, $0.type) })
  }

  @Test(arguments: QuantizationType.allCases, [WeightFormat.f32, .f16, .bf16, .q8_0, .q4_K])
  func everyTensorHoldsTheRoundedRowsOfTheSource(
    type: QuantizationType, source: WeightFormat
  ) throws {
    let old = try tiny(source).file()
    let outcome = try quantize(old, type)
    #expect(outcome.file.tensors.map(\.name) == old.tensors.map(\.name))
    #expect(outcome.tensors.map(\.entry.tensor) == old.tensors)
    var convertedCount = 0
    for (tensor, report) in zip(outcome.file.tensors, outcome.tensors) {
      let before = report.entry.tensor
      #expect(tensor.dimensions == before.dimensions && tensor.type == report.entry.type)
      if tensor.dimensions.count == 1 { #expect(tensor.type == before.type) }
      if tensor.type == before.type {
        // As booleans, here and below: the difference of large arrays takes ages to print.
        let isSame = bytes(outcome.file, tensor) == bytes(old, before)
        #expect(isSame, "\(tensor.name)")
        #expect(report.squaredError == 0)
        continue
      }
      convertedCount += 1
      let weights = try rows(old, before)
      let format = try format(tensor.type)
      let isRounded = bytes(outcome.file, tensor) == weights.flatMap { format.quantize($0) }
      #expect(isRounded, "\(tensor.name)")
      var squaredError = 0.0
      for (row, back) in zip(weights, try rows(outcome.file, tensor)) {
        for (x, y) in zip(row, back) {
          squaredError += (Double(x) - Double(y)) * (Double(x) - Double(y))
        }
      }
      #expect(abs(report.squaredError - squaredError) <= 1e-9 * squaredError)
      // Of our own choice, so that nobody is misled by a sum that forgot to add.
      #expect(report.squaredError < 0.01 * report.squares && report.squares > 1)
    }
    let isSame = source.rawValue == type.rawValue
    #expect(convertedCount > 0 || isSame)
  }

  @Test(arguments: QuantizationType.allCases)
  func threadsChunksAndRepetitionsMakeNoDifference(type: QuantizationType) throws {
    let file = try tiny().file()
    let one = try quantize(file, type, threads: 1)
    for (threads, chunkBytes) in [(1, 8 << 20), (2, 8 << 20), (5, 1 << 12), (2, 1000), (1, 1)] {
      let other = try quantize(file, type, threads: threads, chunkBytes: chunkBytes)
      let isSame = other.bytes == one.bytes && other.tensors == one.tensors
      #expect(isSame, "\(threads) threads, chunks of \(chunkBytes) bytes")
    }
  }

  @Test func metadataAreKeptButForTheType() throws {
    var tiny = tiny()
    tiny.metadata = [
      ("general.file_type", .uint32(1)), ("general.name", .string("tiny")),
      ("tokenizer.ggml.scores", .array(.float32([0.5, -1]))),
    ]
    let old = try tiny.file()
    let new = try quantize(old, .q6_K).file
    #expect(new.keys == old.keys + ["general.quantization_version"])
    for key in old.keys where key != "general.file_type" { #expect(new[key] == old[key]) }
    #expect(new["general.file_type"] == .uint32(18))
    #expect(new["general.quantization_version"] == .uint32(2))
  }

  @Test func alignmentIsKept() throws {
    var writer = GGUFWriter(alignment: 256)
    writer.add(
      tensor: "a.weight", dimensions: [32, 2], type: .f32, bytes: [UInt8](repeating: 0, count: 256))
    writer.add(
      tensor: "b.weight", dimensions: [32, 2], type: .f32, bytes: [UInt8](repeating: 0, count: 256))
    let new = try quantize(GGUFFile(bytes: writer.serialized()), .q8_0).file
    #expect(new.alignment == 256 && new.tensors.count == 2)
  }

  // MARK: which type

  @Test func theMixtureGivesMoreBitsWhereLlamaCppDoes() throws {
    let file = try tiny(layers: 24).file()
    let types = types(try QuantizationPlan(file: file, type: .q4_K_M))
    let more = [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]
    for layer in 0..<24 {
      for name in ["attn_v", "ffn_down"] {
        let expected: GGMLType = more.contains(layer) ? .q6_K : .q4_K
        #expect(types["blk.\(layer).\(name).weight"] == expected, "layer \(layer)")
      }
      for name in ["attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"] {
        #expect(types["blk.\(layer).\(name).weight"] == .q4_K)
      }
      #expect(types["blk.\(layer).attn_norm.weight"] == .f32)
    }
    let plain = self.types(try QuantizationPlan(file: file, type: .q4_K))
    #expect(plain["blk.0.attn_v.weight"] == .q4_K)
  }

  @Test(arguments: QuantizationType.allCases)
  func theOutputIsKeptFiner(type: QuantizationType) throws {
    let fine: GGMLType = type == .q8_0 ? .q8_0 : .q6_K
    let tied = types(try QuantizationPlan(file: tiny().file(), type: type))
    #expect(tied["token_embd.weight"] == fine)
    var untied = tiny()
    untied.edit = {
      $0.append(.init(name: "output.weight", dimensions: [256, 40], format: .f16))
    }
    let apart = types(try QuantizationPlan(file: untied.file(), type: type))
    #expect(apart["output.weight"] == fine)
    #expect(apart["token_embd.weight"] == type.tensorType)
  }

  @Test func theOutputIsWhatTheCallerWants() throws {
    let file = try tiny().file()
    let usual = types(try QuantizationPlan(file: file, type: .q8_0))
    var wanted = types(try QuantizationPlan(file: file, type: .q8_0, outputType: .q4_0))
    #expect(wanted["token_embd.weight"] == .q4_0)
    wanted["token_embd.weight"] = .q8_0
    #expect(wanted == usual)
  }

  @Test func rowsThatAreNoWholeBlocksFallBack() throws {
    var model = tiny()
    model.edit = {
      $0.append(.init(name: "blk.0.odd.weight", dimensions: [96, 3], format: .f16))
      $0.append(.init(name: "blk.0.odder.weight", dimensions: [40, 3], format: .f32))
      $0.append(.init(name: "output.weight", dimensions: [96, 3], format: .f16))
    }
    let file = try model.file()
    for (type, odd) in [
      (QuantizationType.q4_K, GGMLType.q4_1), (.q4_K_M, .q4_1), (.q6_K, .q8_0), (.q4_0, .q4_0),
    ] {
      let entries = try QuantizationPlan(file: file, type: type).entries
      let entry = try #require(entries.first { $0.tensor.name == "blk.0.odd.weight" })
      #expect(entry.type == odd)
      #expect(entry.fallbackFrom == (odd == type.tensorType ? nil : type.tensorType))
      let odder = try #require(entries.first { $0.tensor.name == "blk.0.odder.weight" })
      #expect(odder.type == .f16 && odder.fallbackFrom == type.tensorType)
      let output = try #require(entries.first { $0.tensor.name == "output.weight" })
      #expect(output.type == .q8_0 && output.fallbackFrom == .q6_K)
    }
    _ = try quantize(file, .q4_K)
  }

  @Test func gatesAndVectorsStay() throws {
    var model = tiny()
    model.edit = {
      $0.append(.init(name: "blk.0.ffn_gate_inp.weight", dimensions: [256, 4], format: .f32))
      $0.append(.init(name: "blk.0.attn_q.bias", dimensions: [256, 2], format: .f32))
      $0.append(.init(name: "blk.0.column.weight", dimensions: [256, 1], format: .f32))
    }
    let types = types(try QuantizationPlan(file: model.file(), type: .q4_0))
    for name in ["ffn_gate_inp.weight", "attn_q.bias", "column.weight", "ffn_norm.weight"] {
      #expect(types["blk.0.\(name)"] == .f32)
    }
  }

  @Test func typesAreFoundWhateverTheirCase() throws {
    #expect(try QuantizationType(named: "q4_k_m") == .q4_K_M)
    #expect(try QuantizationType(named: "Q8_0") == .q8_0)
    let error = try #require(throws: EngineError.self) { try QuantizationType(named: "Q9") }
    for type in QuantizationType.allCases { #expect("\(error)".contains(type.rawValue)) }
  }

  // MARK: what goes wrong

  @Test func weightsThatAreNotFiniteAreCounted() throws {
    var row = [Float](repeating: 0.5, count: 64)
    row[3] = .nan
    row[40] = -.infinity
    var writer = GGUFWriter()
    writer.add(
      tensor: "a.weight", dimensions: [32, 2], type: .f32, bytes: WeightFormat.f32.quantize(row))
    let outcome = try quantize(GGUFFile(bytes: writer.serialized()), .q8_0)
    #expect(outcome.tensors.map(\.nonFiniteCount) == [2])
    #expect(outcome.tensors[0].squaredError < 1e-3)
    let back = try rows(outcome.file, outcome.file.tensors[0]).flatMap { $0 }
    #expect(back[3] == 0 && back[40] == 0 && abs(back[4] - 0.5) < 0.01)
  }

  @Test func unreadableTypesAreNamed() throws {
    var writer = GGUFWriter()
    writer.add(
      tensor: "a.weight", dimensions: [256, 2], type: .iq2_xxs,
      bytes: [UInt8](repeating: 0, count: 132))
    let error = try #require(throws: EngineError.self) {
      try QuantizationPlan(file: GGUFFile(bytes: writer.serialized()), type: .q8_0)
    }
    #expect("\(error)".contains("a.weight has type IQ2_XXS") && "\(error)".contains("Q8_0"))
  }

  @Test func partsOfAModelAreRefused() throws {
    var model = tiny()
    model.metadata = [("split.count", .uint16(3))]
    let error = try #require(throws: EngineError.self) {
      try QuantizationPlan(file: model.file(), type: .q8_0)
    }
    #expect("\(error)".contains("split.count = 3"))
  }

  @Test func aFailureLeavesNoFileAndTakesNone() throws {
    let file = try tiny().file()
    let plan = try QuantizationPlan(file: file, type: .q4_0)
    let quantizer = try Quantizer(file: file, plan: plan, threadCount: 1)
    let path = temporaryPath()
    try Data("old".utf8).write(to: URL(filePath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }  // nothing to do about leftovers
    let refused = try #require(throws: EngineError.self) {
      _ = try quantizer.write(to: path, replacing: false)
    }
    #expect("\(refused)".contains("\(path) exists already"))
    #expect(FileManager.default.contents(atPath: path) == Data("old".utf8))
    _ = try quantizer.write(to: path, replacing: true)
    #expect(try GGUFFile(path: path).tensors.count == file.tensors.count)
    let missing = try #require(throws: EngineError.self) {
      _ = try quantizer.write(to: "/nonexistent/model.gguf", replacing: true)
    }
    #expect("\(missing)".contains("cannot write /nonexistent/model.gguf"))
    #expect(throws: EngineError.invalidThreadCount(0, limit: 256)) {
      _ = try Quantizer(file: file, plan: plan, threadCount: 0)
    }
  }

  @Test func progressRunsThroughAllTensors() throws {
    let file = try tiny().file()
    let plan = try QuantizationPlan(file: file, type: .q8_0)
    let path = temporaryPath()
    defer { try? FileManager.default.removeItem(atPath: path) }  // nothing to do about leftovers
    var finished: [Int] = []
    let tensors = try Quantizer(file: file, plan: plan, threadCount: 1).write(
      to: path, replacing: false
    ) { event in
      switch event {
      case .working(let index, let share):
        #expect(index == finished.count && (0..<1).contains(share))
      case .finished(let index, _): finished.append(index)
      }
    }
    #expect(finished == Array(plan.entries.indices) && tensors.count == finished.count)
  }

  @Test func aQuantisedModelAnswersNearlyAsBefore() throws {
    let file = try tiny(.f32).file()
    let outcome = try quantize(file, .q8_0)
    func logits(_ file: GGUFFile) throws -> [Float] {
      let engine = try InferenceEngine(model: Model(file: file))
      let cache = try engine.makeCache()
      try engine.forward(ForwardBatch(chain: [1, 2, 3], logits: .last), cache: cache)
      return engine.withLogits { logits in logits.indices.map { logits[$0] } }
    }
    let old = try logits(file)
    let new = try logits(outcome.file)
    let scale = old.map(abs).max() ?? 0
    try #require(scale > 0.1)
    for (x, y) in zip(old, new) { #expect(abs(x - y) < 0.05 * scale) }
  }
}

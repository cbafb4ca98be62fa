import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import TestSupport
import Testing

/// Drafts of models on the default model and a worse copy of it: the ids are those of the target
/// alone, and drafts are accepted.
@Suite struct ModelDraftTests {
  private let target: InferenceEngine
  private let draft: InferenceEngine
  /// A target far slower than its draft model, on any machine.
  private let costs = MeasuredCosts(
    known: VerifyCosts(relative: [1, 1.01, 1.02, 1.03]), single: .seconds(1))

  init() throws {
    let file = try GGUFFile(path: try TestFiles.modelPath())
    target = try InferenceEngine(model: try Model(file: file), contextLength: 256)
    draft = try InferenceEngine(
      model: try Model(file: try modelWithoutBlocks(14..<16, of: file)), contextLength: 200)
  }

  private func configuration(temperature: Float) -> VerifierSession.Configuration {
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    sampling.topK = 40
    sampling.seed = 3
    var configuration = VerifierSession.Configuration(
      prompt: [504, 3575, 282, 4649, 314], sampling: sampling, contextLength: 200,
      vocabularyCount: target.model.shape.vocabularyCount)
    configuration.tokenLimit = 48
    configuration.ignoresEndOfSequence = true
    return configuration
  }

  private func generate(
    _ methods: String, _ configuration: VerifierSession.Configuration
  ) throws -> LocalGenerator.Result {
    let methods = try DraftMethods(parsing: methods, hasDraftModel: true)
    return try LocalGenerator(
      engine: target, draftEngine: draft, methods: methods, nodeLimit: 8, costs: costs,
      draftCosts: MeasuredCosts(known: .assumed, single: .milliseconds(50))
    ).generate(configuration)
  }

  @Test(arguments: [0, 0.8] as [Float])
  func treesAndChainsGiveTheTargetsIds(temperature: Float) throws {
    let configuration = configuration(temperature: temperature)
    let plain = try generate("none", configuration)
    for methods in ["draft", "draft-chain", "draft,recycle"] {
      let result = try generate(methods, configuration)
      #expect(result.tokens == plain.tokens, "\(methods)")
      #expect(result.statistics.stepCount < plain.statistics.stepCount * 9 / 10, "\(methods)")
    }
  }

  @Test func penaltiesAndMirostatChangeNoIds() throws {
    var configuration = configuration(temperature: 0.8)
    configuration.sampling.presencePenalty = 0.5
    #expect(try generate("draft", configuration).tokens == generate("none", configuration).tokens)
    configuration.sampling.topK = 0
    configuration.sampling.mirostatTau = 5
    configuration.tokenLimit = 12
    #expect(try generate("draft", configuration).tokens == generate("none", configuration).tokens)
  }

  /// Left out are four whole layers, as in the copy without them: the same bits.
  @Test func leavingOutLayersIsTheModelWithoutThem() throws {
    func row(_ engine: InferenceEngine, _ skipped: SublayerSet) throws -> [UInt32] {
      let cache = try engine.makeCache()
      var batch = ForwardBatch(chain: [504, 3575, 282, 4649, 314], logits: .last)
      batch.skipped = skipped
      try engine.forward(batch, cache: cache)
      return engine.withLogits { logits in logits.indices.map { logits[$0].bitPattern } }
    }
    #expect(try row(target, SublayerSet(28..<32)) == row(draft, SublayerSet()))
    #expect(try row(target, SublayerSet()) != row(draft, SublayerSet()))
  }

  @Test(arguments: [0, 0.8] as [Float])
  func draftsWithoutSublayersGiveTheTargetsIds(temperature: Float) throws {
    var configuration = configuration(temperature: temperature)
    configuration.tokenLimit = 90
    let plain = try generate("none", configuration)
    for methods in ["skip", "skip,recycle"] {
      #expect(try generate(methods, configuration).tokens == plain.tokens, "\(methods)")
    }
    guard temperature > 0 else { return }
    configuration.sampling.topK = 0
    configuration.sampling.mirostatTau = 5
    configuration.tokenLimit = 8
    #expect(try generate("skip", configuration).tokens == generate("none", configuration).tokens)
  }

  @Test func methodsAreNamed() throws {
    func list(_ methods: String) throws -> [String] {
      try DraftMethods(parsing: methods, hasDraftModel: true).list
    }
    #expect(try list("draft") == ["draft"] && list("draft-chain") == ["draft-chain"])
    #expect(throws: DraftMethodError.twoShapes("draft,draft-chain")) {
      try list("draft,draft-chain")
    }
    #expect(throws: DraftMethodError.noDraftModel("draft-chain")) {
      try DraftMethods(parsing: "draft-chain", hasDraftModel: false)
    }
  }
}

import Cluster
import Decoding
import Engine
import GGUF
import InferenceTypes
import TestSupport
import Testing

/// A pair under the virtual clock, with times that no machine decides.
@Suite struct DistantPairTests {
  private let target: InferenceEngine
  private let draft: InferenceEngine
  private static let step = Duration.milliseconds(100)
  /// Nodes are nearly free up to sixteen.
  private static let verifyCosts = VerifyCosts(
    relative: (0..<16).map { 1 + 0.01 * Float($0) } + [40])

  init() throws {
    let file = try GGUFFile(path: try TestFiles.modelPath())
    target = try InferenceEngine(model: try Model(file: file), contextLength: 200)
    draft = try InferenceEngine(
      model: try Model(file: try modelWithoutBlocks(14..<16, of: file)), contextLength: 200)
  }

  private func text(temperature: Float, tokenLimit: Int = 40) -> VerifierSession.Configuration {
    var sampling = SamplingParameters()
    sampling.temperature = temperature
    sampling.topK = 40
    sampling.seed = 3
    var configuration = VerifierSession.Configuration(
      prompt: [504, 3575, 282, 4649, 314], sampling: sampling, contextLength: 200,
      vocabularyCount: target.model.shape.vocabularyCount)
    configuration.tokenLimit = tokenLimit
    configuration.ignoresEndOfSequence = true
    return configuration
  }

  private func run(
    _ text: VerifierSession.Configuration, _ pipeline: Pipeline, roundTrip: Duration,
    draftTime: Duration = .milliseconds(5), drafter: InferenceEngine? = nil,
    shape: DraftShape = .tree, sources: LocalSources = .none, costs: VerifyCosts = verifyCosts
  ) throws -> DistantPair.Result {
    var setUp = DistantPair.Configuration(
      targetCosts: MeasuredCosts(known: costs, single: Self.step),
      draftCosts: MeasuredCosts(known: .assumed, single: draftTime))
    setUp.pipeline = pipeline
    setUp.roundTrip = roundTrip
    setUp.shape = shape
    var pair = try DistantPair(
      text, setUp, engine: target, draftEngine: drafter ?? draft, sources: sources)
    return try pair.run()
  }

  private func plain(_ text: VerifierSession.Configuration) throws -> [TokenID] {
    let none = try DraftMethods(parsing: "none", hasDraftModel: false)
    return try LocalGenerator(engine: target, draftEngine: nil, methods: none)
      .generate(text).tokens
  }

  @Test(arguments: [0, 0.8] as [Float])
  func everyPipelineWritesTheTargetsText(temperature: Float) throws {
    let text = text(temperature: temperature)
    let plain = try plain(text)
    for pipeline in Pipeline.allCases {
      for (roundTrip, shape) in [(0, DraftShape.tree), (30, .tree), (30, .chain)] {
        let result = try run(text, pipeline, roundTrip: .milliseconds(roundTrip), shape: shape)
        #expect(result.tokens == plain, "\(pipeline), \(roundTrip) ms, \(shape)")
        #expect(result.plainDuration == Self.step * plain.count)
        #expect(result.statistics.stepCount < plain.count && result.passCount > 0)
      }
    }
  }

  /// No clock of this machine is in it.
  @Test func theSameTimesGiveTheSameRun() throws {
    let text = text(temperature: 0.8)
    let vocabulary = target.model.shape.vocabularyCount
    func run() throws -> DistantPair.Result {
      try self.run(
        text, .streamed, roundTrip: .milliseconds(20),
        sources: LocalSources(.recycling, vocabularyCount: vocabulary))
    }
    let (first, second) = (try run(), try run())
    #expect(first.duration == second.duration && first.waited == second.waited)
    #expect(first.statistics == second.statistics)
    #expect(first.passCount == second.passCount && first.abortedCount == second.abortedCount)
  }

  /// Taking turns pays the network for every step; a stream hides it.
  @Test func distanceCostsRoundsMoreThanStreams() throws {
    let text = text(temperature: 0)
    let far = Duration.milliseconds(60)
    let vanilla = try run(text, .vanilla, roundTrip: far, drafter: target)
    let steps = vanilla.statistics.stepCount
    #expect(vanilla.duration >= (Self.step + far) * (steps - 1))
    let streamed = try run(text, .streamed, roundTrip: far, drafter: target)
    #expect(streamed.duration * 1.2 < vanilla.duration)
    let near = try run(text, .streamed, roundTrip: .zero, drafter: target)
    #expect(near.duration <= streamed.duration)
    #expect(near.plainDuration / near.duration > 4)
  }

  /// Drafts that come too late are not waited for.
  @Test func aSlowDraftModelMakesNoTextSlower() throws {
    let text = text(temperature: 0)
    let result = try run(
      text, .streamed, roundTrip: .milliseconds(5), draftTime: Self.step * 2)
    #expect(result.plainDuration / result.duration > 0.99)
  }

  /// Also after so many tokens that a drafter is put to rest whose drafts come too late.
  @Test func draftsThatTakeNoTimeAreWorthMost() throws {
    let text = text(temperature: 0, tokenLimit: 100)
    let result = try run(text, .streamed, roundTrip: .zero, draftTime: .zero, drafter: target)
    #expect(try result.tokens == plain(text))
    #expect(result.plainDuration / result.duration > 5)
  }

  /// A draft model that is often wrong, and takes a good part of a step.
  @Test func stepsWaitForDraftsAndPassesAreGivenUp() throws {
    let text = text(temperature: 0.8, tokenLimit: 100)
    let even = VerifyCosts(relative: (0..<64).map { 1 + 0.02 * Float($0) })
    let result = try run(
      text, .streamed, roundTrip: .milliseconds(2), draftTime: .milliseconds(25), costs: even)
    #expect(try result.tokens == plain(text))
    #expect(result.waited > .zero && result.waited < result.duration / 2)
    #expect(result.abortedCount > 0 && result.passCount > result.abortedCount)
  }

  /// Further away than anybody waits for: the target goes on alone.
  @Test(arguments: [Pipeline.lockstep, .vanilla])
  func roundsEndWhereTheDrafterIsTooFar(pipeline: Pipeline) throws {
    let text = text(temperature: 0)
    let result = try run(text, pipeline, roundTrip: .seconds(20))
    #expect(try result.tokens == plain(text))
    #expect(result.duration < .seconds(60))
  }

  /// Trees of streams have unlikely branches too; those of rounds are verified whole.
  @Test func streamsSendWiderTrees() throws {
    let text = text(temperature: 0.8, tokenLimit: 60)
    let streamed = try run(text, .streamed, roundTrip: .milliseconds(5))
    let vanilla = try run(text, .vanilla, roundTrip: .milliseconds(5))
    #expect(
      Double(streamed.sentCount) / Double(streamed.passCount)
        > 1.3 * Double(vanilla.sentCount) / Double(vanilla.passCount))
  }
}

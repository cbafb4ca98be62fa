import ArgumentParser
import Cluster
import Decoding
import Engine
import InferenceTypes
import Tokenizer

/// Ways to choose tokens that remember, or try, more than one place; llama.cpp's names where it has
/// them.
struct ChoiceOptions: ParsableArguments {
  @Option(parsing: .unconditional, help: "0, or 2: Mirostat 2 in place of top-k, top-p and min-p.")
  var mirostat = 0
  @Option(parsing: .unconditional, help: "Mirostat: bits of surprise of a token on average.")
  var mirostatEnt: Float = 5
  @Option(parsing: .unconditional, help: "Mirostat: how fast it corrects itself.")
  var mirostatLr: Float = 0.1

  @Option(
    parsing: .unconditional,
    help: """
      Continuations tried at most where the next token is uncertain; the least perplexing one is \
      kept. 0: none. Needs --spec-type none.
      """)
  var cautiousTrials = 0
  @Option(parsing: .unconditional, help: "Entropy, in nats, up to which there is one continuation.")
  var cautiousLow: Float = 0.01
  @Option(parsing: .unconditional, help: "Entropy, in nats, from which there are all.")
  var cautiousHigh: Float = 1.5

  func validate() throws {
    guard mirostat == 0 || mirostat == 2 else {
      throw ValidationError("--mirostat \(mirostat): supported: 0 (off) and 2")
    }
    guard mirostat == 0 || mirostatEnt > 0 else {
      throw ValidationError("--mirostat-ent \(mirostatEnt): expected bits above 0")
    }
    guard cautiousTrials != 1, cautiousTrials >= 0 else {
      throw ValidationError("--cautious-trials \(cautiousTrials): expected 0 (off), or 2 to 64")
    }
  }

  /// Sets what is asked for; the command line's own defaults make room for Mirostat.
  func apply(to parameters: inout SamplingParameters) {
    parameters.cautiousTrials = cautiousTrials
    parameters.cautiousLow = cautiousLow
    parameters.cautiousHigh = cautiousHigh
    guard mirostat == 2 else { return }
    parameters.mirostatTau = mirostatEnt
    parameters.mirostatEta = mirostatLr
    let usual = SamplingParameters.commandLine
    if parameters.topK == usual.topK { parameters.topK = 0 }
    if parameters.topP == usual.topP { parameters.topP = 1 }
    if parameters.minP == usual.minP { parameters.minP = 0 }
  }
}

extension RunCommand {
  /// Writes with the cautious choice.
  func runCautiously(
    _ configuration: VerifierSession.Configuration, engine: InferenceEngine,
    tokenizer: BytePairTokenizer
  ) throws {
    var detokenizer = StreamingDetokenizer(tokenizer: tokenizer, after: configuration.prompt)
    var text = ""
    let result = try LocalCautious(engine: engine).generate(
      configuration, breakTokens: Self.breakTokens(tokenizer)
    ) { tokens in
      let piece = tokens.map { detokenizer.append($0) }.joined()
      text += piece
      if !json { FileHandleStream.standardOutput.write(piece) }
    }
    let rest = detokenizer.finish()
    var run = LocalGenerator.Result()
    run.tokens = result.tokens
    run.finishReason = result.finishReason
    run.promptDuration = result.promptDuration
    run.decodeDuration = result.decodeDuration
    let report = RunReport(
      text: text + rest, result: run, promptCount: configuration.prompt.count,
      seed: configuration.sampling.seed,
      caution: RunCaution(
        uncertainPlaces: result.uncertainCount, discardedTokens: result.discardedCount))
    try show(report, rest: rest)
  }

  /// The punctuation after which a continuation may end, where it is a token of its own.
  private static func breakTokens(_ tokenizer: BytePairTokenizer) -> [TokenID] {
    let marks = Set([".", ",", "\n", "?", "!", ":", ";", ")", "]", "}"].map { Array($0.utf8) })
    return (0..<UInt32(tokenizer.vocabularyCount)).map { TokenID($0) }.filter {
      marks.contains(tokenizer.bytes(of: $0, includeSpecial: false))
    }
  }
}

/// What the cautious choice cost.
struct RunCaution: Encodable {
  /// Places with more than one continuation.
  let uncertainPlaces: Int
  /// Tokens that were computed and thrown away.
  let discardedTokens: Int

  var summary: String {
    "\(uncertainPlaces) uncertain places, \(discardedTokens) tokens tried and thrown away"
  }
}

import Benchmarks
import Decoding
import Engine
import InferenceTypes

/// What `slipstream bench decode` prints.
struct DecodeBenchReport: Encodable {
  struct Row: Encodable {
    let prompt: Int
    let category: String
    let method: String
    let verifyRule: String
    let lossless: Bool
    let tokens: Int
    let tokensPerSecond: Double
    let plainTokensPerSecond: Double
    let speedup: Double
    let tokensPerStep: Double
    let draftTokens: Int
    let acceptedTokens: Int
    let spread: Double
    let plannerError: Double
    /// Those that only a lossy rule lets pass.
    let relaxedTokens: Int
  }
  struct Summary: Encodable {
    let method: String
    let verifyRule: String
    let lossless: Bool
    let speedup: SpeedupSummary
    /// Median of the prompts.
    let tokensPerStep: Double
    /// Mean of the absolute values.
    let plannerError: Double
    let sources: [AcceptanceCounts.Source]
  }
  let isa: String
  let threads: Int
  let results: [Row]
  let summaries: [Summary]

  init(rows: [DecodeBenchmark.Row], methods: [DecodeBenchmark.Method], engine: InferenceEngine) {
    isa = engine.model.kernels.name
    threads = engine.threadCount
    results = rows.map {
      Row(
        prompt: $0.prompt, category: $0.category, method: $0.method,
        verifyRule: $0.rule.rawValue, lossless: $0.rule.isLossless, tokens: $0.tokenCount,
        tokensPerSecond: $0.tokensPerSecond, plainTokensPerSecond: $0.plainTokensPerSecond,
        speedup: $0.speedup, tokensPerStep: $0.tokensPerStep, draftTokens: $0.draftTokenCount,
        acceptedTokens: $0.acceptedTokenCount, spread: $0.spread, plannerError: $0.plannerError,
        relaxedTokens: $0.relaxedTokenCount)
    }
    summaries = methods.compactMap { method in
      let own = rows.filter { $0.method == method.name }
      guard !own.isEmpty else { return nil }
      var acceptance = AcceptanceCounts()
      for row in own { acceptance.add(row.acceptance) }
      return Summary(
        method: method.name, verifyRule: method.rule.rule.rawValue,
        lossless: method.rule.rule.isLossless,
        speedup: SpeedupSummary(own.map { ($0.category, $0.speedup, $0.spread) }),
        tokensPerStep: Benchmarks::median(own.map(\.tokensPerStep)),
        plannerError: own.reduce(0) { $0 + abs($1.plannerError) } / Double(own.count),
        sources: acceptance.sources)
    }
  }

  var table: String {
    var lines = ["", "speed-up over plain decoding (\(isa), \(threads) thread(s))", ""]
    lines.append(
      padded("method", 19) + SpeedupSummary.heading + padded("per step", 10) + "planner error")
    for summary in summaries {
      lines.append(
        padded(summary.method + (summary.lossless ? "" : " *"), 19) + summary.speedup.cells
          + padded(rounded(summary.tokensPerStep), 10)
          + "\(rounded(100 * summary.plannerError)) %")
      lines += summary.speedup.categoryLines + summary.sources.map(\.line)
    }
    if summaries.contains(where: { !$0.lossless }) {
      lines.append("* lossy: the texts do not have the target model's law")
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension SpeedupSummary {
  static var heading: String {
    ["median", "mean", "least", "most", "worst category", "spread"]
      .map { padded($0, max(8, $0.count + 2)) }.joined()
  }

  /// Below ``heading``.
  var cells: String {
    [median, mean, least, most].map { padded(rounded($0), 8) }.joined()
      + padded(rounded(worstCategory), 16) + padded("\(rounded(100 * spread)) %", 8)
  }

  var categoryLines: [String] {
    categories.sorted { $0.key < $1.key }.map { "  " + padded($0.key, 25) + rounded($0.value) }
  }
}

extension AcceptanceCounts.Source {
  var line: String {
    let shares = acceptanceByPosition.enumerated().compactMap { place, share in
      share.map { "\(place + 1): \(rounded($0))" }
    }
    return "  \(source): \(accepted) of \(drafted) drafts right; by position "
      + shares.joined(separator: "  ")
  }
}

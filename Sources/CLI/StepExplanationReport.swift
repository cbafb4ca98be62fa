import Benchmarks
import Decoding
import InferenceTypes

/// What `slipstream bench decode --explain` prints of one method.
struct StepExplanationReport: Encodable {
  /// One step; times in milliseconds.
  struct Step: Encodable {
    let number: Int
    let sessions: Int
    let promptTokens: Int
    /// By source.
    let drafts: [String: Int]
    let tokensExpected: Double
    let tokens: Int
    let passExpected: Double
    let pass: Double
    let overhead: Double

    init(_ number: Int, _ report: StepReport) {
      self.number = number
      sessions = report.sessionCount
      promptTokens = report.prefillCount
      var drafts: [String: Int] = [:]
      for origin in DraftOrigin.allCases where report.draftCounts[Int(origin.rawValue)] > 0 {
        drafts["\(origin)"] = report.draftCounts[Int(origin.rawValue)]
      }
      self.drafts = drafts
      tokensExpected = Double(report.expectedTokenCount)
      tokens = report.tokenCount
      passExpected = report.expectedDuration.inSeconds * 1e3
      pass = report.duration.inSeconds * 1e3
      overhead = report.overhead.inSeconds * 1e3
    }

    static var heading: String {
      padded("step", 7) + padded("sessions", 10) + padded("prompt", 8)
        + padded("tokens: expected", 18) + padded("got", 6) + padded("ms: expected", 14)
        + padded("got", 9) + padded("beside", 9) + "drafts"
    }

    var line: String {
      let sources = drafts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
      return padded("\(number)", 7) + padded("\(sessions)", 10) + padded("\(promptTokens)", 8)
        + padded(rounded(tokensExpected), 18) + padded("\(tokens)", 6)
        + padded(rounded(passExpected), 14) + padded(rounded(pass), 9)
        + padded(rounded(overhead), 9) + sources.joined(separator: ", ")
    }
  }

  let method: String
  let sessions: Int
  let steps: [Step]
  let tokens: Int
  let tokensExpected: Double
  /// Seconds of all passes.
  let passTime: Double
  let passTimeExpected: Double
  /// Seconds of planning and conclusions.
  let overheadTime: Double
  /// Means over the steps of |expected − got| / got.
  let meanTimeError: Double?
  let meanTokenError: Double?

  init(_ explanation: DecodeBenchmark.Explanation, sessions: Int) {
    method = explanation.method
    self.sessions = sessions
    steps = explanation.steps.enumerated().map { Step($0 + 1, $1) }
    let statistics = explanation.statistics
    tokens = statistics.tokenCount
    tokensExpected = statistics.expectedTokenCount
    passTime = statistics.duration.inSeconds
    passTimeExpected = statistics.expectedDuration.inSeconds
    overheadTime = statistics.overhead.inSeconds
    meanTimeError = statistics.meanTimeError
    meanTokenError = statistics.meanTokenError
  }

  var summary: String {
    func percent(_ share: Double?) -> String { share.map { rounded($0 * 100) + "%" } ?? "-" }
    return """

      \(method): \(steps.count) steps of up to \(sessions) session(s)
        tokens    expected \(rounded(tokensExpected)), got \(tokens); mean error of a step \
      \(percent(meanTokenError))
        passes    expected \(rounded(passTimeExpected)) s, took \(rounded(passTime)) s; mean error \
      of a step \(percent(meanTimeError))
        beside    \(rounded(overheadTime)) s of planning and conclusions


      """
  }
}

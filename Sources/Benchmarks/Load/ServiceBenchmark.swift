/// Running servers under load: a number of clients, each of which asks its next question when the
/// last one is answered; the servers take turns.
package struct ServiceBenchmark: Sendable {
  /// A server with the name it is reported by.
  package struct Server: Sendable {
    package let name: String
    /// Asks question `index`; throws what the report is to tell.
    package let ask: @Sendable (_ index: Int) async throws -> Answer

    package init(name: String, ask: @escaping @Sendable (_ index: Int) async throws -> Answer) {
      self.name = name
      self.ask = ask
    }
  }

  /// An answer as a client saw it.
  package struct Answer: Sendable, Equatable {
    package var text = ""
    package var tokenCount = 0
    /// 0 where the server does not tell it.
    package var stepCount = 0
    package var draftCount = 0
    package var acceptedCount = 0
    /// Seconds from the question to each piece of text.
    package var arrivals: [Double] = []
    /// Seconds from the question to the end of the answer.
    package var seconds = 0.0

    package init() {}

    /// Seconds until the first text; `nil` where there was none.
    package var firstText: Double? { arrivals.first }
    /// Seconds between one piece of text and the next.
    package var pauses: [Double] { zip(arrivals.dropFirst(), arrivals).map(-) }
    /// Seconds of a token after the first text; `nil` for a single token.
    package var secondsPerToken: Double? {
      guard let first = arrivals.first, tokenCount > 1 else { return nil }
      return (seconds - first) / Double(tokenCount - 1)
    }
  }

  /// All questions once, by so many clients of one server.
  package struct Run: Sendable {
    package let server: String
    package let clientCount: Int
    package let round: Int
    /// In the order of the questions; `nil` where there is none.
    package let answers: [Answer?]
    /// Why questions were not answered, and how many for each reason.
    package let failures: [String: Int]
    /// From the first question to the last answer.
    package let seconds: Double

    package init(
      server: String, clientCount: Int, round: Int, answers: [Answer?], failures: [String: Int],
      seconds: Double
    ) {
      self.server = server
      self.clientCount = clientCount
      self.round = round
      self.answers = answers
      self.failures = failures
      self.seconds = seconds
    }

    package var tokenCount: Int { answers.reduce(0) { $0 + ($1?.tokenCount ?? 0) } }
    package var tokensPerSecond: Double { Double(tokenCount) / max(seconds, .leastNormalMagnitude) }
    package var failureCount: Int { failures.values.reduce(0, +) }
  }

  private let questionCount: Int

  /// - Parameter questionCount: at least 1.
  package init(questionCount: Int) {
    precondition(questionCount >= 1, "no questions")
    self.questionCount = questionCount
  }

  /// Every server answers all questions, `roundCount` times in turns, for each number of clients. A
  /// question without an answer is counted and the others go on.
  ///
  /// - Throws: `CancellationError`.
  package func run(
    _ servers: [Server], clientCounts: [Int], roundCount: Int,
    progress: (Run) -> Void = { _ in }
  ) async throws -> [Run] {
    var runs: [Run] = []
    for clientCount in clientCounts {
      for round in 0..<roundCount {
        for server in servers {
          let run = try await self.run(server, clientCount: clientCount, round: round)
          runs.append(run)
          progress(run)
        }
      }
    }
    return runs
  }

  private func run(_ server: Server, clientCount: Int, round: Int) async throws -> Run {
    let clock = ContinuousClock()
    let start = clock.now
    let questions = QuestionQueue(count: questionCount)
    var answers = [Answer?](repeating: nil, count: questionCount)
    var failures: [String: Int] = [:]
    try await withThrowingTaskGroup(of: [(Int, Result<Answer, any Error>)].self) { group in
      for _ in 0..<clientCount {
        group.addTask {
          var own: [(Int, Result<Answer, any Error>)] = []
          while let index = questions.take() {
            do { own.append((index, .success(try await server.ask(index)))) } catch {
              try Task.checkCancellation()
              own.append((index, .failure(error)))
            }
          }
          return own
        }
      }
      for try await own in group {
        for (index, result) in own {
          switch result {
          case .success(let answer): answers[index] = answer
          case .failure(let error): failures["\(error)", default: 0] += 1
          }
        }
      }
    }
    return Run(
      server: server.name, clientCount: clientCount, round: round, answers: answers,
      failures: failures, seconds: (clock.now - start) / .seconds(1))
  }

  /// Questions whose answers were not always the same text: places in the order of the questions.
  package static func differing(_ runs: [Run]) -> [Int] {
    guard let first = runs.first else { return [] }
    return first.answers.indices.filter { index in
      Set(runs.compactMap { $0.answers[index]?.text }).count > 1
    }
  }
}

/// A value of a distribution, by nearest rank.
///
/// - Parameters:
///   - values: in any order.
///   - share: above 0, at most 1.
/// - Returns: the least value that so large a share of all lies at or below; NaN of nothing.
package func percentile(_ values: [Double], _ share: Double) -> Double {
  precondition(share > 0 && share <= 1, "a share of \(share)")
  guard !values.isEmpty else { return .nan }
  let rank = Int((share * Double(values.count)).rounded(.up))
  return values.sorted()[min(values.count, max(1, rank)) - 1]
}

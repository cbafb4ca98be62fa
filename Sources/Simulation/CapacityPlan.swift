import Decoding
import InferenceTypes

/// How much a cluster of so many workers serves, and how best to split them into verifiers and
/// drafters: a simulation of every split with the same requests.
package struct CapacityPlan: Sendable {
  /// What is asked of the cluster.
  package struct Load: Sendable, Equatable {
    /// Requests a second; they come at random, independent of each other.
    package var rate: Double
    package var requestCount: Int
    /// Mean tokens of a prompt; between half and one and a half times as many are drawn.
    package var promptLength: Int
    /// Mean tokens of an answer, likewise.
    package var answerLength: Int

    package init(rate: Double, requestCount: Int, promptLength: Int, answerLength: Int) {
      self.rate = rate
      self.requestCount = requestCount
      self.promptLength = promptLength
      self.answerLength = answerLength
    }
  }

  /// Median and tails, in seconds.
  package struct Percentiles: Sendable, Equatable {
    package var p50 = Double.nan
    package var p90 = Double.nan
    package var p99 = Double.nan

    init(_ values: [Double]) {
      let sorted = values.sorted()
      guard !sorted.isEmpty else { return }
      func rank(_ share: Double) -> Double {
        sorted[min(sorted.count - 1, Int((share * Double(sorted.count)).rounded(.up)) - 1)]
      }
      p50 = rank(0.5)
      p90 = rank(0.9)
      p99 = rank(0.99)
    }
  }

  /// One split.
  package struct Row: Sendable, Equatable {
    package var verifierCount: Int
    package var drafterCount: Int
    /// Tokens a second from the first request to the last answer.
    package var throughput: Double
    package var timeToFirstToken: Percentiles
    /// After the first.
    package var timePerToken: Percentiles
    /// From the request to the end of the answer.
    package var meanLatency: Double
    /// Shares of the time.
    package var verifierUtilisation: Double
    package var drafterUtilisation: Double
    /// Tokens that a forward pass of the target brings each of its sessions.
    package var tokensPerPass: Double
    /// Requests that were refused or given up.
    package var failedCount: Int
    package var eventCount: Int
  }

  /// What the splits have in common; its numbers of workers, requests and seed are replaced.
  private let base: Scenario
  private let load: Load
  private let seed: UInt64

  package init(base: Scenario, load: Load, seed: UInt64) {
    precondition(load.rate > 0 && load.requestCount > 0, "\(load.requestCount) at \(load.rate)/s")
    precondition(load.promptLength > 0 && load.answerLength > 0, "empty prompts or answers")
    self.base = base
    self.load = load
    self.seed = seed
  }

  /// Numbers of verifiers that are worth a look: all of them in small clusters, else eight shares.
  package static func splits(nodeCount: Int) -> [Int] {
    precondition(nodeCount >= 1, "\(nodeCount) nodes")
    guard nodeCount > 8 else { return Array(1...nodeCount) }
    return (1...8).map { max(1, nodeCount * $0 / 8) }
  }

  /// Simulates one split.
  package func run(verifierCount: Int, drafterCount: Int) -> Row {
    var scenario = base
    scenario.seed = seed
    scenario.target = ToyTarget(seed: seed)
    scenario.verifierCount = verifierCount
    scenario.drafterCount = drafterCount
    scenario.requests = requests(target: scenario.target, after: scenario.network.roundTrip)
    // A thousand workers need not say that they live five times a second.
    scenario.routing.heartbeatInterval = .seconds(2)
    scenario.routing.workerCountMax = max(1024, verifierCount + drafterCount)
    scenario.routing.queueCountMax = max(64, load.requestCount)
    scenario.routing.recoveryMax = .seconds(30)
    scenario.routing.silenceMax = .seconds(86_400)
    var cluster = SimulatedCluster(scenario)
    cluster.run(until: 30 * 86_400_000_000_000)
    return row(cluster, scenario)
  }

  /// Of splits of the same cluster the best one: the fewest failed requests first, then the
  /// shortest mean latency.
  package static func best(_ rows: [Row]) -> Row? {
    rows.min { ($0.failedCount, $0.meanLatency) < ($1.failedCount, $1.meanLatency) }
  }

  private func requests(target: ToyTarget, after: Duration) -> [SimulatedRequest] {
    var random = SimulationRandom(seed ^ 0x10ad)
    var sampling = SamplingParameters()
    sampling.temperature = 0
    // All workers are there when the first request comes.
    var time = after.simulated * 4 + 1_000_000_000
    return (0..<load.requestCount).map { _ in
      time += SimulationTime(random.exponential(mean: 1e9 / load.rate))
      let promptLength = Self.drawn(load.promptLength, &random)
      let tokens = (0..<promptLength).map { _ in
        TokenID(UInt32(random.below(target.vocabularyCount)))
      }
      return SimulatedRequest(
        time: time, prompt: tokens, sampling: sampling,
        tokenLimit: Self.drawn(load.answerLength, &random))
    }
  }

  private static func drawn(_ mean: Int, _ random: inout SimulationRandom) -> Int {
    max(1, mean / 2 + random.below(mean + 1))
  }

  private func row(_ cluster: SimulatedCluster, _ scenario: Scenario) -> Row {
    var first: [Double] = []
    var rest: [Double] = []
    var latency: [Double] = []
    var tokenCount = 0
    var stepCount = 0
    var end: SimulationTime = 0
    for (client, request) in zip(cluster.clients, scenario.requests) {
      tokenCount += client.delivered.count
      guard client.finish != nil, let start = client.firstTokenAt, let last = client.endedAt else {
        continue
      }
      end = max(end, last)
      stepCount += client.totals.verifyStepCount
      first.append(Double(start - request.time) * 1e-9)
      latency.append(Double(last - request.time) * 1e-9)
      if client.delivered.count > 1 {
        rest.append(Double(last - start) * 1e-9 / Double(client.delivered.count - 1))
      }
    }
    let start = scenario.requests.first?.time ?? 0
    func utilisation(_ nodes: Range<Int>) -> Double {
      let span = Double(max(1, cluster.now - start)) / Double(max(1, cluster.now))
      return nodes.reduce(0) { $0 + cluster.utilisation(of: $1) } / Double(max(1, nodes.count))
        / span
    }
    return Row(
      verifierCount: scenario.verifierCount, drafterCount: scenario.drafterCount,
      throughput: Double(tokenCount) / (Double(max(1, end - start)) * 1e-9),
      timeToFirstToken: Percentiles(first), timePerToken: Percentiles(rest),
      meanLatency: latency.isEmpty ? .infinity : latency.reduce(0, +) / Double(latency.count),
      verifierUtilisation: utilisation(scenario.verifierNodes),
      drafterUtilisation: utilisation(scenario.drafterNodes),
      tokensPerPass: Double(tokenCount) / Double(max(1, stepCount)),
      failedCount: cluster.clients.count - latency.count, eventCount: cluster.eventCount)
  }
}

import Decoding
import InferenceTypes
import Testing

@Suite struct RouterScheduleTests {
  @Test func everyRequestEndsOnceAndItsTextIsWhole() {
    var deliveredCount = 0
    var completeCount = 0
    for seed in 0..<2000 as Range<UInt64> {
      var cluster = RandomCluster(seed: seed)
      cluster.run(stepCount: 80)
      cluster.finish()
      #expect(cluster.violations.isEmpty, "seed \(seed)")
      for (id, client) in cluster.clients {
        #expect(client.endCount == 1, "seed \(seed), session \(id)")
        let text = (0..<client.delivered.count).map { RandomCluster.token(id, $0) }
        #expect(client.delivered == text, "seed \(seed), session \(id)")
        deliveredCount += client.delivered.count
        completeCount += client.delivered.count == client.limit ? 1 : 0
      }
      #expect(cluster.bench.machine.sessionCount == 0, "seed \(seed)")
    }
    // Otherwise the schedules would prove little.
    #expect(deliveredCount > 10_000 && completeCount > 1000, "\(deliveredCount) \(completeCount)")
  }

  @Test func theSameSeedGivesTheSameRouter() {
    for seed in 0..<20 as Range<UInt64> {
      var left = RandomCluster(seed: seed)
      var right = RandomCluster(seed: seed)
      left.run(stepCount: 80)
      right.run(stepCount: 80)
      #expect(left.bench.machine == right.bench.machine, "seed \(seed)")
    }
  }

  @Test func theNumbersOfPeersDoNotMatter() {
    for seed in 2000..<2100 as Range<UInt64> {
      var cluster = RandomCluster(seed: seed, hasTwin: true)
      cluster.run(stepCount: 80)
      cluster.finish()
      #expect(cluster.violations.isEmpty, "seed \(seed)")
    }
  }
}

import Decoding
import InferenceTypes
import Simulation
import Testing

@Suite struct SpeedTableTests {
  /// Speed-ups of vanilla, lockstep and streamed drafting: t_d = 5 ms, t_1 = 50 ms and 1 ms for
  /// each further token, by acceptance and round trip in milliseconds.
  static let expected: [(acceptance: Double, roundTrip: Int, speedUps: [Double])] = [
    (0.6, 0, [1.60, 1.48, 1.61]), (0.6, 20, [1.24, 1.07, 1.48]), (0.6, 50, [0.93, 0.76, 1.26]),
    (0.6, 100, [0.66, 0.51, 1.13]), (0.6, 200, [0.43, 0.31, 1.05]),
    (0.8, 0, [2.31, 2.43, 2.55]), (0.8, 20, [1.86, 1.78, 2.33]), (0.8, 50, [1.47, 1.26, 1.89]),
    (0.8, 100, [1.09, 0.85, 1.60]), (0.8, 200, [0.74, 0.52, 1.31]),
    (0.9, 0, [3.13, 3.80, 3.92]), (0.9, 20, [2.64, 2.79, 3.57]), (0.9, 50, [2.17, 2.01, 2.97]),
    (0.9, 100, [1.70, 1.38, 2.45]), (0.9, 200, [1.21, 0.86, 1.89]),
    (0.95, 0, [4.01, 5.37, 5.56]), (0.95, 20, [3.51, 4.04, 5.13]),
    (0.95, 50, [3.00, 2.95, 4.46]), (0.95, 100, [2.46, 2.06, 3.77]),
    (0.95, 200, [1.85, 1.34, 2.93]),
  ]

  static let pipelines: [Pipeline] = [.vanilla, .lockstep, .streamed]

  private static func cell(_ acceptance: Double, _ roundTrip: Int) -> SpeedTable.Cell {
    SpeedTable.Cell(
      acceptance: acceptance, roundTrip: .milliseconds(roundTrip),
      times: ComputeTimes(
        draft: .milliseconds(5), single: .milliseconds(50), slope: .milliseconds(1)))
  }

  /// The table has two digits behind the point, which is up to 2% of its smallest numbers. Its
  /// verifier waits a quarter of a step at most, for the first draft.
  @Test(arguments: [0.6, 0.8, 0.9, 0.95])
  func theTableComesOutWithinThreePercent(acceptance: Double) throws {
    for row in Self.expected where row.acceptance == acceptance {
      for (pipeline, expected) in zip(Self.pipelines, row.speedUps) {
        // Misses are rarer where the acceptance is high.
        let tokenCount = pipeline != .streamed ? 6000 : acceptance > 0.85 ? 30_000 : 15_000
        let speedUp = SpeedTable.speedUp(
          Self.cell(acceptance, row.roundTrip), pipeline: pipeline, tokenCount: tokenCount,
          seed: 2, linger: .fixed(0.25))
        let measured = try #require(speedUp)
        #expect(
          (measured / expected - 1).magnitude < 0.03 + 0.005 / expected,
          "\(pipeline) at \(acceptance) and \(row.roundTrip) ms: \(measured), not \(expected)")
      }
    }
  }

  @Test func theFormulasGiveTheirCheckValues() {
    let times = ComputeTimes(
      draft: .milliseconds(5), single: .milliseconds(50), slope: .milliseconds(1))
    for (acceptance, roundTrip, milliseconds) in [(0.9, 50, 17.450), (0.8, 20, 22.608)] {
      let speedUp = SpeedTable.predicted(Self.cell(acceptance, roundTrip), pipeline: .streamed)
      #expect((50 / speedUp - milliseconds).magnitude < 0.01, "\(50 / speedUp)")
    }
    let fast = SpeedTable.Cell(
      acceptance: 0.95, roundTrip: .milliseconds(100),
      times: ComputeTimes(
        draft: .milliseconds(3), single: .milliseconds(20), slope: .microseconds(500)))
    #expect((20 / SpeedTable.predicted(fast, pipeline: .streamed) - 8.661).magnitude < 0.01)
    let slow = SpeedTable.Cell(
      acceptance: 0.9, roundTrip: .zero,
      times: ComputeTimes(draft: .milliseconds(60), single: .milliseconds(50), slope: .zero))
    #expect(SpeedTable.predicted(slow, pipeline: .streamed) == 1)
    #expect(times.pass(3) == .milliseconds(52) && times.pass(200) == .milliseconds(249))
  }

  @Test func streamingIsHardlySlowerThanNoDraftsWhereDraftsAreWorthless() throws {
    for roundTrip in [0, 30, 300] {
      let speedUp = try #require(
        SpeedTable.speedUp(Self.cell(0, roundTrip), pipeline: .streamed, tokenCount: 3000))
      #expect(speedUp > 0.97, "\(roundTrip) ms: \(speedUp)")
    }
  }

  /// Waiting for drafts gains where they come soon, and costs nothing elsewhere.
  @Test func waitingGains() throws {
    for acceptance in [0.6, 0.8, 0.9] {
      for roundTrip in [0, 20, 100] {
        func speedUp(_ linger: Linger) -> Double? {
          SpeedTable.speedUp(
            Self.cell(acceptance, roundTrip), pipeline: .streamed, tokenCount: 15_000, seed: 3,
            linger: linger)
        }
        let waiting = try #require(speedUp(.worthwhile))
        let never = try #require(speedUp(.fixed(0)))
        #expect(
          waiting > never * (roundTrip == 0 ? 1.01 : 0.985),
          "\(acceptance), \(roundTrip) ms: \(waiting), \(never)")
      }
    }
  }

  /// Whatever the target costs: where it is slow, steps wait for drafts as rounds do.
  @Test(arguments: [12, 30, 100, 1000], [0, 20])
  func streamingIsNotSlowerThanTakingTurns(single: Int, roundTrip: Int) throws {
    let cell = SpeedTable.Cell(
      acceptance: 0.8, roundTrip: .milliseconds(roundTrip),
      times: ComputeTimes(
        draft: .milliseconds(5), single: .milliseconds(single),
        slope: .milliseconds(single) / 50))
    let streamed = try #require(
      SpeedTable.speedUp(cell, pipeline: .streamed, tokenCount: 6000))
    let vanilla = try #require(SpeedTable.speedUp(cell, pipeline: .vanilla, tokenCount: 6000))
    #expect(streamed > 0.97 * vanilla, "\(streamed) and \(vanilla)")
  }
}

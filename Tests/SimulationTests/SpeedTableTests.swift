import Decoding
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

  @Test func show() {
    for row in Self.expected {
      let cell = SpeedTable.Cell(
        acceptance: row.acceptance, roundTrip: .milliseconds(row.roundTrip),
        times: ComputeTimes(
          draft: .milliseconds(5), single: .milliseconds(50), slope: .milliseconds(1)))
      var line = "\(row.acceptance) \(row.roundTrip):"
      for (pipeline, want) in zip([Pipeline.vanilla, .lockstep, .streamed], row.speedUps) where pipeline == .streamed {
        let got = SpeedTable.speedUp(cell, pipeline: pipeline, tokenCount: 20000) ?? .nan
        let p = SpeedTable.predicted(cell, pipeline: pipeline, draftLength: SpeedTable.bestDraftLength(cell, pipeline: pipeline))
        line += "  \(pipeline) \(want) got \((got*1000).rounded()/1000) (\(((got/want-1)*1000).rounded()/10)%) pred \((p*1000).rounded()/1000)"
      }
      print(line)
    }
  }
}

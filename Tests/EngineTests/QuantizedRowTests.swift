import Engine
import Foundation
import TestSupport
import Testing

/// Rows of floats in quantised formats, next to what others make of them and to what is possible.
@Suite struct QuantizedRowTests {
  /// `Tests/Golden/quantized-rows.json`.
  private struct Golden: Decodable {
    struct Row: Decodable {
      let seed: UInt64
      /// By format, in hexadecimal.
      let bytes: [String: String]
      /// Sums over the row of squared errors, by format.
      let errors: [String: Double]
    }
    let cols: Int
    let rows: [Row]
  }

  private func golden() throws -> Golden {
    let data = try Data(contentsOf: TestFiles.golden("quantized-rows.json"))
    return try JSONDecoder().decode(Golden.self, from: data)
  }

  /// Bell-shaped weights; for odd seeds with long tails.
  private func weights(seed: UInt64, count: Int = 512) -> [Float] {
    var random = Random(state: seed)
    return (0..<count).map { _ in
      let bell = random.next() + random.next() + random.next()
      return (seed.isMultiple(of: 2) ? bell : bell * bell * bell) / 16
    }
  }

  private func error(_ format: WeightFormat, _ x: [Float]) -> Double {
    let back = format.dequantize(format.quantize(x), count: x.count)
    return zip(back, x).reduce(0) {
      $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1))
    }
  }

  @Test func bytesAreThoseOfThePythonPackage() throws {
    let golden = try golden()
    var compared = 0
    for row in golden.rows {
      let x = weights(seed: row.seed, count: golden.cols)
      for (name, text) in row.bytes {
        let format = try #require(WeightFormat(rawValue: name))
        let hex = format.quantize(x).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(hex == text, "\(name) of row \(row.seed)")
        compared += 1
      }
    }
    #expect(compared == 6)
  }

  @Test func searchedRowsAreNearerThanThoseOfGGML() throws {
    let golden = try golden()
    #expect(golden.rows.count == 8)
    for row in golden.rows {
      let x = weights(seed: row.seed, count: golden.cols)
      let q4 = error(.q4_K, x) / (try #require(row.errors["Q4_K"]))
      let q6 = error(.q6_K, x) / (try #require(row.errors["Q6_K"]))
      #expect(q4 < 0.99 && q6 < 0.95, "row \(row.seed): \(q4), \(q6)")
    }
  }

  // MARK: the least error possible

  /// The least squared error of sixteen weights as scale * q, q in -32...31, with any scale: a bound
  /// for Q6_K, whose scales are multiples of one number.
  private func linearBound(_ x: ArraySlice<Float>) -> Double {
    let x = x.map { Double($0) }
    let extreme = x.map(abs).max() ?? 0
    var least = x.reduce(0) { $0 + $1 * $1 }
    for step in 0..<4000 {
      let magnitude = extreme / (28 + 8 * Double(step / 2) / 2000)
      let scale = step.isMultiple(of: 2) ? magnitude : -magnitude
      let q = x.map { min(31, max(-32, ($0 / scale).rounded())) }
      let qq = q.reduce(0) { $0 + $1 * $1 }
      let best = zip(q, x).reduce(0) { $0 + $1.0 * $1.1 } / qq
      least = min(least, zip(q, x).reduce(0) { $0 + ($1.0 * best - $1.1) * ($1.0 * best - $1.1) })
    }
    return least
  }

  /// The least squared error of 32 weights as scale * q - minimum, q in 0...15, minimum >= 0.
  private func affineBound(_ x: ArraySlice<Float>) -> Double {
    let x = x.map { Double($0) }
    let low = min(0, x.min() ?? 0)
    let high = max(0, x.max() ?? 0)
    var least = Double.infinity
    for lowStep in 0..<60 {
      for highStep in 0..<60 {
        var minimum = -(low + (high - low) * (Double(lowStep) / 150 - 0.08))
        minimum = max(0, minimum)
        let top = high - (high - low) * (Double(highStep) / 150 - 0.08)
        var scale = (top + minimum) / 15
        for _ in 0..<2 {
          let q = x.map { min(15, max(0, (($0 + minimum) / scale).rounded())) }
          let (n, sq, sx) = (Double(x.count), q.reduce(0, +), x.reduce(0, +))
          let qq = q.reduce(0) { $0 + $1 * $1 }
          let qx = zip(q, x).reduce(0) { $0 + $1.0 * $1.1 }
          let determinant = n * qq - sq * sq
          guard determinant > 0 else { break }
          scale = (n * qx - sq * sx) / determinant
          minimum = (sq * qx - qq * sx) / determinant
          if minimum < 0 { (minimum, scale) = (0, qx / qq) }
          guard scale > 0 else { break }
          let error = zip(q, x).reduce(0) {
            $0 + ($1.0 * scale - minimum - $1.1) * ($1.0 * scale - minimum - $1.1)
          }
          least = min(least, error)
        }
      }
    }
    return least
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func searchedRowsAreNearTheLeastErrorPossible(seed: UInt64) {
    let x = weights(seed: seed, count: 512)
    let linear = stride(from: 0, to: 512, by: 16).reduce(0) { $0 + linearBound(x[$1..<$1 + 16]) }
    let affine = stride(from: 0, to: 512, by: 32).reduce(0) { $0 + affineBound(x[$1..<$1 + 32]) }
    let q6 = error(.q6_K, x) / linear
    let q4 = error(.q4_K, x) / affine
    // Below 1 the reference would not be a bound.
    #expect((0.999..<1.15).contains(q6) && (0.99..<1.1).contains(q4), "\(q4), \(q6)")
  }

  /// With the scale of a whole block fixed by an extreme weight, every half near it and every
  /// integer scale can be tried: the exact optimum of the format.
  @Test func aSmallQ6KBlockIsOptimal() {
    var random = Random(state: 9)
    for _ in 0..<4 {
      var x = [Float](repeating: 0, count: 256)
      for index in 0..<16 { x[index] = random.next() / 8 }
      var least = Double.infinity
      let extreme = x.map(abs).max() ?? 0
      let start = Float16(extreme / 32 / 140)
      var half = start
      while half < start * 2 {
        for d in [half, -half] {
          for integer in -128...127 where abs(integer) > 60 {
            let scale = Float(d) * Float(integer)
            let error = x.prefix(16).reduce(0.0) {
              let q = min(31, max(-32, ($1 / scale).rounded(.toNearestOrEven)))
              return $0 + (Double(scale * q) - Double($1)) * (Double(scale * q) - Double($1))
            }
            least = min(least, error)
          }
        }
        half = half.nextUp
      }
      let ratio = error(.q6_K, x) / least
      #expect((0.9999..<1.1).contains(ratio), "\(ratio)")
    }
  }

  // MARK: not finite

  @Test(arguments: [WeightFormat.q8_0, .q4_0, .q4_1, .q4_K, .q6_K])
  func nanAndInfinitiesBecomeZero(format: WeightFormat) {
    var x = weights(seed: 5)
    x[0] = 0
    x[300] = 0
    x[511] = 0
    let clean = format.quantize(x)
    x[0] = .nan
    x[300] = .infinity
    x[511] = -.infinity
    #expect(format.quantize(x) == clean)
  }
}

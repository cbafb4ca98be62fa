import Engine
import Foundation
import TestSupport
import Testing

/// Rows of weights as floats: the bits that ggml's reference gives, in `Tests/Golden/quants`.
@Suite struct DequantizationTests {
  struct GoldenRow: CustomTestStringConvertible, Sendable {
    let format: WeightFormat
    let bytes: [UInt8]
    let values: [UInt32]
    var testDescription: String { format.rawValue }
  }

  static func goldenRows() throws -> [GoldenRow] {
    let text = try String(contentsOf: TestFiles.golden("quants/rows.txt"), encoding: .utf8)
    return try text.split(separator: "\n").map { line in
      let fields = line.split(separator: " ")
      try #require(fields.count == 3)
      return GoldenRow(
        format: try #require(WeightFormat(rawValue: String(fields[0]))),
        bytes: try numbers(fields[1], digits: 2), values: try numbers(fields[2], digits: 8))
    }
  }

  private static func numbers<Number: FixedWidthInteger>(_ text: Substring, digits: Int) throws
    -> [Number]
  {
    var rest = text
    var found: [Number] = []
    while !rest.isEmpty {
      found.append(try #require(Number(rest.prefix(digits), radix: 16)))
      rest = rest.dropFirst(digits)
    }
    return found
  }

  @Test func rowsHaveTheValuesOfTheReference() throws {
    let rows = try Self.goldenRows()
    let covered = Set(rows.map(\.format))
    #expect(covered == Set(WeightFormat.allCases).subtracting([.f32, .f16, .bf16]))
    for row in rows {
      try #require(row.bytes.count == row.format.rowBytes(row.values.count))
      let values = row.format.dequantize(row.bytes, count: row.values.count)
      let wrong = values.indices.filter { index in
        let want = Float(bitPattern: row.values[index])
        return values[index].bitPattern != row.values[index] && !(want.isNaN && values[index].isNaN)
      }
      #expect(wrong.isEmpty, "\(row.format.rawValue): weights \(wrong.prefix(8))")
    }
  }

  @Test func rowsAreWholeBlocks() {
    for format in WeightFormat.allCases {
      for count in 1...1024 {
        let isWhole = count.isMultiple(of: format.blockLength)
        #expect((format.rowBytes(count) > 0) == isWhole, "\(count) weights of \(format.rawValue)")
      }
    }
  }
}

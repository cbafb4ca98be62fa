/// Who a generation is for, where texts of different people are kept apart: 16 bytes of a hash, of
/// which at least one is not 0.
package struct TenantID: Hashable, Sendable {
  package static let byteCount = 16
  /// Stands for all who are not told apart.
  package static let unnamed = TenantID(words: (.max, .max))

  private let low: UInt64
  private let high: UInt64

  private init(words: (low: UInt64, high: UInt64)) {
    low = words.low
    high = words.high
  }

  /// - Returns: `nil` unless there are exactly ``byteCount`` bytes that are not all 0.
  package init?(bytes: [UInt8]) {
    guard bytes.count == Self.byteCount else { return nil }
    func word(_ bytes: ArraySlice<UInt8>) -> UInt64 {
      bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
    self.init(words: (word(bytes[..<8]), word(bytes[8...])))
    guard low | high != 0 else { return nil }
  }

  package var bytes: [UInt8] {
    [low, high].flatMap { word in
      (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) }
    }
  }
}

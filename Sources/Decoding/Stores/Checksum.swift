/// CRC-64 as the XZ file format has it: polynomial 0x42F0E1EBA9EA3693 of ECMA-182, bits reflected.
/// Tells damage from data; it is no protection against a forger.
///
/// - SeeAlso: ECMA-182, annex B; the XZ file format, version 1.2.1.
package struct Checksum {
  private static let table: [UInt64] = (0..<256).map { byte in
    (0..<8).reduce(UInt64(byte)) { sum, _ in
      sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0xC96C_5795_D787_0F42
    }
  }

  private var state = UInt64.max

  package init() {}

  /// The checksum of what was added so far.
  package var value: UInt64 { ~state }

  /// Adds bytes; how they are cut into calls makes no difference.
  package mutating func update(_ bytes: ArraySlice<UInt8>) {
    let table = Self.table
    var state = state
    for byte in bytes {
      state = table[Int(UInt8(truncatingIfNeeded: state) ^ byte)] ^ state >> 8
    }
    self.state = state
  }

  /// The checksum of these bytes alone.
  package static func of(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    var sum = Checksum()
    sum.update(bytes)
    return sum.value
  }
}

/// A bounded hash index: gives each key a row number below a fixed count.
///
/// A key may stand in the four rows of its bucket. A new key takes an empty row of the bucket, else
/// the row that was written longest ago.
struct KeyedRows: Sendable {
  static let ways = 4
  /// Key plus one; 0 is empty.
  var keys: [UInt64]
  var stamps: [UInt32]
  var clock: UInt32 = 0
  private let shift: UInt64

  /// - Parameter rowBits: 2 to the power of this rows, at least 3.
  init(rowBits: Int) {
    keys = [UInt64](repeating: 0, count: 1 << rowBits)
    stamps = [UInt32](repeating: 0, count: 1 << rowBits)
    shift = UInt64(64 - (rowBits - 2))
  }

  func bucket(_ key: UInt64) -> Int {
    let mixed = (key ^ key >> 29) &* 0x9e37_79b9_7f4a_7c15
    return Int((mixed ^ mixed << 32) >> shift) * Self.ways
  }

  func find(_ key: UInt64) -> Int? {
    let start = bucket(key)
    for row in start..<start + Self.ways where keys[row] == key + 1 { return row }
    return nil
  }

  /// The row of `key` for writing; `isNew` where it held another key or none.
  mutating func claim(_ key: UInt64) -> (row: Int, isNew: Bool) {
    clock &+= 1
    let start = bucket(key)
    var victim = start
    for row in start..<start + Self.ways {
      if keys[row] == key + 1 {
        stamps[row] = clock
        return (row, false)
      }
      guard keys[victim] != 0 else { continue }
      if keys[row] == 0 || clock &- stamps[row] > clock &- stamps[victim] { victim = row }
    }
    keys[victim] = key + 1
    stamps[victim] = clock
    return (victim, true)
  }
}

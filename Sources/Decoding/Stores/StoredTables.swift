extension HitRateTable {
  /// Writes the cells that were ever tried.
  func write(to writer: inout StoreWriter) {
    writer.append(UInt32(trials.count))
    writer.append(hitSum)
    writer.append(claimedSum)
    let used = trials.indices.filter { trials[$0] > 0 }
    writer.append(UInt32(used.count))
    for cell in used {
      writer.append(UInt32(cell))
      writer.append(hits[cell])
      writer.append(trials[cell])
    }
  }

  /// Takes over what was written of a table of as many cells; this one is empty.
  mutating func read(from reader: inout StoreReader) throws(StoreError) {
    let cellCount = trials.count
    _ = try reader.checked(
      UInt64(try reader.word()), cellCount...cellCount, "the number of cells of a hit rate table")
    // A float counts no further in steps of one.
    hitSum = try reader.float(in: 0...16_777_216, "the hits of a hit rate table")
    claimedSum = try reader.float(in: 0...Self.claimedMax, "the claims of a hit rate table")
    var next = 0
    for _ in 0..<(try reader.count(upTo: cellCount, "the number of tried cells")) {
      let cell = try reader.count(upTo: cellCount - 1, "the index of a tried cell")
      guard cell >= next else { throw .notInOrder(field: "the tried cells") }
      next = cell + 1
      hits[cell] = try reader.float(in: 0...Self.cellTrialsMax, "the hits of a cell")
      trials[cell] = try reader.float(
        in: max(hits[cell], .leastNonzeroMagnitude)...Self.cellTrialsMax, "the trials of a cell")
    }
  }
}

extension KeyedRows {
  /// One key and its place, as it is written.
  struct Placed {
    var row: Int
    var key: UInt64
    var stamp: UInt32
  }

  var rowCount: Int { keys.count }

  /// What stands in a row; `nil` where it is empty.
  func placed(at row: Int) -> Placed? {
    keys[row] == 0 ? nil : Placed(row: row, key: keys[row] - 1, stamp: stamps[row])
  }

  /// Puts a key back where it stood.
  ///
  /// - Returns: false where it cannot have stood there.
  mutating func restore(_ placed: Placed) -> Bool {
    let start = bucket(placed.key)
    guard (start..<start + Self.ways).contains(placed.row), find(placed.key) == nil,
      keys[placed.row] == 0
    else { return false }
    keys[placed.row] = placed.key + 1
    stamps[placed.row] = placed.stamp
    return true
  }
}

extension StoreWriter {
  mutating func append(_ placed: KeyedRows.Placed) {
    append(UInt32(placed.row))
    append(placed.key)
    append(placed.stamp)
  }
}

extension StoreReader {
  /// The place of a key of `length` tokens.
  mutating func placed(
    in rows: KeyedRows, length: Int, vocabularyCount: Int
  ) throws(StoreError) -> KeyedRows.Placed {
    let row = try count(upTo: rows.rowCount - 1, "the index of a row")
    let key = try longWord()
    guard KeyTokens.areIn(key, length: length, vocabularyCount: vocabularyCount) else {
      throw .outOfRange(field: "a key", value: key, allowed: 0...vocabularyCount - 1)
    }
    return KeyedRows.Placed(row: row, key: key, stamp: try word())
  }
}

/// Keys are tokens of 21 bits each: see ``TokenContext/key(length:)``.
enum KeyTokens {
  /// Whether a key is made of as many tokens of the vocabulary, and nothing else.
  static func areIn(_ key: UInt64, length: Int, vocabularyCount: Int) -> Bool {
    var rest = key
    for _ in 0..<length {
      guard rest & 0x1F_FFFF < UInt64(vocabularyCount) else { return false }
      rest >>= 21
    }
    return rest == 0
  }
}

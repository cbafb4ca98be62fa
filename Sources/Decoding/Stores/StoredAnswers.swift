import InferenceTypes

/// A source with its record: what it claims is believed as much after a restart as before it.
extension PlannedSlot: StoredSource where Source: StoredSource {
  static var storeKind: UInt32 { Source.storeKind }
  static var storeLayout: UInt32 { Source.storeLayout }

  func store(to writer: inout StoreWriter, vocabularyCount: Int) {
    hitRates.write(to: &writer)
    source.store(to: &writer, vocabularyCount: vocabularyCount)
  }

  mutating func restore(
    from reader: inout StoreReader, vocabularyCount: Int
  ) throws(StoreError) {
    try hitRates.read(from: &reader)
    try source.restore(from: &reader, vocabularyCount: vocabularyCount)
  }
}

/// The answers themselves, the oldest first; the counts are made of them again.
extension SuffixSource: StoredSource {
  static var storeKind: UInt32 { 4 }
  static var storeLayout: UInt32 { 1 }

  /// Tokens that there is room for where none of them needs a node.
  private var tokenMax: Int { byteMax / 4 }

  func store(to writer: inout StoreWriter, vocabularyCount: Int) {
    let place = writer.reserveCount()
    var count = 0
    for text in answers.texts where text.count >= Self.lengthMin {
      guard text.allSatisfy({ $0 < vocabularyCount }) else { continue }
      count += 1
      writer.append(UInt32(text.count))
      for token in text { writer.append(token) }
    }
    writer.setCount(count, at: place)
  }

  mutating func restore(
    from reader: inout StoreReader, vocabularyCount: Int
  ) throws(StoreError) {
    var room = tokenMax
    for _ in 0..<(try reader.count(upTo: tokenMax, "the number of answers")) {
      guard room >= Self.lengthMin else {
        throw .outOfRange(
          field: "the tokens of all answers", value: UInt64(tokenMax) + 1, allowed: 0...tokenMax)
      }
      let count = try reader.checked(
        UInt64(try reader.word()), Self.lengthMin...room, "the tokens of an answer")
      room -= count
      var answer: [TokenID] = []
      for _ in 0..<count {
        answer.append(TokenID(try reader.token(vocabularyCount, "a token of an answer")))
      }
      remember(answer[...])
    }
  }
}

/// The table of all texts.
extension NgramSource: StoredSource {
  static var storeKind: UInt32 { 5 }
  static var storeLayout: UInt32 { 1 }

  func store(to writer: inout StoreWriter, vocabularyCount: Int) {
    writer.append(all.keys.clock)
    let place = writer.reserveCount()
    var count = 0
    for index in 0..<all.keys.rowCount {
      guard let placed = all.keys.placed(at: index) else { continue }
      let start = index * NgramTable.width
      let row = all.successors[start..<start + NgramTable.width].filter {
        $0.count > 0 && $0.token < vocabularyCount
      }
      guard !row.isEmpty else { continue }
      count += 1
      writer.append(placed)
      writer.append(UInt8(row.count))
      for successor in row {
        writer.append(successor.token)
        writer.append(successor.count)
      }
    }
    writer.setCount(count, at: place)
  }

  mutating func restore(
    from reader: inout StoreReader, vocabularyCount: Int
  ) throws(StoreError) {
    all.keys.clock = try reader.word()
    for _ in 0..<(try reader.count(upTo: all.keys.rowCount, "the number of n-grams")) {
      let placed = try reader.placed(in: all.keys, below: NgramTable.keyBound)
      guard all.keys.restore(placed) else { throw .notInOrder(field: "the n-grams") }
      let count = try reader.checked(
        UInt64(try reader.byte()), 1...NgramTable.width, "the successors of an n-gram")
      let start = placed.row * NgramTable.width
      for index in start..<start + count {
        let token = try reader.token(vocabularyCount, "a successor")
        let times = UInt32(
          try reader.checked(
            UInt64(try reader.word()), 1...Int(UInt32.max), "the count of a successor"))
        for known in start..<index where all.successors[known].token == token {
          throw .notInOrder(field: "the successors of an n-gram")
        }
        // The most frequent first.
        guard index == start || times <= all.successors[index - 1].count else {
          throw .notInOrder(field: "the successors of an n-gram")
        }
        all.successors[index] = NgramTable.Successor(token: token, count: times)
      }
    }
  }
}

extension StoreReader {
  /// The place of a key that is a number below a bound.
  fileprivate mutating func placed(
    in rows: KeyedRows, below bound: UInt64
  ) throws(StoreError) -> KeyedRows.Placed {
    let row = try count(upTo: rows.rowCount - 1, "the index of a row")
    let key = try longWord()
    guard key < bound else {
      throw .outOfRange(field: "a key", value: key, allowed: 0...Int(clamping: bound - 1))
    }
    return KeyedRows.Placed(row: row, key: key, stamp: try word())
  }
}

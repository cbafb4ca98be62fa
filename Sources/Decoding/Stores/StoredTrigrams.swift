import InferenceTypes

/// The counts of the corpus and what recent text added; the weights follow from both.
extension AdaptiveTrigrams: StoredSource {
  static var storeKind: UInt32 { 6 }
  static var storeLayout: UInt32 { 1 }

  func store(to writer: inout StoreWriter, vocabularyCount: Int) {
    writer.append(keys.clock)
    let place = writer.reserveCount()
    var count = 0
    for index in 0..<keys.rowCount {
      guard let placed = keys.placed(at: index),
        KeyTokens.areIn(placed.key, length: 2, vocabularyCount: vocabularyCount)
      else { continue }
      let start = index * Self.successorMax
      let row = successors[start..<start + Int(counts[index])].filter {
        $0.token < vocabularyCount
      }
      guard !row.isEmpty else { continue }
      count += 1
      writer.append(placed)
      writer.append(totals[index])
      writer.append(UInt8(row.count))
      for successor in row {
        writer.append(successor.token)
        writer.append(successor.count)
        writer.append(successor.boost)
      }
    }
    writer.setCount(count, at: place)
  }

  mutating func restore(
    from reader: inout StoreReader, vocabularyCount: Int
  ) throws(StoreError) {
    keys.clock = try reader.word()
    for _ in 0..<(try reader.count(upTo: keys.rowCount, "the number of pairs")) {
      let placed = try reader.placed(in: keys, length: 2, vocabularyCount: vocabularyCount)
      guard keys.restore(placed) else { throw .notInOrder(field: "the pairs") }
      let total = try reader.count(upTo: Int(Self.totalMax) - 1, "how often a pair was seen")
      let count = try reader.checked(
        UInt64(try reader.byte()), 1...Self.successorMax, "the successors of a pair")
      let start = placed.row * Self.successorMax
      var left = total
      var row: [Successor] = []
      for _ in 0..<count {
        let token = try reader.token(vocabularyCount, "a successor")
        let times = try reader.count(upTo: left, "how often a successor was seen")
        left -= times
        let boost = try reader.float(in: 0...Self.weightMax, "what recent text added")
        row.append(Successor(token: token, count: UInt32(times), boost: boost))
      }
      guard row.count(where: { $0.count > 0 }) <= Self.corpusWidth,
        Set(row.map(\.token)).count == count
      else { throw .notInOrder(field: "the successors of a pair") }
      successors.replaceSubrange(start..<start + count, with: row)
      counts[placed.row] = UInt8(count)
      totals[placed.row] = UInt32(total)
      settle(placed.row)
      // They stood in the order of their weights, and each had one.
      guard successors[start..<start + Int(counts[placed.row])].map(\.token) == row.map(\.token)
      else { throw .notInOrder(field: "the successors of a pair") }
    }
  }
}

package import InferenceTypes

/// A source whose knowledge can be written to a file and read again.
protocol StoredSource {
  /// Its name in files: never used for anything else.
  static var storeKind: UInt32 { get }
  /// Rises with every change of what is written or of what it means.
  static var storeLayout: UInt32 { get }

  /// Appends what was learned; whatever ``restore(from:vocabularyCount:)`` would refuse is left out.
  func store(to writer: inout StoreWriter, vocabularyCount: Int)

  /// Takes over what was written. This source is empty; after an error it is of no use.
  mutating func restore(
    from reader: inout StoreReader, vocabularyCount: Int
  ) throws(StoreError)
}

extension StoredSource {
  fileprivate func section(owner: TenantID?, vocabularyCount: Int) -> StoreSection {
    var writer = StoreWriter()
    store(to: &writer, vocabularyCount: vocabularyCount)
    return StoreSection(
      kind: Self.storeKind, layout: Self.storeLayout, owner: owner, payload: writer.bytes)
  }

  fileprivate mutating func restore(
    _ section: StoreSection, vocabularyCount: Int
  ) throws(StoreError) {
    let part = "section of kind \(section.kind)"
    guard section.layout == Self.storeLayout else {
      throw .otherLayout(part: part, found: section.layout, expected: Self.storeLayout)
    }
    var reader = StoreReader(section.payload, part: part)
    try restore(from: &reader, vocabularyCount: vocabularyCount)
    try reader.finish()
  }
}

extension TokenRecycling: StoredSource {
  static var storeKind: UInt32 { 1 }
  static var storeLayout: UInt32 { 1 }

  func store(to writer: inout StoreWriter, vocabularyCount: Int) {
    hitRates.write(to: &writer)
    let place = writer.reserveCount()
    var count = 0
    for token in 0..<self.vocabularyCount {
      let row = row(single, at: token * Self.rowLength)
      guard !row.isEmpty else { continue }
      count += 1
      writer.append(UInt32(token))
      append(row, to: &writer)
    }
    writer.setCount(count, at: place)
    store(doubleKeys, double, length: 2, to: &writer)
    store(tripleKeys, triple, length: 3, to: &writer)
  }

  mutating func restore(
    from reader: inout StoreReader, vocabularyCount: Int
  ) throws(StoreError) {
    try hitRates.read(from: &reader)
    var next: UInt32 = 0
    for _ in 0..<(try reader.count(upTo: vocabularyCount, "the number of rows of one token")) {
      let token = try reader.token(vocabularyCount, "the token of a row")
      guard token >= next else { throw .notInOrder(field: "the rows of one token") }
      next = token + 1
      try readRow(from: &reader, into: &single, at: Int(token) * Self.rowLength)
    }
    try restore(&doubleKeys, &double, length: 2, from: &reader)
    try restore(&tripleKeys, &triple, length: 3, from: &reader)
  }

  private func store(
    _ keys: KeyedRows, _ entries: [Entry], length: Int, to writer: inout StoreWriter
  ) {
    writer.append(keys.clock)
    let place = writer.reserveCount()
    var count = 0
    for index in 0..<keys.rowCount {
      guard let placed = keys.placed(at: index),
        KeyTokens.areIn(placed.key, length: length, vocabularyCount: vocabularyCount)
      else { continue }
      let row = row(entries, at: index * Self.rowLength)
      guard !row.isEmpty else { continue }
      count += 1
      writer.append(placed)
      append(row, to: &writer)
    }
    writer.setCount(count, at: place)
  }

  private func restore(
    _ keys: inout KeyedRows, _ entries: inout [Entry], length: Int, from reader: inout StoreReader
  ) throws(StoreError) {
    keys.clock = try reader.word()
    let field = "the number of rows of \(length) tokens"
    for _ in 0..<(try reader.count(upTo: keys.rowCount, field)) {
      let placed = try reader.placed(in: keys, length: length, vocabularyCount: vocabularyCount)
      guard keys.restore(placed) else { throw .notInOrder(field: "the rows of \(length) tokens") }
      try readRow(from: &reader, into: &entries, at: placed.row * Self.rowLength)
    }
  }

  /// The entries of a row, up to the first that is empty or not a probability of a known token.
  private func row(_ entries: [Entry], at start: Int) -> ArraySlice<Entry> {
    entries[start..<start + Self.rowLength].prefix {
      $0.token < vocabularyCount && Self.logProbabilities.contains($0.logProbability)
    }
  }

  /// Rounding may lift a certainty above 0.
  private static let logProbabilities = -Float.greatestFiniteMagnitude...1

  private func append(_ row: ArraySlice<Entry>, to writer: inout StoreWriter) {
    writer.append(UInt8(row.count))
    for entry in row {
      writer.append(entry.token)
      writer.append(entry.logProbability)
    }
  }

  private func readRow(
    from reader: inout StoreReader, into entries: inout [Entry], at start: Int
  ) throws(StoreError) {
    let count = try reader.checked(
      UInt64(try reader.byte()), 1...Self.rowLength, "the length of a row")
    for index in start..<start + count {
      let token = try reader.token(vocabularyCount, "a token of a row")
      for known in start..<index where entries[known].token == token {
        throw .notInOrder(field: "the tokens of a row")
      }
      let logProbability = try reader.float(in: Self.logProbabilities, "a log-probability")
      entries[index] = Entry(token: token, logProbability: logProbability)
    }
  }
}

extension TrigramStore: StoredSource {
  static var storeKind: UInt32 { 2 }
  static var storeLayout: UInt32 { 1 }

  func store(to writer: inout StoreWriter, vocabularyCount: Int) {
    hitRates.write(to: &writer)
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
      writer.append(UInt8(row.count))
      for successor in row {
        writer.append(successor.token)
        writer.append(successor.weight)
      }
    }
    writer.setCount(count, at: place)
  }

  mutating func restore(
    from reader: inout StoreReader, vocabularyCount: Int
  ) throws(StoreError) {
    try hitRates.read(from: &reader)
    keys.clock = try reader.word()
    for _ in 0..<(try reader.count(upTo: keys.rowCount, "the number of pairs")) {
      let placed = try reader.placed(in: keys, length: 2, vocabularyCount: vocabularyCount)
      guard keys.restore(placed) else { throw .notInOrder(field: "the pairs") }
      let count = try reader.checked(
        UInt64(try reader.byte()), 1...Self.successorMax, "the successors of a pair")
      counts[placed.row] = UInt8(count)
      let start = placed.row * Self.successorMax
      for index in start..<start + count {
        let token = try reader.token(vocabularyCount, "a successor")
        for known in start..<index where successors[known].token == token {
          throw .notInOrder(field: "the successors of a pair")
        }
        let weight = try reader.float(
          in: Float.leastNormalMagnitude...Self.weightMax, "the weight of a successor")
        successors[index] = Successor(token: token, weight: weight)
        guard index > start else { continue }
        // Heaviest first, the smaller token first among equals.
        let before = successors[index - 1]
        guard (weight, before.token) < (before.weight, token) else {
          throw .notInOrder(field: "the successors of a pair")
        }
      }
    }
  }
}

/// What several sources together have proved to be worth.
private struct Agreement: StoredSource {
  static var storeKind: UInt32 { 7 }
  static var storeLayout: UInt32 { 1 }
  var table: HitRateTable

  func store(to writer: inout StoreWriter, vocabularyCount: Int) { table.write(to: &writer) }

  mutating func restore(
    from reader: inout StoreReader, vocabularyCount: Int
  ) throws(StoreError) { try table.read(from: &reader) }
}

extension LocalSources {
  /// Whether there is nothing to write.
  package var isEmpty: Bool {
    recycling == nil && trigram == nil && suffix == nil && ngram == nil && aded == nil
  }

  /// What every source has learned.
  package func sections(owner: TenantID?, vocabularyCount: Int) -> [StoreSection] {
    guard !isEmpty else { return [] }
    let all = [
      recycling?.section(owner: owner, vocabularyCount: vocabularyCount),
      trigram?.section(owner: owner, vocabularyCount: vocabularyCount),
      suffix?.section(owner: owner, vocabularyCount: vocabularyCount),
      ngram?.section(owner: owner, vocabularyCount: vocabularyCount),
      aded?.section(owner: owner, vocabularyCount: vocabularyCount),
      Agreement(table: agreement).section(owner: owner, vocabularyCount: vocabularyCount),
    ]
    return all.compactMap { $0 }
  }

  /// Takes over a section for a source that is in use and still empty.
  ///
  /// - Throws: ``StoreError`` for a section that cannot have been written by this version; the
  ///   source that it is for is then of no use.
  /// - Returns: false for a section of a source that is not in use.
  package mutating func restore(
    _ section: StoreSection, vocabularyCount: Int
  ) throws(StoreError) -> Bool {
    switch section.kind {
    case TokenRecycling.storeKind:
      guard recycling != nil else { return false }
      try recycling?.restore(section, vocabularyCount: vocabularyCount)
    case TrigramStore.storeKind:
      guard trigram != nil else { return false }
      try trigram?.restore(section, vocabularyCount: vocabularyCount)
    case SuffixSource.storeKind:
      guard suffix != nil else { return false }
      try suffix?.restore(section, vocabularyCount: vocabularyCount)
    case NgramSource.storeKind:
      guard ngram != nil else { return false }
      try ngram?.restore(section, vocabularyCount: vocabularyCount)
    case AdaptiveTrigrams.storeKind:
      guard aded != nil else { return false }
      try aded?.restore(section, vocabularyCount: vocabularyCount)
    case Agreement.storeKind:
      guard !isEmpty else { return false }
      var restored = Agreement(table: agreement)
      try restored.restore(section, vocabularyCount: vocabularyCount)
      agreement = restored.table
    default: return false
    }
    return true
  }
}

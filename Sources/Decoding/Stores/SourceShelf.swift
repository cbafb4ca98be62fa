package import InferenceTypes

/// Whose texts teach whose drafts.
package enum StoreIsolation: String, Sendable, CaseIterable {
  /// All share what was learned.
  case shared
  /// Nobody's texts draft for anybody else. Rows of Token Recycling that come from no text are for
  /// all, see ``TokenRecycling/suppose(after:top:)``.
  case tenant
}

/// The local sources of one model in one process: one set for all, or one for each tenant. Of more
/// tenants than have room, the one not heard of for longest is forgotten.
package struct SourceShelf: Sendable {
  private struct Book {
    var owner: TenantID?
    var sources: LocalSources
    var lastUse: Int
  }

  private let isolation: StoreIsolation
  private let vocabularyCount: Int
  private let tenantMax: Int
  private let makeSources: @Sendable () -> LocalSources
  private var books: [Book] = []
  /// Sections from a file that are of no use here and still somebody's.
  private var kept: [StoreSection] = []
  /// Whose rows that come from no text every tenant begins with.
  private var common: TokenRecycling?
  /// Rises with every use.
  package private(set) var revision = 0

  /// - Parameters:
  ///   - isolation: who shares.
  ///   - tenantMax: tenants at a time, at least 1.
  ///   - vocabularyCount: of the model.
  ///   - makeSources: makes empty sources; always the same ones.
  package init(
    isolation: StoreIsolation, tenantMax: Int = 16, vocabularyCount: Int,
    makeSources: @escaping @Sendable () -> LocalSources
  ) {
    precondition(tenantMax >= 1, "room for \(tenantMax) tenants")
    self.isolation = isolation
    self.tenantMax = isolation == .shared ? 1 : tenantMax
    self.vocabularyCount = vocabularyCount
    self.makeSources = makeSources
  }

  /// Number of owners with sources.
  package var ownerCount: Int { books.count }

  /// Lends the sources of a tenant, which are made where there are none.
  package mutating func use<Result, Failure: Error>(
    _ tenant: TenantID?, _ body: (inout LocalSources) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let place = place(of: isolation == .shared ? nil : tenant ?? .unnamed)
    revision += 1
    books[place].lastUse = revision
    return try body(&books[place].sources)
  }

  private mutating func place(of owner: TenantID?) -> Int {
    if let place = books.firstIndex(where: { $0.owner == owner }) { return place }
    if books.count >= tenantMax, let oldest = books.indices.min(by: { isOlder($0, $1) }) {
      books.remove(at: oldest)
    }
    books.append(Book(owner: owner, sources: makeSources(), lastUse: 0))
    shareRows(at: books.count - 1)
    return books.count - 1
  }

  private mutating func shareRows(at place: Int) {
    guard let common else { return }
    books[place].sources.recycling?.takeSupposedRows(of: common)
  }

  private func isOlder(_ left: Int, _ right: Int) -> Bool {
    books[left].lastUse < books[right].lastUse
  }

  /// What was learned, the latest user's first.
  package func sections() -> [StoreSection] {
    var sections: [StoreSection] = []
    for index in books.indices.sorted(by: { isOlder($1, $0) }) {
      var book = books[index]
      // The section that they come from has them once for all.
      if common != nil { book.sources.recycling?.forgetSupposedRows() }
      sections += book.sources.sections(owner: book.owner, vocabularyCount: vocabularyCount)
      sections += kept.filter { $0.owner == book.owner }
    }
    // A forgotten tenant is forgotten as a whole.
    sections += kept.filter { section in
      (isolation == .shared || section.owner == nil)
        && !books.contains { $0.owner == section.owner }
    }
    return sections
  }

  /// Fills an empty shelf with what a file holds. Sections that are of no use here (of other
  /// sources, or of the other kind of isolation) come out again with ``sections()``.
  ///
  /// - Throws: ``StoreError``; the shelf is then as it was.
  package mutating func restore(_ sections: [StoreSection]) throws(StoreError) {
    precondition(books.isEmpty && kept.isEmpty, "restored into \(books.count) sources")
    var shelf = self
    for section in sections { try shelf.restore(section) }
    // The latest user came first.
    for index in shelf.books.indices {
      shelf.books[index].lastUse = -index
      shelf.shareRows(at: index)
    }
    self = shelf
  }

  private mutating func restore(_ section: StoreSection) throws(StoreError) {
    guard (section.owner == nil) == (isolation == .shared) else {
      kept.append(section)
      try readCommonRows(section)
      return
    }
    var place = books.firstIndex { $0.owner == section.owner }
    if place == nil {
      guard books.count < tenantMax else { return }
      books.append(Book(owner: section.owner, sources: makeSources(), lastUse: 0))
      place = books.count - 1
    }
    guard let place else { return }
    let isTaken = try books[place].sources.restore(section, vocabularyCount: vocabularyCount)
    if !isTaken { kept.append(section) }
  }

  /// Remembers what a section for all says without a text, where tenants are kept apart.
  private mutating func readCommonRows(_ section: StoreSection) throws(StoreError) {
    guard isolation == .tenant, section.kind == TokenRecycling.storeKind,
      makeSources().recycling != nil
    else { return }
    var sources = LocalSources(recycling: TokenRecycling(vocabularyCount: vocabularyCount))
    _ = try sources.restore(section, vocabularyCount: vocabularyCount)
    common = sources.recycling
  }
}

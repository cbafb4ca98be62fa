import Decoding
import InferenceTypes
import Testing

@Suite struct SourceShelfTests {
  private let prompt: [TokenID] = [1, 2, 3, 4, 5, 6, 7, 8]

  private func knows(_ shelf: inout SourceShelf, _ tenant: TenantID?) -> Bool {
    shelf.use(tenant) { $0.trigram?.weight(1, 2, 3) ?? 0 > 0 }
  }

  private func teach(_ shelf: inout SourceShelf, _ tenant: TenantID?) {
    shelf.use(tenant) { $0.observe(prompt: prompt) }
  }

  /// Tokens of the first verification for a tenant.
  private func firstBatch(_ shelf: inout SourceShelf, _ tenant: TenantID?) throws -> Int {
    var session = try VerifierSession(
      VerifierSession.Configuration(
        prompt: [9, 1, 2], sampling: SamplingParameters(), contextLength: 100,
        vocabularyCount: 20))
    return shelf.use(tenant) {
      session.nextBatch(sources: &$0, costs: freeOfCost, limit: 8).count
    }
  }

  @Test func whatIsSharedDraftsForAll() throws {
    var shelf = StoreSamples.shelf(20)
    teach(&shelf, try StoreSamples.tenant(1))
    #expect(try firstBatch(&shelf, StoreSamples.tenant(2)) > 1)
    #expect(try firstBatch(&shelf, nil) > 1)
    #expect(shelf.ownerCount == 1)
  }

  @Test func whatOneTenantTaughtNeverDraftsForAnother() throws {
    var shelf = StoreSamples.shelf(20, isolation: .tenant)
    teach(&shelf, try StoreSamples.tenant(1))
    #expect(try firstBatch(&shelf, StoreSamples.tenant(1)) > 1)
    #expect(try firstBatch(&shelf, StoreSamples.tenant(2)) == 1)
    #expect(try firstBatch(&shelf, nil) == 1)
    teach(&shelf, nil)
    #expect(try firstBatch(&shelf, .unnamed) > 1)
    #expect(try firstBatch(&shelf, StoreSamples.tenant(2)) == 1)
  }

  @Test func theTenantNotHeardOfForLongestIsForgotten() throws {
    var shelf = StoreSamples.shelf(20, isolation: .tenant, tenantMax: 2)
    let (a, b, c) = try (
      StoreSamples.tenant(1), StoreSamples.tenant(2), StoreSamples.tenant(3)
    )
    for tenant in [a, b] { teach(&shelf, tenant) }
    let remembersA = knows(&shelf, a)
    teach(&shelf, c)
    #expect(remembersA && shelf.ownerCount == 2)
    #expect(knows(&shelf, a))
    #expect(knows(&shelf, c))
    #expect(!knows(&shelf, b))
    #expect(shelf.ownerCount == 2)
  }

  @Test func tenantsComeBackFromAFileTheLatestFirst() throws {
    var shelf = StoreSamples.shelf(20, isolation: .tenant)
    let tenants = try (1...3).map { try StoreSamples.tenant($0) }
    for tenant in tenants { teach(&shelf, tenant) }
    _ = knows(&shelf, tenants[0])
    var reloaded = StoreSamples.shelf(20, isolation: .tenant, tenantMax: 2)
    try reloaded.restore(shelf.sections())
    #expect(reloaded.ownerCount == 2)
    // Of the two that have room, the third tenant is the older.
    teach(&reloaded, .unnamed)
    #expect(knows(&reloaded, tenants[0]))
    #expect(!knows(&reloaded, tenants[2]))
    #expect(!knows(&reloaded, tenants[1]))
  }

  @Test func theOtherIsolationFindsNothingAndLosesNothing() throws {
    var shared = StoreSamples.shelf(20)
    teach(&shared, nil)
    let written = shared.sections()
    var isolated = StoreSamples.shelf(20, isolation: .tenant)
    try isolated.restore(written)
    #expect(!knows(&isolated, nil))
    teach(&isolated, try StoreSamples.tenant(1))
    var again = StoreSamples.shelf(20)
    try again.restore(isolated.sections())
    #expect(knows(&again, nil))
    #expect(again.sections().filter { $0.owner == nil } == written)
    var tenants = StoreSamples.shelf(20, isolation: .tenant)
    try tenants.restore(again.sections())
    #expect(knows(&tenants, try StoreSamples.tenant(1)))
    #expect(!knows(&tenants, try StoreSamples.tenant(2)))
  }

  /// What comes from no text is nobody's secret; what comes from one stays with whoever wrote it.
  @Test func rowsWithoutATextAreForAllTenants() throws {
    let (first, second) = try (StoreSamples.tenant(1), StoreSamples.tenant(2))
    let top = [TokenLogit(token: 7, logit: 3), TokenLogit(token: 2, logit: 1)]
    var shared = StoreSamples.shelf(20)
    shared.use(nil) {
      _ = $0.recycling?.suppose(after: 3, top: top.span)
      $0.recycling?.observe(context: TokenContext(endOf: [5]), top: top.span)
    }
    func rows(_ shelf: inout SourceShelf, _ tenant: TenantID) -> [Bool] {
      shelf.use(tenant) { sources in
        [3, 5, 9].map { sources.recycling?.knowsRow(after: $0) ?? false }
      }
    }
    var isolated = StoreSamples.shelf(20, isolation: .tenant)
    try isolated.restore(shared.sections())
    #expect(rows(&isolated, first) == [true, false, false])
    isolated.use(first) { $0.observe(context: TokenContext(endOf: [9]), top: top.span) }
    #expect(rows(&isolated, first) == [true, false, true])
    #expect(rows(&isolated, second) == [true, false, false])

    // They come back for the tenants of the file and for new ones, and are written once.
    var again = StoreSamples.shelf(20, isolation: .tenant)
    try again.restore(isolated.sections())
    #expect(rows(&again, first) == [true, false, true])
    #expect(rows(&again, second) == [true, false, false])
    #expect(rows(&again, try StoreSamples.tenant(3)) == [true, false, false])
    #expect(again.sections().filter { $0.owner == nil } == shared.sections())
    var alone = StoreSamples.shelf(20, isolation: .tenant)
    try alone.restore(again.sections().filter { $0.owner != nil })
    #expect(rows(&alone, first) == [false, false, true])
  }

  @Test func sectionsOfOtherSourcesAreKept() throws {
    var both = StoreSamples.shelf(20)
    teach(&both, nil)
    let future = StoreSection(kind: 77, layout: 3, owner: nil, payload: [1, 2])
    let written = both.sections() + [future]
    var trigrams = SourceShelf(isolation: .shared, vocabularyCount: 20) {
      LocalSources(trigram: TrigramStore())
    }
    try trigrams.restore(written)
    let order: (StoreSection, StoreSection) -> Bool = { $0.kind < $1.kind }
    #expect(trigrams.sections().sorted(by: order) == written.sorted(by: order))
  }

  @Test func aBadSectionLeavesTheShelfEmpty() throws {
    var shelf = StoreSamples.shelf(20)
    teach(&shelf, nil)
    var sections = shelf.sections()
    sections[1].payload.removeLast()
    var reloaded = StoreSamples.shelf(20)
    #expect(throws: StoreError.self) { try reloaded.restore(sections) }
    #expect(reloaded.ownerCount == 0)
    #expect(!knows(&reloaded, nil))
  }

  @Test func everyUseIsAChange() {
    var shelf = StoreSamples.shelf(20)
    let before = shelf.revision
    teach(&shelf, nil)
    #expect(shelf.revision > before)
  }
}

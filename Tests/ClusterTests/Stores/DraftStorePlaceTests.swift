import Cluster
import InferenceTypes
import Testing
import Wire

@Suite struct DraftStorePlaceTests {
  private func place(_ argument: String) -> DraftStorePlace {
    DraftStorePlace(argument: argument) { $0 == "there" }
  }

  /// With fewer places than sessions, each step would throw away what the next one needs.
  @Test func everySessionHasAPlaceForItsTenant() {
    var settings = DraftStoreSettings()
    #expect(settings.fitting(slotCount: 8).tenantMax == 16)
    #expect(settings.fitting(slotCount: 32).tenantMax == 32)
    #expect(settings.fitting(slotCount: 4096).tenantMax == 64)
    settings.tenantMax = 2
    #expect(settings.fitting(slotCount: 8).tenantMax == 2, "who gives a number means it")
  }

  @Test func argumentsAreToldApart() {
    #expect(place("none") == .none)
    #expect(place("") == .none)
    #expect(place("there") == .folder("there"))
    #expect(place("new/") == .folder("new/"))
    #expect(place("new") == .file("new"))
    #expect(place("./none") == .file("./none"))
  }

  @Test func theStandardPlaceIsInTheUsersCache() {
    func standard(_ environment: [String: String]) -> DraftStorePlace {
      .standard(environment: environment)
    }
    #expect(standard([:]) == .none)
    #expect(standard(["HOME": "/h"]) == .folder("/h/.cache/slipstream/stores"))
    #expect(
      standard(["HOME": "/h", "XDG_CACHE_HOME": "/x"]) == .folder("/x/slipstream/stores"))
    #expect(
      standard(["HOME": "/h", "XDG_CACHE_HOME": "x"]) == .folder("/h/.cache/slipstream/stores"))
    #expect(
      standard(["HOME": "/h", "XDG_CACHE_HOME": "/x", "SLIPSTREAM_CACHE": "/s"])
        == .folder("/s/stores"))
  }

  @Test func aFolderHoldsOneFileForEachModelAndRole() throws {
    let model = try #require(Fingerprint(bytes: (0..<32).map { $0 }))
    let name = "000102030405060708090a0b0c0d0e0f"
    #expect(place("there").path(model: model, role: "run") == "there/\(name)-run.store")
    #expect(place("new/").path(model: model, role: "drafter") == "new/\(name)-drafter.store")
    #expect(place("file").path(model: model, role: "run") == "file")
    #expect(place("none").path(model: model, role: "run") == nil)
  }

  @Test func tenantsAreKeysAndUsers() {
    let pairs = [("", ""), ("key", ""), ("", "key"), ("ke", "y"), ("key", "ann"), ("key", "bob")]
    let tenants = pairs.map { TenantID(account: $0.0, user: $0.1) }
    #expect(Set(tenants).count == pairs.count)
    #expect(!tenants.contains(.unnamed))
    #expect(tenants[4] == TenantID(account: "key", user: "ann"))
  }
}

import ArgumentParser
import Cluster
import Decoding
import Foundation
import Wire

extension StoreIsolation: ExpressibleByArgument {}

extension DraftStorePlace {
  init(argument: String) {
    self.init(argument: argument) { path in
      var isFolder: ObjCBool = false
      return unsafe FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
        && isFolder.boolValue
    }
  }
}

/// Where a daemon keeps what its training-free drafts learn. They come from all texts, so the files
/// are for their user only, and `none` writes nothing.
struct DraftStoreOptions: ParsableArguments {
  @Option(
    help:
      "What local drafts learn is kept here: a folder, a file, or none. The user's cache unless told."
  )
  var draftStore: String?

  @Option(help: "Whose texts teach whose drafts: shared, or tenant (API key and user).")
  var storeIsolation = StoreIsolation.shared

  @Option(
    help: """
      Tenants that a process remembers, with --store-isolation tenant: 16 unless told, or as many \
      as its sessions, up to 64. With fewer than its sessions each step may begin anew.
      """)
  var storeTenants: Int?

  func validate() throws {
    if let storeTenants, !(1...1024).contains(storeTenants) {
      throw ValidationError("--store-tenants \(storeTenants): expected 1 to 1024")
    }
  }

  /// What a worker of this role does with the stores of a model.
  func settings(model: Fingerprint, role: String) -> DraftStoreSettings {
    let place =
      draftStore.map { DraftStorePlace(argument: $0) }
      ?? .standard(environment: ProcessInfo.processInfo.environment)
    var settings = DraftStoreSettings()
    settings.path = place.path(model: model, role: role)
    settings.isolation = storeIsolation
    settings.tenantMax = storeTenants
    return settings
  }
}

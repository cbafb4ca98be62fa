package import Decoding
package import Wire

/// Where a process keeps what its draft sources learned.
package enum DraftStorePlace: Equatable, Sendable {
  case none
  case file(String)
  /// A folder, with a file for each model and role.
  case folder(String)

  /// What `--draft-store` says.
  ///
  /// - Parameters:
  ///   - argument: `none`, a folder (it exists, or ends with "/"), else a file.
  ///   - isFolder: whether there is a folder of that name.
  package init(argument: String, isFolder: (String) -> Bool) {
    if argument == "none" || argument.isEmpty {
      self = .none
    } else if argument.hasSuffix("/") || isFolder(argument) {
      self = .folder(argument)
    } else {
      self = .file(argument)
    }
  }

  /// Where daemons keep their stores unless they are told: `stores` in `SLIPSTREAM_CACHE`, else in
  /// the user's cache; nowhere for a user without a home.
  package static func standard(environment: [String: String]) -> DraftStorePlace {
    func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    if let cache = value("SLIPSTREAM_CACHE") { return .folder("\(cache)/stores") }
    // The specification tells to ignore relative paths.
    if let cache = value("XDG_CACHE_HOME"), cache.hasPrefix("/") {
      return .folder("\(cache)/slipstream/stores")
    }
    return value("HOME").map { .folder("\($0)/.cache/slipstream/stores") } ?? .none
  }

  /// The file for a model in a process of this role; `nil` where nothing is kept. Different roles
  /// learn different things, and on one host both may run.
  package func path(model: Fingerprint, role: String) -> String? {
    switch self {
    case .none: return nil
    case .file(let path): return path
    case .folder(let folder):
      let name = model.bytes.prefix(16).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
      return "\(folder)\(folder.hasSuffix("/") ? "" : "/")\(name.joined())-\(role).store"
    }
  }
}

/// How a worker keeps what its draft sources learn.
package struct DraftStoreSettings: Sendable {
  /// `nil` keeps it in memory only.
  package var path: String?
  package var isolation = StoreIsolation.shared
  /// Tenants in memory at a time, each with sources of some megabytes; `nil` leaves it to the worker.
  package var tenantMax: Int?
  static let tenantMax = 16
  package var saveInterval = Duration.seconds(300)

  package init() {}

  /// With room for the tenants of all sessions of a worker, up to 64, unless another number was
  /// given: with less, each use of one would throw away what another one needs in the same pass.
  package func fitting(slotCount: Int) -> DraftStoreSettings {
    var settings = self
    settings.tenantMax = tenantMax ?? max(Self.tenantMax, min(slotCount, 64))
    return settings
  }
}

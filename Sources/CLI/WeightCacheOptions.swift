import ArgumentParser
import Engine
import Foundation

/// Whether weights are shared with other processes of this host.
///
/// Nothing is kept unless the user says so: the file takes as much disk as the model, and a single
/// process gains only a faster start.
struct WeightCacheOptions: ParsableArguments {
  @Option(
    help: """
      Keep weights in the form the kernels want, for faster starts and one copy in memory for all \
      processes of this host: a folder, auto (the user's cache), or none. Takes as much disk as the \
      model.
      """)
  var weightCache = "none"

  func validate() throws {
    guard !weightCache.isEmpty else {
      throw ValidationError("--weight-cache: expected a folder, auto or none")
    }
  }

  /// The same options for another command.
  var arguments: [String] { ["--weight-cache", weightCache] }

  /// The cache of a model on this backend.
  func cache(backend: Backend) throws -> WeightCache? {
    if weightCache == "none" { return nil }
    guard backend == .native else {
      throw ValidationError(
        "--weight-cache \(weightCache): only the default backend has weights to keep, "
          + "\(backend.rawValue) has not")
    }
    guard weightCache == "auto" else { return WeightCache(folder: weightCache) }
    let environment = ProcessInfo.processInfo.environment
    guard let folder = WeightCache.standardFolder(environment: environment) else {
      throw ValidationError(
        "--weight-cache auto: this user has no cache; name a folder, or set SLIPSTREAM_CACHE")
    }
    return WeightCache(folder: folder)
  }
}

package import GGUF
internal import Glibc

/// A folder that keeps models' weights as the kernels want them, in one file for each model, so that
/// they are rewritten once and all processes of this host share the memory of a mapped file.
///
/// The file's name is made of a hash of all bytes of the model file and the layout of the panels.
/// What is wrong with a file is found before it is used: all of it is checked at each start, and
/// whatever fails is written anew. Where that cannot be done the weights go to memory of this
/// process's own, as without a cache; ``WeightCacheWarning`` says why. Files of other models and
/// layouts stay until somebody deletes them, which is safe at any time.
package struct WeightCache: Equatable, Sendable {
  package let folder: String
  /// Seconds that a process waits for another one that writes the file it needs.
  package let waitLimit: Int

  package init(folder: String, waitLimit: Int = 300) {
    precondition(waitLimit >= 0, "a wait of \(waitLimit) seconds")
    self.folder = folder
    self.waitLimit = waitLimit
  }

  /// `weights` in `SLIPSTREAM_CACHE`, else in the user's cache; nil for a user without a home.
  package static func standardFolder(environment: [String: String]) -> String? {
    func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    if let cache = value("SLIPSTREAM_CACHE") { return "\(cache)/weights" }
    // The specification tells to ignore relative paths.
    if let cache = value("XDG_CACHE_HOME"), cache.hasPrefix("/") {
      return "\(cache)/slipstream/weights"
    }
    return value("HOME").map { "\($0)/.cache/slipstream/weights" }
  }

  /// Path of the file for a model with this ``GGUFFile/contentHash(progress:)``.
  package func path(modelHash: [UInt8]) -> String {
    "\(folder)/\(hexadecimal(modelHash.prefix(16)))-\(PackedMatrix.layoutVersion).weights"
  }

  // MARK: Loading

  /// The model's weights in a mapped file, which is written first where it has to be; nil where that
  /// cannot be done, after a warning.
  ///
  /// - Throws: ``EngineError`` where the file is not a model this engine runs.
  func weights(
    file: GGUFFile, shape: ModelShape, threads: WorkerThreads,
    warn: (WeightCacheWarning) -> Void, progress: (Double) -> Void
  ) throws(EngineError) -> Weights? {
    if let error = makeFolder() {
      warn(.notUsed(error))
      return nil
    }
    let hash = modelHash(of: file) { progress($0 * 0.4) }.bytes
    let path = path(modelHash: hash)
    switch try attempt(path, hash: hash, file: file, shape: shape, threads: threads) {
    case .success(let weights):
      progress(1)
      return weights
    case .failure(.cannotRead(_, ENOENT)): break
    case .failure(let error): warn(.replaced(error))
    }
    switch try build(
      path, hash: hash, file: file, shape: shape, threads: threads,
      progress: { progress(0.4 + 0.5 * $0) })
    {
    case .success(let weights):
      progress(1)
      return weights
    case .failure(let error):
      warn(.notUsed(error))
      return nil
    }
  }

  /// Maps and checks the file.
  private func attempt(
    _ path: String, hash: [UInt8], file: GGUFFile, shape: ModelShape, threads: WorkerThreads
  ) throws(EngineError) -> Result<Weights, WeightCacheError> {
    let packed: PackedFile
    do {
      packed = try PackedFile(path: path, modelHash: hash, threads: threads)
    } catch {
      return .failure(error)
    }
    let reader = PackedFileReader(packed)
    do {
      let weights = try Weights(
        file: file, shape: shape, backend: .native, threads: threads, panels: .mapped(reader),
        progress: { _ in })
      try reader.finish()
      return .success(weights)
    } catch {
      // What the model file does wrong is for the caller.
      guard let mismatch = reader.mismatch else { throw error }
      return .failure(mismatch)
    }
  }

  /// Writes the file, unless another process does so first, and maps it.
  private func build(
    _ path: String, hash: [UInt8], file: GGUFFile, shape: ModelShape, threads: WorkerThreads,
    progress: (Double) -> Void
  ) throws(EngineError) -> Result<Weights, WeightCacheError> {
    let lock: FileLock
    let writer: PackedFileWriter
    do {
      lock = try FileLock(path: path + ".lock", limit: waitLimit)
    } catch {
      return .failure(error)
    }
    if case .success(let weights) = try attempt(
      path, hash: hash, file: file, shape: shape, threads: threads)
    {
      return .success(weights)
    }
    do {
      writer = try PackedFileWriter(
        path: path, modelHash: hash, matrixLimit: file.tensors.count + 1)
    } catch {
      return .failure(error)
    }
    do {
      try Weights.write(
        to: writer, file: file, shape: shape, threads: threads, progress: progress)
      try writer.finish()
    } catch {
      guard let failure = writer.failure else { throw error }
      return .failure(failure)
    }
    let result = try attempt(path, hash: hash, file: file, shape: shape, threads: threads)
    lock.release()
    return result
  }

  /// Makes the folder and those above it, readable for this user only; says what went wrong.
  private func makeFolder() -> WeightCacheError? {
    var path = folder.hasPrefix("/") ? "/" : ""
    for part in folder.split(separator: "/") {
      path += part
      // Looking first: on a read-only file system, making one that is there fails.
      if unsafe access(path, F_OK) != 0, unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
        return .noFolder(path: path, errno: errno)
      }
      path += "/"
    }
    var status = stat()
    guard unsafe stat(folder, &status) == 0 else { return .noFolder(path: folder, errno: errno) }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      return .noFolder(path: folder, errno: ENOTDIR)
    }
    return nil
  }

  // MARK: Hashes

  /// The hash of all bytes of a model file. It is remembered in the folder together with what changes
  /// when the file does, so that later starts need not read the whole file.
  ///
  /// Calls `progress` with the share done, 0...1, while it reads.
  package func modelHash(
    of file: GGUFFile, progress: (Double) -> Void = { _ in }
  ) -> (bytes: [UInt8], isRemembered: Bool) {
    guard let identity = file.identity else { return (file.contentHash(progress: progress), false) }
    let path = "\(folder)/\(identity.name).hash"
    if let known = RememberedHash(path: path, identity: identity) { return (known.hash, true) }
    let hash = file.contentHash(progress: progress)
    RememberedHash(hash: hash).write(path: path, identity: identity)
    return (hash, false)
  }
}

/// The hash of a model file in a file of its own.
///
/// | field | bytes |
/// |---|---|
/// | magic, "SLPHASH1" | 8 |
/// | identity of the model file: device, inode, size, times of the last writing and change | 8 each |
/// | hash | 32 |
/// | BLAKE2b of all before | 32 |
private struct RememberedHash {
  private static let magic = Array("SLPHASH1".utf8)
  private static let hashSize = 32
  private static let size = 8 + 5 * 8 + 2 * hashSize

  let hash: [UInt8]

  init(hash: [UInt8]) { self.hash = hash }

  /// Reads what is remembered of a file; nil where that is nothing, damaged, or of another state.
  init?(path: String, identity: FileIdentity) {
    // Whatever is wrong with the file, the hash can be computed again.
    guard let file = try? MappedFile(path: path), file.sizeBytes == Self.size else { return nil }
    let bytes = file.bytes(0..<Self.size)
    let hash = Array(bytes.dropLast(Self.hashSize).suffix(Self.hashSize))
    guard bytes == Self.encoded(hash, identity) else { return nil }
    self.hash = hash
  }

  /// Not being able to costs the next start time, and nothing else.
  func write(path: String, identity: FileIdentity) {
    // The clock of file systems stands still for some milliseconds: a file that was changed just now
    // may change again without looking different.
    var now = timespec()
    guard unsafe clock_gettime(CLOCK_REALTIME, &now) == 0,
      Int(now.tv_sec) * 1_000_000_000 + Int(now.tv_nsec) - identity.changed > 50_000_000,
      var file = try? AtomicFile(path: path, replacing: true, isPrivate: true)
    else { return }
    let bytes = Self.encoded(hash, identity)
    // As above.
    guard (try? file.append(bytes.span)) != nil else { return }
    try? file.commit(isDurable: false)
  }

  private static func encoded(_ hash: [UInt8], _ identity: FileIdentity) -> [UInt8] {
    let bytes = magic + identity.encoded + hash
    return bytes + bytes.contentHash
  }
}

extension FileIdentity {
  fileprivate var encoded: [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(number: device)
    bytes.append(number: inode)
    bytes.append(number: UInt64(bitPattern: Int64(sizeBytes)))
    bytes.append(number: UInt64(bitPattern: Int64(modified)))
    bytes.append(number: UInt64(bitPattern: Int64(changed)))
    return bytes
  }

  /// The same for all states of a file.
  fileprivate var name: String { hexadecimal(encoded.prefix(16).contentHash.prefix(8)) }
}

private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

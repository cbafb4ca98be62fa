package import Decoding
import GGUF
import Glibc
import Synchronization

/// The file of a draft store: read at the start, replaced as a whole at every save.
///
/// One process at a time may save: the one that holds the lock of `PATH.lock`, which ends with it.
/// All calls may block on the disk.
package final class DraftStoreFile: Sendable {
  package typealias Report = @Sendable (DraftStoreNotice) -> Void

  private enum Standing: Sendable {
    /// Another process saves, or it is no place for a store.
    case readOnly
    case ours
    /// What is there now has to go aside first.
    case displaces
  }

  package let path: String
  private let stamp: StoreStamp
  private let report: Report
  private let lock: Int32
  private let standing: Mutex<Standing>

  /// Takes the place. Folders that are missing are made, for this user only.
  ///
  /// - Parameters:
  ///   - path: of the file.
  ///   - stamp: what the store has to belong to.
  ///   - report: told of what went wrong.
  package init(path: String, stamp: StoreStamp, report: @escaping Report) {
    self.path = path
    self.stamp = stamp
    self.report = report
    Self.makeFolders(of: path)
    lock = unsafe open("\(path).lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard lock >= 0 else {
      standing = Mutex(.readOnly)
      report(.unwritable(Self.text(errno)))
      return
    }
    let isFree = flock(lock, LOCK_EX | LOCK_NB) == 0
    standing = Mutex(isFree ? .ours : .readOnly)
    if !isFree { report(.inUse) }
  }

  deinit { if lock >= 0 { close(lock) } }

  /// Whether this process saves.
  package var isWritable: Bool {
    standing.withLock { if case .readOnly = $0 { false } else { true } }
  }

  /// The sections of the file; none where there is no file or none that is of use.
  package func load() -> [StoreSection] {
    let bytes: [UInt8]
    do { bytes = try read() } catch {
      switch error {
      case .missing: break
      case .failed(let reason):
        demote()
        report(.unreadable(reason))
      case .tooLarge(let sizeBytes):
        displace(.tooLarge(sizeBytes: sizeBytes, limit: StoreFormat.sizeMax))
      }
      return []
    }
    // What `touch` or `mktemp` made is a fine place.
    guard !bytes.isEmpty else { return [] }
    guard StoreFormat.isStore(bytes) else {
      demote()
      report(.foreign)
      return []
    }
    do { return try StoreFormat.decode(bytes, stamp: stamp) } catch {
      displace(error)
      return []
    }
  }

  /// Fills an empty shelf from the file.
  package func load(into shelf: inout SourceShelf) {
    do { try shelf.restore(load()) } catch { displace(error) }
  }

  /// Replaces the file by what is on the shelf.
  ///
  /// - Returns: whether that was done.
  @discardableResult
  package func save(_ shelf: SourceShelf) -> Bool {
    let standing = standing.withLock { $0 }
    if case .readOnly = standing { return false }
    let sections = shelf.sections()
    let fitting = StoreFormat.fitting(sections)
    if fitting.count < sections.count {
      report(.shortened(sections: sections.count - fitting.count))
    }
    do {
      var file = try AtomicFile(path: path, replacing: true, isPrivate: true)
      let bytes = StoreFormat.encode(fitting, stamp: stamp)
      try file.checkSpace(for: bytes.count)
      try file.append(bytes.span)
      // Without it the file goes anyway: what is lost was of no use here.
      if case .displaces = standing { _ = unsafe rename(path, "\(path).bad") }
      try file.commit()
    } catch {
      report(.unwritable("\(error)"))
      return false
    }
    self.standing.withLock { $0 = .ours }
    return true
  }

  private func demote() { standing.withLock { $0 = .readOnly } }

  private func displace(_ error: StoreError) {
    standing.withLock { if case .ours = $0 { $0 = .displaces } }
    report(.ignored(error))
  }

  // MARK: reading

  private enum ReadFailure: Error {
    case missing
    case failed(String)
    case tooLarge(sizeBytes: Int)
  }

  private func read() throws(ReadFailure) -> [UInt8] {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw errno == ENOENT ? .missing : .failed(Self.text(errno)) }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw .failed(Self.text(errno)) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .failed("it is not a regular file") }
    let size = Int(status.st_size)
    guard size <= StoreFormat.sizeMax else { throw .tooLarge(sizeBytes: size) }
    var code: Int32 = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      // safe: at most `size` bytes go to the buffer, and `count` of them are counted.
      while count < size {
        let step = unsafe Glibc.read(
          descriptor, buffer.baseAddress?.advanced(by: count), size - count)
        if step < 0 && errno == EINTR { continue }
        if step < 0 { code = errno }
        // A file that shrinks meanwhile is found to be truncated.
        guard step > 0 else { return }
        count += step
      }
    }
    guard code == 0 else { throw .failed(Self.text(code)) }
    return bytes
  }

  /// What cannot be made shows where the lock is opened.
  private static func makeFolders(of path: String) {
    for (index, byte) in path.utf8.enumerated() where byte == UInt8(ascii: "/") && index > 0 {
      _ = unsafe mkdir(String(decoding: path.utf8.prefix(index), as: UTF8.self), 0o700)
    }
  }

  private static func text(_ code: Int32) -> String {
    // safe: strerror returns a terminated string, copied here before anyone else can ask.
    unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
  }
}

import Glibc

/// A file that gets its name when it is complete.
///
/// Until then it has no name where the file system allows that, so that even a killed process leaves
/// nothing behind; elsewhere it is called `NAME.partial-…` and removed with this value.
package struct AtomicFile: ~Copyable {
  private let path: String
  private let replacing: Bool
  private let descriptor: Int32
  /// The name that has to go with this value.
  private var temporaryPath: String?

  /// Opens a new file for the place `path`, and refuses a place that could not be taken in the end.
  ///
  /// - Parameters:
  ///   - path: the later name; its directory is where the bytes go.
  ///   - replacing: whether a regular file of that name may go.
  ///   - isNamed: whether to give the file a temporary name where none is needed.
  ///   - isPrivate: whether only this user may read it.
  /// - Throws: ``GGUFError/alreadyExists(path:)``, ``GGUFError/notARegularFile(path:)``,
  ///   ``GGUFError/cannotWrite(path:errno:)``.
  package init(
    path: String, replacing: Bool, isNamed: Bool = false, isPrivate: Bool = false
  ) throws(GGUFError) {
    try Self.checkPlace(path, replacing: replacing)
    let opened = try Self.open(path, isNamed: isNamed, mode: isPrivate ? 0o600 : 0o644)
    self.path = path
    self.replacing = replacing
    descriptor = opened.descriptor
    temporaryPath = opened.temporaryPath
  }

  deinit {
    close(descriptor)
    if let temporaryPath { unsafe unlink(temporaryPath) }
  }

  /// Refuses a file of `sizeBytes` that the file system has no room for, before it is written.
  ///
  /// - Throws: ``GGUFError/noSpace(path:needed:available:)``.
  package func checkSpace(for sizeBytes: Int) throws(GGUFError) {
    guard let available = availableBytes, available < sizeBytes else { return }
    throw .noSpace(path: path, needed: sizeBytes, available: available)
  }

  /// Appends bytes.
  ///
  /// - Throws: ``GGUFError/noSpace(path:needed:available:)`` for what did not fit,
  ///   ``GGUFError/cannotWrite(path:errno:)``.
  package func append(_ bytes: Span<UInt8>) throws(GGUFError) {
    try check(
      code: unsafe bytes.withUnsafeBytes { unsafe writeAll($0, to: descriptor) },
      byteCount: bytes.count)
  }

  /// Writes bytes at the start of the file over those that were appended first.
  ///
  /// - Throws: what ``append(_:)`` throws.
  package func overwriteStart(_ bytes: Span<UInt8>) throws(GGUFError) {
    try check(
      code: unsafe bytes.withUnsafeBytes { unsafe writeAll($0, to: descriptor, from: 0) },
      byteCount: bytes.count)
  }

  private func check(code: Int32, byteCount: Int) throws(GGUFError) {
    switch code {
    case 0: return
    case ENOSPC, EDQUOT:
      throw .noSpace(path: path, needed: byteCount, available: availableBytes ?? 0)
    default: throw .cannotWrite(path: path, errno: code)
    }
  }

  /// Brings the bytes to the disk, then gives the file its name.
  ///
  /// - Parameter isDurable: whether to wait for the disk. Without that, a machine that loses power
  ///   may come back with a file of that name and other bytes: for readers who check all of them.
  /// - Throws: ``GGUFError/alreadyExists(path:)`` where a file of that name has appeared and is not
  ///   to be replaced, ``GGUFError/cannotWrite(path:errno:)``.
  package mutating func commit(isDurable: Bool = true) throws(GGUFError) {
    if isDurable, fsync(descriptor) != 0 { throw .cannotWrite(path: path, errno: errno) }
    if replacing {
      try replace()
    } else {
      try link()
    }
    guard isDurable else { return }
    let directory = unsafe Glibc::open(Self.directory(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { return }
    // The file is there and whole; not every file system can promise that its name stays.
    fsync(directory)
    close(directory)
  }

  /// Takes the name from whatever has it.
  private mutating func replace() throws(GGUFError) {
    if temporaryPath == nil {
      let name = Self.temporaryName(for: path)
      try check(linkAnonymous(to: name))
      temporaryPath = name
    }
    guard let temporary = temporaryPath else { return }
    try check(unsafe rename(temporary, path))
    temporaryPath = nil
  }

  /// Takes the name only if nothing has it.
  private mutating func link() throws(GGUFError) {
    guard let temporary = temporaryPath else {
      try check(linkAnonymous(to: path))
      return
    }
    if unsafe Glibc::link(temporary, path) == 0 { return }
    // A file system without links: look, then move.
    guard errno == EPERM || errno == EOPNOTSUPP else { return try check(-1) }
    guard unsafe access(path, F_OK) != 0 else { throw .alreadyExists(path: path) }
    try check(unsafe rename(temporary, path))
    temporaryPath = nil
  }

  private func linkAnonymous(to name: String) -> Int32 {
    unsafe linkat(AT_FDCWD, Self.link(to: descriptor), AT_FDCWD, name, AT_SYMLINK_FOLLOW)
  }

  private func check(_ result: Int32) throws(GGUFError) {
    guard result != 0 else { return }
    let code = errno
    throw code == EEXIST ? .alreadyExists(path: path) : .cannotWrite(path: path, errno: code)
  }

  private var availableBytes: Int? {
    var status = statvfs()
    guard unsafe fstatvfs(descriptor, &status) == 0 else { return nil }
    let (bytes, overflow) = Int(clamping: status.f_bavail)
      .multipliedReportingOverflow(by: Int(clamping: status.f_frsize))
    return overflow ? nil : bytes
  }

  // MARK: Opening

  private static func checkPlace(_ path: String, replacing: Bool) throws(GGUFError) {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return }
    guard replacing else { throw .alreadyExists(path: path) }
    let isRegular = unsafe stat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG
    guard isRegular else { throw .notARegularFile(path: path) }
  }

  private static func open(
    _ path: String, isNamed: Bool, mode: mode_t
  ) throws(GGUFError) -> (descriptor: Int32, temporaryPath: String?) {
    if !isNamed, let descriptor = openAnonymous(in: directory(of: path), mode: mode) {
      return (descriptor, nil)
    }
    while true {
      let name = temporaryName(for: path)
      let descriptor = unsafe Glibc::open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
      if descriptor >= 0 { return (descriptor, name) }
      guard errno == EEXIST else { throw .cannotWrite(path: path, errno: errno) }
    }
  }

  /// A file without a name, or nil where that is not possible.
  private static func openAnonymous(in directory: String, mode: mode_t) -> Int32? {
    let temporaryFile = O_DIRECTORY | 0o20_000_000  // O_TMPFILE, which Glibc's module leaves out
    let descriptor = unsafe Glibc::open(directory, O_WRONLY | O_CLOEXEC | temporaryFile, mode)
    guard descriptor >= 0 else { return nil }
    // It gets its name through /proc.
    guard unsafe access(link(to: descriptor), F_OK) == 0 else {
      close(descriptor)
      return nil
    }
    return descriptor
  }

  private static func temporaryName(for path: String) -> String {
    "\(path).partial-\(String(UInt64.random(in: .min ... .max), radix: 36))"
  }

  private static func link(to descriptor: Int32) -> String { "/proc/self/fd/\(descriptor)" }

  private static func directory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}

/// Writes all of `bytes`, at the end or from an offset on, and returns 0, or the error number.
private func writeAll(
  _ bytes: UnsafeRawBufferPointer, to descriptor: Int32, from offset: Int? = nil
) -> Int32 {
  var written = 0
  while written < bytes.count {
    let start = unsafe bytes.baseAddress?.advanced(by: written)
    let rest = bytes.count - written
    let step =
      if let offset {
        unsafe pwrite(descriptor, start, rest, offset + written)
      } else {
        unsafe write(descriptor, start, rest)
      }
    if step < 0 && errno == EINTR { continue }
    guard step > 0 else { return step < 0 ? errno : EIO }
    written += step
  }
  return 0
}

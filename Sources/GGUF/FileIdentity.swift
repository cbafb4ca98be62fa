internal import Glibc

/// What tells a file, and a state of it, from all others of this host without reading it.
///
/// The system sets the time of the last change whenever bytes, name or rights change, and no program
/// can set it back.
package struct FileIdentity: Equatable, Sendable {
  package let device: UInt64
  package let inode: UInt64
  package let sizeBytes: Int
  /// When the bytes were written last, in nanoseconds since 1970; programs can set it.
  package let modified: Int
  /// When the file was changed last, in nanoseconds since 1970.
  package let changed: Int

  init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    sizeBytes = Int(status.st_size)
    modified = Self.nanoseconds(status.st_mtim)
    changed = Self.nanoseconds(status.st_ctim)
  }

  private static func nanoseconds(_ time: timespec) -> Int {
    // Wraps for years after 2262, which only makes the number a different one.
    Int(time.tv_sec) &* 1_000_000_000 &+ Int(time.tv_nsec)
  }
}

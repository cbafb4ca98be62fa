internal import Glibc

/// A lock that one process of this host holds at a time; the system releases it when the process ends.
struct FileLock: ~Copyable {
  private let descriptor: Int32

  /// Waits at most `limit` seconds. The empty file `path` stays: removing it could give two processes
  /// a lock each.
  init(path: String, limit: Int) throws(WeightCacheError) {
    let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw .cannotRead(path: path, errno: errno) }
    // The lock is asked for again and again, because only a signal could end a wait for it.
    let turns = limit * 20
    for turn in 0...turns {
      if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
        self.descriptor = descriptor
        return
      }
      let code = errno
      guard code == EWOULDBLOCK || code == EINTR else {
        close(descriptor)
        throw .cannotRead(path: path, errno: code)
      }
      if turn < turns { usleep(50_000) }
    }
    close(descriptor)
    throw .busy(path: path, seconds: limit)
  }

  deinit { close(descriptor) }

  /// Lets the others in.
  consuming func release() {}
}

internal import Glibc

/// A file of this user mapped read-only, its pages shared with all processes that map it.
///
/// Whoever shortens the file while it is mapped ends the process that reads it; those who replace it
/// give the new file the old one's name.
// unchecked: the memory is read-only and stays mapped as long as this object lives.
@safe final class MappedFile: @unchecked Sendable {
  let path: String
  let sizeBytes: Int
  private let base: UnsafeMutableRawPointer

  init(path: String) throws(WeightCacheError) {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .cannotRead(path: path, errno: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw .cannotRead(path: path, errno: errno)
    }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notARegularFile(path: path) }
    guard status.st_uid == geteuid() || status.st_uid == 0, status.st_mode & 0o022 == 0 else {
      throw .untrusted(path: path, owner: status.st_uid, mode: status.st_mode & 0o7777)
    }
    let size = Int(status.st_size)
    guard size > 0 else { throw .wrongSize(path: path, sizeBytes: 0, expected: 1) }
    let address = unsafe mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0)
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw .cannotRead(path: path, errno: errno)
    }
    // File systems that know large pages give them; for the others it means nothing.
    _ = unsafe madvise(address, size, MADV_HUGEPAGE)
    unsafe base = address
    sizeBytes = size
    self.path = path
  }

  deinit { unsafe munmap(base, sizeBytes) }

  /// A copy of some bytes.
  func bytes(_ range: Range<Int>) -> [UInt8] {
    let view = view(range)
    return view.withSpan { span in (0..<span.count).map { span[$0] } }
  }

  /// Some bytes in place, only to be read; valid as long as this object lives.
  func view(_ range: Range<Int>) -> MemoryView<UInt8> {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= sizeBytes, "bytes \(range) of \(sizeBytes)")
    return unsafe MemoryView(
      base: base.assumingMemoryBound(to: UInt8.self) + range.lowerBound, count: range.count)
  }
}

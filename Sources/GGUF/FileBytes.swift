import Glibc

#if _endian(big)
  #error("GGUF files are read in place, which needs a little-endian machine")
#endif

/// The bytes of a file, mapped or copied, with bounds-checked access. All unsafe memory of this
/// module but the hash lives here.
// unchecked: the memory is written before `init` returns and never again, upheld by this file.
@safe final class FileBytes: @unchecked Sendable {
  private let base: UnsafeRawBufferPointer
  private let isMapped: Bool
  /// Of a mapped file, when it was opened.
  let identity: FileIdentity?

  var count: Int { unsafe base.count }

  /// Maps the file at `path` read-only.
  init(path: String) throws(GGUFError) {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw .cannotRead(path: path, errno: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw .cannotRead(path: path, errno: errno)
    }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notARegularFile(path: path) }
    let size = Int(status.st_size)
    guard size > 0 else {
      throw .truncated(reading: "the magic number", offset: 0, needed: 4, available: 0)
    }
    let address = unsafe mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw .cannotRead(path: path, errno: errno)
    }
    unsafe base = UnsafeRawBufferPointer(start: address, count: size)
    isMapped = true
    identity = FileIdentity(status)
  }

  /// Copies `bytes`, aligned as a mapped file would be for any sensible `general.alignment`.
  init(copying bytes: [UInt8]) {
    let copy = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(bytes.count, 1), alignment: 4096)
    unsafe copy.copyBytes(from: bytes)
    unsafe base = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(copy)[..<bytes.count])
    isMapped = false
    identity = nil
  }

  deinit {
    if isMapped {
      unsafe munmap(UnsafeMutableRawPointer(mutating: base.baseAddress), base.count)
    } else {
      unsafe base.deallocate()
    }
  }

  /// The value at `offset`, which need not be aligned.
  func value<Value: BitwiseCopyable>(at offset: Int, as type: Value.Type) -> Value {
    check(offset, MemoryLayout<Value>.size)
    return unsafe base.loadUnaligned(fromByteOffset: offset, as: type)
  }

  /// `count` consecutive values from `offset`.
  func values<Value: BitwiseCopyable>(
    at offset: Int, count: Int, as type: Value.Type
  ) -> [Value] {
    let byteCount = count * MemoryLayout<Value>.stride
    check(offset, byteCount)
    return unsafe [Value](unsafeUninitializedCapacity: count) { buffer, initialized in
      unsafe UnsafeMutableRawBufferPointer(buffer).copyMemory(
        from: UnsafeRawBufferPointer(rebasing: base[offset..<offset + byteCount]))
      initialized = count
    }
  }

  /// The text in `range`; nil where it is not valid UTF-8.
  func text(in range: Range<Int>) -> String? {
    check(range.lowerBound, range.count)
    return unsafe String(validating: UnsafeRawBufferPointer(rebasing: base[range]), as: UTF8.self)
  }

  /// Lends the bytes in `range`.
  func withBytes<Result, Failure: Error>(
    in range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    check(range.lowerBound, range.count)
    return try unsafe body(UnsafeRawBufferPointer(rebasing: base[range]))
  }

  /// Asks the system to start reading a mapped file. Only a hint, so failure means nothing.
  func adviseWillNeed() {
    guard isMapped else { return }
    _ = unsafe madvise(
      UnsafeMutableRawPointer(mutating: base.baseAddress), base.count, Int32(MADV_WILLNEED))
  }

  /// Tells the system that the pages that lie wholly in `range` are not needed; whoever reads
  /// them reads the file again. Only a hint, so failure means nothing.
  func adviseUnneeded(_ range: Range<Int>) {
    check(range.lowerBound, range.count)
    let page = Int(getpagesize())
    let first = (range.lowerBound + page - 1) / page * page
    let end = range.upperBound / page * page
    guard isMapped, first < end, let start = unsafe base.baseAddress else { return }
    _ = unsafe madvise(
      UnsafeMutableRawPointer(mutating: start + first), end - first, Int32(MADV_DONTNEED))
  }

  private func check(_ offset: Int, _ byteCount: Int) {
    precondition(
      offset >= 0 && byteCount >= 0 && offset <= count && byteCount <= count - offset,
      "\(byteCount) bytes at \(offset) of \(count)")
  }
}

/// The system's words for an error number.
func errorText(_ code: Int32) -> String {
  // safe: strerror returns a terminated string, copied here before anyone else can ask.
  unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
}

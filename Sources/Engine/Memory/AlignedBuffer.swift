#if canImport(Glibc)
  import Glibc
#endif

/// Zeroed memory aligned to cache lines, freed with its owner.
///
/// Pages are not touched before they are used, so capacity costs address space only.
// The forward pass decides who writes where: its workers write disjoint ranges between barriers.
// unchecked: the pointer never changes, and the range's owner writes alone, upheld by ForwardPass.
@safe final class AlignedBuffer: @unchecked Sendable {
  private let base: UnsafeMutableRawPointer
  let sizeBytes: Int

  init(sizeBytes: Int, for what: String) throws(EngineError) {
    self.sizeBytes = max(sizeBytes, 64)
    let mapped = unsafe mmap(
      nil, self.sizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
      0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
      throw .outOfMemory(what: what, sizeBytes: sizeBytes)
    }
    unsafe base = mapped
  }

  deinit { unsafe munmap(base, sizeBytes) }

  /// Bytes of memory that this machine has.
  static var physicalBytes: Int { sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE)) }

  /// Asks for large pages: fewer address translations while streaming through weights.
  func adviseHugePages() { unsafe madvise(base, sizeBytes, MADV_HUGEPAGE) }

  /// The whole buffer as elements of a plain type.
  func view<Element: BitwiseCopyable>(as type: Element.Type) -> MemoryView<Element> {
    unsafe MemoryView(
      base: base.assumingMemoryBound(to: type),
      count: sizeBytes / MemoryLayout<Element>.stride)
  }
}

/// Memory that views point into, kept as long as this value or a copy of it.
///
/// Views, and what consists of them, are copied without counting references: workers that count
/// those of the same object by turns wait for each other's caches.
struct OwnedMemory: Sendable {
  /// Address space that is asked for at a time for weights; pages come with their first use.
  private static let weightChunkBytes = 256 << 20
  private static let largePageBytes = 2 << 20

  private var buffers: [AlignedBuffer] = []
  /// What is left of the last chunk for weights.
  private var weightChunk: MemoryView<UInt8>?

  /// Zeroed room for `count` elements.
  /// - Throws: ``EngineError/outOfMemory(what:sizeBytes:)`` with `what`.
  mutating func room<Element: BitwiseCopyable>(
    _ type: Element.Type, _ count: Int, for what: String
  ) throws(EngineError) -> MemoryView<Element> {
    let buffer = try AlignedBuffer(sizeBytes: count * MemoryLayout<Element>.stride, for: what)
    buffers.append(buffer)
    return buffer.view(as: type).range(0, count)
  }

  /// Zeroed room for the panels of one matrix, which are whole cache lines, behind those of the one
  /// before: matrices smaller than a large page share it, and what is asked for past the end of one is
  /// the beginning of the next.
  /// - Throws: ``EngineError/outOfMemory(what:sizeBytes:)``.
  mutating func weightRoom(_ sizeBytes: Int) throws(EngineError) -> MemoryView<UInt8> {
    precondition(sizeBytes >= 0 && sizeBytes.isMultiple(of: 64), "\(sizeBytes) bytes")
    if let chunk = weightChunk, chunk.count >= sizeBytes {
      weightChunk = chunk.range(sizeBytes, chunk.count - sizeBytes)
      return chunk.range(0, sizeBytes)
    }
    let size = max(sizeBytes, Self.weightChunkBytes)
    let buffer = try AlignedBuffer(sizeBytes: size + Self.largePageBytes, for: "weights")
    buffer.adviseHugePages()
    buffers.append(buffer)
    let all = buffer.view(as: UInt8.self)
    let past = unsafe Int(bitPattern: all.base) % Self.largePageBytes
    let chunk = all.range(past == 0 ? 0 : Self.largePageBytes - past, size)
    weightChunk = chunk.range(sizeBytes, size - sizeBytes)
    return chunk.range(0, sizeBytes)
  }
}

/// A range of an ``AlignedBuffer`` whose bounds are checked when it is taken and on each access.
///
/// Whoever hands out views keeps the buffer longer than these are used.
// unchecked: see AlignedBuffer.
@safe struct MemoryView<Element: BitwiseCopyable>: @unchecked Sendable {
  let base: UnsafeMutablePointer<Element>
  let count: Int
  var isEmpty: Bool { count == 0 }

  subscript(index: Int) -> Element {
    get {
      precondition(index >= 0 && index < count, "element \(index) of \(count)")
      return unsafe base[index]
    }
    nonmutating set {
      precondition(index >= 0 && index < count, "element \(index) of \(count)")
      unsafe base[index] = newValue
    }
  }

  /// The `count` elements from `start` on.
  func range(_ start: Int, _ count: Int) -> MemoryView {
    precondition(
      start >= 0 && count >= 0 && start <= self.count - count,
      "elements \(start) to \(start + count) of \(self.count)")
    return unsafe MemoryView(base: base + start, count: count)
  }

  /// The elements as a span, for readers outside the engine.
  func withSpan<Result>(_ body: (Span<Element>) -> Result) -> Result {
    let buffer = unsafe UnsafeBufferPointer(start: base, count: count)
    return unsafe body(buffer.span)
  }

  func copy(from source: MemoryView) {
    precondition(source.count == count, "copying \(source.count) elements to \(count)")
    unsafe base.update(from: source.base, count: count)
  }
}

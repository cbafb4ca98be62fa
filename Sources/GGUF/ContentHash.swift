import CSodium

/// BLAKE2b with 32 bytes of output, fed piece by piece.
///
/// - SeeAlso: Aumasson and Saarinen 2015, RFC 7693.
@safe package struct ContentHash: ~Copyable {
  private static let byteCount = 32

  // The C type is aligned beyond what Swift imports, so its memory is our own.
  private let memory: UnsafeMutableRawPointer
  private var state: OpaquePointer { unsafe OpaquePointer(memory) }

  /// The hash of nothing, to be added to.
  package init() {
    precondition(sodium_init() >= 0, "libsodium cannot be initialised")
    unsafe memory = UnsafeMutableRawPointer.allocate(
      byteCount: crypto_generichash_statebytes(), alignment: 64)
    let code = unsafe crypto_generichash_init(state, nil, 0, Self.byteCount)
    precondition(code == 0, "crypto_generichash_init returned \(code)")
  }

  deinit { unsafe memory.deallocate() }

  /// Adds bytes. How they are cut into calls makes no difference.
  package mutating func update(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { buffer in unsafe update(buffer) }
  }

  /// Adds a number as eight bytes, little-endian.
  package mutating func update(_ number: Int) {
    update((0..<8).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) })
  }

  /// Adds a text, preceded by its length so that neighbours cannot be confused.
  package mutating func update(_ text: String) {
    update(text.utf8.count)
    update(Array(text.utf8))
  }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    guard let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
    let code = unsafe crypto_generichash_update(state, start, UInt64(bytes.count))
    precondition(code == 0, "crypto_generichash_update returned \(code)")
  }

  /// The hash of all that was added.
  package consuming func finish() -> [UInt8] {
    var output = [UInt8](repeating: 0, count: Self.byteCount)
    let code = unsafe crypto_generichash_final(state, &output, Self.byteCount)
    precondition(code == 0, "crypto_generichash_final returned \(code)")
    return output
  }
}

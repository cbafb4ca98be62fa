import CWire
import InferenceTypes

/// Copies of what protobuf-c decoded. The pointers come from one unpacked frame, whose memory is
/// bounded by ``Limits/decodingMemoryBytesMax``, and are not kept.
enum Reading {
  static func bytes(_ data: ProtobufCBinaryData) -> [UInt8] {
    // safe: protobuf-c allocated `len` bytes at `data`, or none for an empty field.
    unsafe [UInt8](UnsafeBufferPointer(start: data.data, count: data.len))
  }

  static func text(_ data: ProtobufCBinaryData, _ field: String) throws(WireError) -> String {
    let raw = unsafe bytes(data)
    guard !raw.contains(0), let text = String(validating: raw, as: UTF8.self) else {
      throw .invalidText(field: field)
    }
    return text
  }

  static func words<Word: RawRepresentable<UInt32>>(
    _ start: UnsafeMutablePointer<UInt32>?, _ count: Int, as make: (UInt32) -> Word
  ) -> [Word] {
    // safe: protobuf-c keeps `count` elements at `start`, or none for an empty field.
    unsafe UnsafeBufferPointer(start: start, count: count).map { make($0) }
  }

  static func counts(_ start: UnsafeMutablePointer<UInt32>?, _ count: Int) -> [Int] {
    // safe: as in `words`.
    unsafe UnsafeBufferPointer(start: start, count: count).map { Int($0) }
  }

  /// Sums saturate: nothing counts that far.
  static func totals(_ start: UnsafeMutablePointer<UInt64>?, _ count: Int) -> [Int] {
    // safe: as in `words`.
    unsafe UnsafeBufferPointer(start: start, count: count).map { Int(clamping: $0) }
  }

  static func doubles(_ start: UnsafeMutablePointer<Double>?, _ count: Int) -> [Double] {
    // safe: as in `words`.
    unsafe Array(UnsafeBufferPointer(start: start, count: count))
  }

  /// A number that travels with a flag, and as 0 without.
  static func optional(
    _ value: Double, isThere: Bool, _ field: String
  ) throws(WireError) -> Double? {
    guard !isThere else { return value }
    guard value == 0 else { throw .invalidNumber(field: field, value: Float(value)) }
    return nil
  }

  static func fingerprint(
    _ data: ProtobufCBinaryData, _ field: String
  ) throws(WireError) -> Fingerprint {
    guard let fingerprint = unsafe Fingerprint(bytes: bytes(data)) else {
      throw .lengthMismatch(field: field, count: unsafe data.len, expected: Fingerprint.byteCount)
    }
    return fingerprint
  }

  static func tenant(
    _ data: ProtobufCBinaryData, _ field: String
  ) throws(WireError) -> TenantID? {
    let raw = unsafe bytes(data)
    guard !raw.isEmpty else { return nil }
    guard raw.count == TenantID.byteCount else {
      throw .lengthMismatch(field: field, count: raw.count, expected: TenantID.byteCount)
    }
    // Zeros mean nobody.
    guard let tenant = TenantID(bytes: raw) else { throw .missing(field: field) }
    return tenant
  }
}

/// Numbers as little-endian bytes, four each.
enum PackedWords {
  static func bytes(_ words: some Sequence<UInt32>) -> [UInt8] {
    var bytes: [UInt8] = []
    for word in words {
      for shift in stride(from: UInt32(0), to: 32, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: word >> shift))
      }
    }
    return bytes
  }

  static func words(_ bytes: [UInt8], _ field: String) throws(WireError) -> [UInt32] {
    guard bytes.count.isMultiple(of: 4) else {
      throw .lengthMismatch(field: field, count: bytes.count, expected: bytes.count / 4 * 4)
    }
    return stride(from: 0, to: bytes.count, by: 4).map { start in
      bytes[start..<start + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    }
  }
}

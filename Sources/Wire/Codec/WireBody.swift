/// A message, or a part of one, that has a C struct of protobuf-c.
protocol WireBody {
  associatedtype Raw

  /// Checks what the types alone do not guarantee. Holds for every value that is encoded or has
  /// been decoded.
  func validate() throws(WireError)

  /// Only for values that ``validate()`` accepts. What the struct points to lives in `scratch`.
  func raw(in scratch: inout FrameScratch) -> Raw

  /// Copies; the caller validates.
  init(raw: Raw) throws(WireError)
}

extension WireBody {
  /// Reads a part that may be absent on the wire but not in the value.
  ///
  /// - Throws: ``WireError/missing(field:)`` where `pointer` is null.
  static func read(
    _ pointer: UnsafeMutablePointer<Raw>?, _ field: String
  ) throws(WireError) -> Self {
    guard let pointer = unsafe pointer else { throw .missing(field: field) }
    // safe: protobuf-c set the pointer to an initialised struct of this type.
    return unsafe try Self(raw: pointer.pointee)
  }
}

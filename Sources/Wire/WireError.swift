/// Why a frame could not be decoded or a message could not be encoded.
///
/// Fields are named as `Message.field`, after the schema in `Protos/`.
package enum WireError: Error, Equatable, Sendable {
  case frameTooLarge(sizeBytes: Int, limit: Int)
  /// Not an envelope, or one that would take more than ``Limits/decodingMemoryBytesMax``.
  case malformed(sizeBytes: Int)
  case versionMismatch(received: UInt32, supported: UInt32)
  /// The body has a field number that this version does not know; 0 where there is no body.
  case unknownMessage(type: UInt32)
  /// The message needs a session and has none, or belongs to no session and has one.
  case wrongSession(message: String, SessionScope)
  case missing(field: String)
  /// A number, or the count of elements or bytes of a field; clamped to what `Int` holds.
  case outOfRange(field: String, value: Int, allowed: ClosedRange<Int>)
  /// Not a number, infinite, or outside what the field means.
  case invalidNumber(field: String, value: Float)
  /// Not UTF-8, or a character that the field does not allow.
  case invalidText(field: String)
  /// A code without a meaning in this version.
  case unknownValue(field: String, value: UInt32)
  case lengthMismatch(field: String, count: Int, expected: Int)
  /// The element at `index` does not come after the one before it.
  case notAscending(field: String, index: Int)
}

/// Whether a message belongs to a session.
package enum SessionScope: Sendable, Equatable {
  case needed
  case forbidden
}

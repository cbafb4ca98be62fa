/// Why the bytes of a draft store cannot be used.
package enum StoreError: Error, Equatable, Sendable {
  /// The bytes do not begin like a draft store.
  case notAStore
  case otherVersion(found: UInt32, supported: UInt32)
  /// The bytes end within this part.
  case truncated(part: String, needed: Int, available: Int)
  case checksumMismatch(part: String)
  case otherModel(found: [UInt8], expected: [UInt8])
  case otherTokenizer(found: [UInt8], expected: [UInt8])
  case otherVocabulary(found: Int, expected: Int)
  /// A section as another version of this program writes it.
  case otherLayout(part: String, found: UInt32, expected: UInt32)
  case tooLarge(sizeBytes: Int, limit: Int)
  case outOfRange(field: String, value: UInt64, allowed: ClosedRange<Int>)
  case invalidNumber(field: String, value: Float)
  /// Entries that must rise, fall or differ do not.
  case notInOrder(field: String)
  case trailingBytes(part: String, count: Int)
}

extension StoreError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .notAStore: "it is not a draft store: it does not begin with SLPDRAFT"
    case .otherVersion(let found, let supported):
      "it has format version \(found); this program reads version \(supported)"
    case .truncated(let part, let needed, let available):
      "it ends in its \(part): \(needed) bytes needed, \(available) left"
    case .checksumMismatch(let part): "the checksum of its \(part) is wrong: the file is damaged"
    case .otherModel(let found, let expected):
      "it was learned from model \(Self.hex(found)), expected \(Self.hex(expected))"
    case .otherTokenizer(let found, let expected):
      "its token ids are those of tokenizer \(Self.hex(found)), expected \(Self.hex(expected))"
    case .otherVocabulary(let found, let expected):
      "it has a vocabulary of \(found) tokens, expected \(expected)"
    case .otherLayout(let part, let found, let expected):
      "its \(part) has layout \(found); this program reads layout \(expected)"
    case .tooLarge(let sizeBytes, let limit):
      "it has \(sizeBytes) bytes; \(limit) are allowed"
    case .outOfRange(let field, let value, let allowed):
      "\(field) is \(value), expected \(allowed.lowerBound) to \(allowed.upperBound)"
    case .invalidNumber(let field, let value): "\(field) is \(value), which it cannot be"
    case .notInOrder(let field): "\(field) are not in order, or not different"
    case .trailingBytes(let part, let count): "\(count) bytes follow the end of its \(part)"
    }
  }

  /// The first bytes of a fingerprint: enough to tell two apart.
  private static func hex(_ bytes: [UInt8]) -> String {
    bytes.prefix(8).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "…"
  }
}

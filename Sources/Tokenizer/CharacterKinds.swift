/// What the splitting rules tell apart, as a set: `\p{L}` is ``letter``, `\p{N}` is ``number``, and
/// so on. Each character has one kind.
struct CharacterKinds: OptionSet, Sendable {
  let rawValue: UInt16

  /// `[\p{Lu}\p{Lt}]`
  static let uppercase = CharacterKinds(rawValue: 1)
  /// `\p{Ll}`
  static let lowercase = CharacterKinds(rawValue: 2)
  /// `[\p{Lm}\p{Lo}]`
  static let uncased = CharacterKinds(rawValue: 4)
  /// `\p{M}`
  static let mark = CharacterKinds(rawValue: 8)
  /// `\p{N}`
  static let number = CharacterKinds(rawValue: 16)
  /// `\s`
  static let space = CharacterKinds(rawValue: 32)
  /// `\p{P}`
  static let punctuation = CharacterKinds(rawValue: 64)
  /// `\p{S}`
  static let symbol = CharacterKinds(rawValue: 128)
  /// The rest, and bytes that are not UTF-8.
  static let other = CharacterKinds(rawValue: 256)

  /// `\p{L}`
  static let letter: CharacterKinds = [.uppercase, .lowercase, .uncased]
  /// `[^\s\p{L}\p{N}]`
  static let sign: CharacterKinds = [.mark, .punctuation, .symbol, .other]

  @inline(__always)
  init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The kind of an ASCII character.
  @inline(__always)
  init(ascii byte: UInt8) {
    switch byte {
    case 0x61...0x7A: self = .lowercase
    case 0x41...0x5A: self = .uppercase
    case 0x30...0x39: self = .number
    case 0x09...0x0D, 0x20: self = .space
    // $ + < = > ^ ` | ~
    case 0x24, 0x2B, 0x3C...0x3E, 0x5E, 0x60, 0x7C, 0x7E: self = .symbol
    case 0x21...0x7D: self = .punctuation
    default: self = .other
    }
  }

  /// The kind of any character.
  init(_ scalar: Unicode.Scalar) {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .titlecaseLetter: self = .uppercase
    case .lowercaseLetter: self = .lowercase
    case .modifierLetter, .otherLetter: self = .uncased
    case .decimalNumber, .letterNumber, .otherNumber: self = .number
    case .nonspacingMark, .spacingMark, .enclosingMark: self = .mark
    case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
      .initialPunctuation, .finalPunctuation, .otherPunctuation:
      self = .punctuation
    case .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol: self = .symbol
    default: self = scalar.properties.isWhitespace ? .space : .other
    }
  }
}

/// One character of a byte string. A byte that is no part of valid UTF-8 is a character of its own.
struct ScannedCharacter {
  /// One kind.
  var kind: CharacterKinds
  /// In bytes.
  var length: Int

  /// The character at `index`, or nil at the end of `bytes`.
  @inline(__always)
  init?(in bytes: Span<UInt8>, at index: Int) {
    guard index < bytes.count else { return nil }
    let byte = bytes[index]
    length = 1
    if byte < 0x80 {
      kind = CharacterKinds(ascii: byte)
    } else if let (scalar, length) = multibyteScalar(in: bytes, at: index) {
      kind = CharacterKinds(scalar)
      self.length = length
    } else {
      kind = .other
    }
  }
}

/// The scalar at `index`, which is less than `bytes.count`, and its length in bytes; nil and 1 where
/// the bytes are not UTF-8.
@inline(__always)
func scalar(in bytes: Span<UInt8>, at index: Int) -> (value: UInt32?, length: Int) {
  let byte = bytes[index]
  if byte < 0x80 { return (UInt32(byte), 1) }
  guard let (scalar, length) = multibyteScalar(in: bytes, at: index) else { return (nil, 1) }
  return (scalar.value, length)
}

/// The scalar outside of ASCII at `index` and its length in bytes; nil where the bytes are not UTF-8.
private func multibyteScalar(
  in bytes: Span<UInt8>, at index: Int
) -> (scalar: Unicode.Scalar, length: Int)? {
  let first = bytes[index]
  let length = utf8SequenceLength(first: first)
  guard length > 1, bytes.count - index >= length,
    isUTF8SecondByte(bytes[index + 1], after: first)
  else { return nil }
  var value = UInt32(first & (0x7F >> UInt8(length)))
  for offset in 1..<length {
    let byte = bytes[index + offset]
    guard byte & 0xC0 == 0x80 else { return nil }
    value = value << 6 | UInt32(byte & 0x3F)
  }
  return Unicode.Scalar(value).map { ($0, length) }
}

/// Number of bytes of the UTF-8 sequence that starts with `first`; 0 where none can.
func utf8SequenceLength(first: UInt8) -> Int {
  switch first {
  case 0x00...0x7F: 1
  case 0xC2...0xDF: 2
  case 0xE0...0xEF: 3
  case 0xF0...0xF4: 4
  default: 0
  }
}

/// Whether `byte` may follow `first` in UTF-8: this is what excludes overlong forms, surrogates and
/// values beyond U+10FFFF. Later bytes only need to be continuations.
func isUTF8SecondByte(_ byte: UInt8, after first: UInt8) -> Bool {
  switch first {
  case 0xE0: (0xA0...0xBF).contains(byte)
  case 0xED: (0x80...0x9F).contains(byte)
  case 0xF0: (0x90...0xBF).contains(byte)
  case 0xF4: (0x80...0x8F).contains(byte)
  default: (0x80...0xBF).contains(byte)
  }
}

/// What the splitting rules tell apart: `\p{L}`, `\p{N}`, `\s` and the rest.
enum CharacterClass {
  case letter
  case number
  case space
  case other

  /// The class of an ASCII character.
  @inline(__always)
  init(ascii byte: UInt8) {
    switch byte {
    case 0x41...0x5A, 0x61...0x7A: self = .letter
    case 0x30...0x39: self = .number
    case 0x09...0x0D, 0x20: self = .space
    default: self = .other
    }
  }

  init(_ scalar: Unicode.Scalar) {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
      self = .letter
    case .decimalNumber, .letterNumber, .otherNumber: self = .number
    default: self = scalar.properties.isWhitespace ? .space : .other
    }
  }
}

/// One character of a byte string. A byte that is no part of valid UTF-8 is a character of its own.
struct ScannedCharacter {
  var characterClass: CharacterClass
  /// In bytes.
  var length: Int

  /// The character at `index`, or nil at the end of `bytes`.
  @inline(__always)
  init?(in bytes: Span<UInt8>, at index: Int) {
    guard index < bytes.count else { return nil }
    characterClass = CharacterClass(ascii: bytes[index])
    length = 1
    if bytes[index] >= 0x80, let (scalar, length) = multibyteScalar(in: bytes, at: index) {
      characterClass = CharacterClass(scalar)
      self.length = length
    }
  }
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

/// The splitting rules that descend from cl100k, which differ in few places.
///
/// With `L` for the letters of a word and contractions in front, they are
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?L+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*`
/// `|\s*[\r\n]+|\s+(?!\S)|\s+`.
struct WordRule: Sendable {
  /// What a word is made of.
  enum Letters {
    /// `\p{L}+`
    case plain
    /// `[\p{L}\p{M}]+`; a sign is then `[^\s\p{L}\p{M}\p{N}]`.
    case withMarks
    /// `U*D+` or else `U+D*`, where U is `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and D is
    /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: a new word begins where a capital follows a small letter.
    case cased
  }

  /// Where `'s` and the like belong.
  enum Contractions {
    /// To nothing: they are words.
    case leading
    /// To the word in front.
    case trailing
    /// They are nothing special.
    case none
  }

  /// What follows a run of signs as part of it.
  enum SignTail {
    case none
    /// `[\r\n]*`
    case newlines
    /// `[\r\n/]*`
    case newlinesAndSlashes
  }

  var letters = Letters.plain
  var contractions = Contractions.leading
  /// Most digits of a number.
  var digitsMax = 3
  var signTail = SignTail.newlines

  /// The end of the word at `start`, which is less than `bytes.count`.
  func wordEnd(in bytes: Span<UInt8>, from start: Int) -> Int {
    if contractions == .leading, let end = contractionEnd(bytes, start, ignoresCase: true) {
      return end
    }
    guard let first = ScannedCharacter(in: bytes, at: start) else { return start }
    if let end = lettersEnd(bytes, start, first) {
      guard contractions == .trailing, end < bytes.count else { return end }
      return contractionEnd(bytes, end, ignoresCase: true) ?? end
    }
    if first.kind == .number {
      return runEnd(bytes, start, .number, countMax: digitsMax)
    }
    let signs: CharacterKinds = letters == .withMarks ? .sign.subtracting(.mark) : .sign
    let signStart = bytes[start] == UInt8(ascii: " ") ? start + 1 : start
    let signEnd = runEnd(bytes, signStart, signs)
    if signEnd > signStart { return tailEnd(bytes, signEnd) }
    return lastNewlineEnd(bytes, start) ?? spacesEnd(bytes, start, digitsEndText: false)
  }

  /// The end of `[^\r\n\p{L}\p{N}]?L+` at `start`, if it is there.
  private func lettersEnd(
    _ bytes: Span<UInt8>, _ start: Int, _ first: ScannedCharacter
  ) -> Int? {
    let isPrefix =
      CharacterKinds.letter.union(.number).isDisjoint(with: first.kind) && !isNewline(bytes[start])
    let wordStart = isPrefix ? start + first.length : start
    let end: Int
    switch letters {
    case .plain: end = runEnd(bytes, wordStart, .letter)
    case .withMarks: end = runEnd(bytes, wordStart, .letter.union(.mark))
    case .cased: return casedEnd(bytes, start, wordStart)
    }
    if end > wordStart { return end }
    // A mark on its own is no prefix but the word.
    return letters == .withMarks && first.kind == .mark ? wordStart : nil
  }

  /// The end of the word at `start`, whose letters begin at `wordStart` unless the prefix, a mark,
  /// is needed as a letter.
  private func casedEnd(_ bytes: Span<UInt8>, _ start: Int, _ wordStart: Int) -> Int? {
    if let end = smallEnd(bytes, wordStart) { return end }
    if wordStart > start, let end = smallEnd(bytes, start) { return end }
    // No small letter follows the capitals, or the first rule would have taken it.
    let end = runEnd(bytes, wordStart, capitals)
    return end > wordStart ? end : nil
  }

  /// The end of `U*D+` at `start`, if it is there: where no small letter follows the capitals, the
  /// last letter that is both ends the word.
  private func smallEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int? {
    var end = start
    var bothEnd: Int?
    while let next = ScannedCharacter(in: bytes, at: end), capitals.contains(next.kind) {
      end += next.length
      if next.kind != .uppercase { bothEnd = end }
    }
    let small = runEnd(bytes, end, .lowercase.union(.uncased).union(.mark))
    return small > end ? small : bothEnd
  }

  private var capitals: CharacterKinds { [.uppercase, .uncased, .mark] }

  private func tailEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int {
    guard signTail != .none else { return start }
    var end = start
    while end < bytes.count,
      isNewline(bytes[end]) || signTail == .newlinesAndSlashes && bytes[end] == UInt8(ascii: "/")
    {
      end += 1
    }
    return end
  }
}

/// The end of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at `start`, if one is there. To ignore
/// case is to fold as Unicode does: a long s, U+017F, is an s then.
func contractionEnd(_ bytes: Span<UInt8>, _ start: Int, ignoresCase: Bool) -> Int? {
  guard bytes[start] == UInt8(ascii: "'"), start + 1 < bytes.count else { return nil }
  let caseBit: UInt8 = ignoresCase ? 0x20 : 0
  switch bytes[start + 1] | caseBit {
  case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
    return start + 2
  case let first:
    guard start + 2 < bytes.count else { return nil }
    if ignoresCase && bytes[start + 1] == 0xC5 && bytes[start + 2] == 0xBF { return start + 3 }
    switch (first, bytes[start + 2] | caseBit) {
    case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
      (UInt8(ascii: "l"), UInt8(ascii: "l")):
      return start + 3
    default: return nil
    }
  }
}

/// The end of the characters of `kinds` from `start` on, of which at most `countMax` are taken.
@inline(__always)
func runEnd(
  _ bytes: Span<UInt8>, _ start: Int, _ kinds: CharacterKinds, countMax: Int = .max
) -> Int {
  var end = start
  var count = 0
  while count < countMax, let next = ScannedCharacter(in: bytes, at: end), kinds.contains(next.kind)
  {
    end += next.length
    count += 1
  }
  return end
}

/// The end of `\s+(?!\S)|\s+`: all spaces from `start` on, but not the last of several in front of
/// a word, which belongs to that word.
func spacesEnd(_ bytes: Span<UInt8>, _ start: Int, digitsEndText: Bool) -> Int {
  var end = start
  var lastStart = start
  while let next = ScannedCharacter(in: bytes, at: end) {
    guard next.kind == .space else {
      let isAtTextEnd = digitsEndText && next.kind == .number
      return isAtTextEnd || lastStart == start ? end : lastStart
    }
    lastStart = end
    end += next.length
  }
  return end
}

/// The end of `\s*[\r\n]+`: behind the last line break among the spaces from `start` on.
func lastNewlineEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int? {
  var end = start
  var newlineEnd: Int?
  while let next = ScannedCharacter(in: bytes, at: end), next.kind == .space {
    if isNewline(bytes[end]) { newlineEnd = end + 1 }
    end += next.length
  }
  return newlineEnd
}

func isNewline(_ byte: UInt8) -> Bool { byte == 0x0A || byte == 0x0D }

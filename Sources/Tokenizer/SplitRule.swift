/// One regular expression of a chain: its matches are words, and so is what lies between them. The
/// next rule of the chain splits each of these words again.
enum SplitRule: Sendable {
  /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
  case gpt2
  /// First `\p{N}`, then ``gpt2`` on what lies between: the two in one pass.
  case gpt2WithoutDigits
  /// Every character belongs to a match.
  case words(WordRule)
  /// `\p{N}{1,n}`
  case digits(countMax: Int)
  /// `[0-9][0-9][0-9]`
  case threeASCIIDigits
  /// `[\r\n]`
  case newline
  /// A run of characters of these kinds, with or without a `\s?` in front.
  case kinds(CharacterKinds, takesSpace: Bool)
  /// A run of characters of a table, with or without a `\s?` in front.
  case ranges(ScalarRanges, takesSpace: Bool)
  /// `[\p{P}\$\+<=>\^~\|`]+`, whose symbols are those of ASCII.
  case falconSigns
  /// `\s+$`
  case trailingSpaces
  /// The last expression of DeepSeek V3, which does without numbers:
  /// ``[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+``
  /// `| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
  case deepSeekWords
  /// ` ?[^(\s|.,!?…。，、।۔،)]+`
  case bloomWords

  /// Appends the ends of the words of `bytes`, counted from `offset` bytes before it.
  ///
  /// - Complexity: O(bytes).
  func split(_ bytes: Span<UInt8>, offset: Int, into ends: inout [Int]) {
    var start = 0
    var gapStart = 0
    let trailingStart = trailingSpacesStart(bytes)
    while start < bytes.count {
      let end = start == trailingStart ? bytes.count : matchEnd(bytes, start)
      guard let end else {
        start += scalar(in: bytes, at: start).length
        continue
      }
      if gapStart < start { ends.append(offset + start) }
      ends.append(offset + end)
      start = end
      gapStart = end
    }
    if gapStart < bytes.count { ends.append(offset + bytes.count) }
  }

  /// Where `\s+$` matches; nil for other rules. Looking from each space would take quadratic time.
  private func trailingSpacesStart(_ bytes: Span<UInt8>) -> Int? {
    guard case .trailingSpaces = self else { return nil }
    var index = 0
    var spacesStart = 0
    while let next = ScannedCharacter(in: bytes, at: index) {
      index += next.length
      if next.kind != .space { spacesStart = index }
    }
    return spacesStart
  }

  /// The end of the match that starts at `start`, if one does.
  private func matchEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int? {
    let end: Int
    switch self {
    case .gpt2: return gpt2WordEnd(bytes, start, splitsDigits: false)
    case .gpt2WithoutDigits: return gpt2WordEnd(bytes, start, splitsDigits: true)
    case .words(let rule): return rule.wordEnd(in: bytes, from: start)
    case .digits(let countMax): end = runEnd(bytes, start, .number, countMax: countMax)
    case .threeASCIIDigits:
      guard start + 3 <= bytes.count else { return nil }
      for index in start..<start + 3 where !(0x30...0x39).contains(bytes[index]) { return nil }
      return start + 3
    case .newline: return isNewline(bytes[start]) ? start + 1 : nil
    case .kinds(let kinds, let takesSpace):
      if takesSpace, let next = spaceEnd(bytes, start) {
        let end = runEnd(bytes, next, kinds)
        if end > next { return end }
      }
      end = runEnd(bytes, start, kinds)
    case .ranges(let ranges, let takesSpace):
      if takesSpace, let next = spaceEnd(bytes, start) {
        let end = ranges.runEnd(in: bytes, from: next)
        if end > next { return end }
      }
      end = ranges.runEnd(in: bytes, from: start)
    case .falconSigns: end = falconSignsEnd(bytes, start)
    case .trailingSpaces: return nil
    case .deepSeekWords: return deepSeekWordEnd(bytes, start)
    case .bloomWords:
      let wordStart = bytes[start] == blank ? start + 1 : start
      end = bloomLettersEnd(bytes, wordStart)
      return end > wordStart ? end : nil
    }
    return end > start ? end : nil
  }
}

/// Ascending ranges of Unicode scalars.
struct ScalarRanges: Sendable {
  let ranges: [ClosedRange<UInt32>]

  /// The end of the characters of these ranges from `start` on.
  func runEnd(in bytes: Span<UInt8>, from start: Int) -> Int {
    var end = start
    while end < bytes.count {
      let (value, length) = scalar(in: bytes, at: end)
      guard let value, contains(value) else { break }
      end += length
    }
    return end
  }

  private func contains(_ value: UInt32) -> Bool {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound < value { low = middle + 1 } else { high = middle }
    }
    return low < ranges.count && ranges[low].contains(value)
  }
}

private let blank = UInt8(ascii: " ")

private func spaceEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int? {
  guard let first = ScannedCharacter(in: bytes, at: start), first.kind == .space else { return nil }
  return start + first.length
}

private func gpt2WordEnd(_ bytes: Span<UInt8>, _ start: Int, splitsDigits: Bool) -> Int {
  if let end = contractionEnd(bytes, start, ignoresCase: false) { return end }
  let wordStart = bytes[start] == blank ? start + 1 : start
  guard let first = ScannedCharacter(in: bytes, at: wordStart) else { return wordStart }
  if splitsDigits && first.kind == .number {
    // The digit is a stretch of its own, so a blank before it ends the stretch before it.
    return wordStart > start ? wordStart : start + first.length
  }
  if first.kind == .space { return spacesEnd(bytes, start, digitsEndText: splitsDigits) }
  if CharacterKinds.letter.contains(first.kind) { return runEnd(bytes, wordStart, .letter) }
  return runEnd(bytes, wordStart, first.kind == .number ? .number : .sign)
}

private func falconSignsEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int {
  var end = start
  while let next = ScannedCharacter(in: bytes, at: end),
    next.kind == .punctuation || next.kind == .symbol && bytes[end] < 0x80
  {
    end += next.length
  }
  return end
}

private func deepSeekWordEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int? {
  guard let first = ScannedCharacter(in: bytes, at: start) else { return nil }
  let signs: CharacterKinds = [.punctuation, .symbol]
  let letters = CharacterKinds.letter.union(.mark)
  let next = start + first.length
  if signs.contains(first.kind) {
    if bytes[start] < 0x80 {
      var end = next
      while end < bytes.count, isASCIILetter(bytes[end]) { end += 1 }
      if end > next { return end }
    }
    return newlinesEnd(bytes, runEnd(bytes, start, signs))
  }
  if letters.contains(first.kind) { return runEnd(bytes, start, letters) }
  if !isNewline(bytes[start]) {
    let end = runEnd(bytes, next, letters)
    if end > next { return end }
  }
  if bytes[start] == blank {
    let end = runEnd(bytes, next, signs)
    if end > next { return newlinesEnd(bytes, end) }
  }
  guard first.kind == .space else { return nil }
  return lastNewlineEnd(bytes, start) ?? spacesEnd(bytes, start, digitsEndText: false)
}

private func bloomLettersEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int {
  var end = start
  while let next = ScannedCharacter(in: bytes, at: end), next.kind != .space {
    switch scalar(in: bytes, at: end).value {
    case 0x28, 0x7C, 0x2E, 0x2C, 0x21, 0x3F, 0x29, 0x2026, 0x3002, 0xFF0C, 0x3001, 0x0964, 0x06D4,
      0x060C:
      return end
    default: end += next.length
    }
  }
  return end
}

private func newlinesEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int {
  var end = start
  while end < bytes.count && isNewline(bytes[end]) { end += 1 }
  return end
}

private func isASCIILetter(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte | 0x20) }

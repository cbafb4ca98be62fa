/// The rules that split text into words; no token reaches across a split.
///
/// Each set of rules is known by a regular expression; here it is written out, so that it takes
/// linear time and bytes that are not UTF-8.
package enum PreTokenizer: Sendable, CaseIterable {
  /// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
  case gpt2
  /// First every `\p{N}` on its own, then `gpt2` on each stretch between them.
  case smollm
  /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*`
  /// `|\s*[\r\n]+|\s+(?!\S)|\s+`
  case llama3
  /// As `llama3`, but every `\p{N}` on its own.
  case qwen2

  /// The rules that `tokenizer.ggml.pre` means by `name`.
  init?(name: String) {
    guard let kind = Self.allCases.first(where: { $0.names.contains(name) }) else { return nil }
    self = kind
  }

  /// What ``init(name:)`` knows.
  static var supportedNames: [String] { allCases.flatMap(\.names) }

  /// Names in use for the same rules, the usual one first.
  var names: [String] {
    switch self {
    case .gpt2: ["gpt-2", "phi-2", "gigachat", "jais", "mpt", "olmo", "trillion"]
    case .smollm:
      ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"]
    case .llama3:
      ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"]
    case .qwen2: ["qwen2", "deepseek-r1-qwen", "kormo", "megrez"]
    }
  }

  /// Whether a word that is in the vocabulary is taken whole, without looking at merges.
  var takesWholeWords: Bool { self == .llama3 }

  /// Whether a file that does not say so wants a beginning-of-sequence token.
  var addsBeginOfSequence: Bool { self == .llama3 }

  /// The end of the word that starts at `start`, which is less than `bytes.count`.
  func wordEnd(in bytes: Span<UInt8>, from start: Int) -> Int {
    switch self {
    case .gpt2: gpt2WordEnd(bytes, start, splitsDigits: false)
    case .smollm: gpt2WordEnd(bytes, start, splitsDigits: true)
    case .llama3: llama3WordEnd(bytes, start, digitsMax: 3)
    case .qwen2: llama3WordEnd(bytes, start, digitsMax: 1)
    }
  }
}

/// Splits `bytes` by the rules of `kind`. The words joined give `bytes` again; none is empty.
package func preTokens(of bytes: [UInt8], kind: PreTokenizer) -> [[UInt8]] {
  var words: [[UInt8]] = []
  var start = 0
  while start < bytes.count {
    let end = kind.wordEnd(in: bytes.span, from: start)
    words.append(Array(bytes[start..<end]))
    start = end
  }
  return words
}

private let blank = UInt8(ascii: " ")

private func gpt2WordEnd(_ bytes: Span<UInt8>, _ start: Int, splitsDigits: Bool) -> Int {
  if let end = contractionEnd(bytes, start, ignoresCase: false) { return end }
  let wordStart = bytes[start] == blank ? start + 1 : start
  guard let first = ScannedCharacter(in: bytes, at: wordStart) else { return wordStart }
  switch first.characterClass {
  case .number where splitsDigits:
    // The digit is a stretch of its own, so a blank before it ends the stretch before it.
    return wordStart > start ? wordStart : start + first.length
  case .letter, .number, .other: return runEnd(bytes, wordStart, first.characterClass)
  case .space: return spacesEnd(bytes, start, digitsEndText: splitsDigits)
  }
}

private func llama3WordEnd(_ bytes: Span<UInt8>, _ start: Int, digitsMax: Int) -> Int {
  if let end = contractionEnd(bytes, start, ignoresCase: true) { return end }
  guard let first = ScannedCharacter(in: bytes, at: start) else { return start }
  let next = start + first.length
  switch first.characterClass {
  case .letter: return runEnd(bytes, start, .letter)
  case .number:
    var end = next
    for _ in 1..<digitsMax {
      guard let digit = ScannedCharacter(in: bytes, at: end), digit.characterClass == .number else {
        break
      }
      end += digit.length
    }
    return end
  case .other, .space:
    let second = ScannedCharacter(in: bytes, at: next)?.characterClass
    if second == .letter && !isNewline(bytes[start]) { return runEnd(bytes, next, .letter) }
    if first.characterClass == .other {
      return newlinesEnd(bytes, runEnd(bytes, start, .other))
    }
    if second == .other && bytes[start] == blank {
      return newlinesEnd(bytes, runEnd(bytes, next, .other))
    }
    return lastNewlineEnd(bytes, start) ?? spacesEnd(bytes, start, digitsEndText: false)
  }
}

/// The end of `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` or `'d` at `start`, if one is there.
private func contractionEnd(_ bytes: Span<UInt8>, _ start: Int, ignoresCase: Bool) -> Int? {
  guard bytes[start] == UInt8(ascii: "'"), start + 1 < bytes.count else { return nil }
  let caseBit: UInt8 = ignoresCase ? 0x20 : 0
  switch bytes[start + 1] | caseBit {
  case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"):
    return start + 2
  case let first:
    guard start + 2 < bytes.count else { return nil }
    switch (first, bytes[start + 2] | caseBit) {
    case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
      (UInt8(ascii: "l"), UInt8(ascii: "l")):
      return start + 3
    default: return nil
    }
  }
}

/// The end of the characters of one class from `start` on.
private func runEnd(_ bytes: Span<UInt8>, _ start: Int, _ characterClass: CharacterClass) -> Int {
  var end = start
  while let next = ScannedCharacter(in: bytes, at: end), next.characterClass == characterClass {
    end += next.length
  }
  return end
}

/// The end of `\s+(?!\S)|\s+`: all spaces from `start` on, but not the last of several in front of
/// a word, which belongs to that word.
private func spacesEnd(_ bytes: Span<UInt8>, _ start: Int, digitsEndText: Bool) -> Int {
  var end = start
  var lastStart = start
  while let next = ScannedCharacter(in: bytes, at: end) {
    guard next.characterClass == .space else {
      let isAtTextEnd = digitsEndText && next.characterClass == .number
      return isAtTextEnd || lastStart == start ? end : lastStart
    }
    lastStart = end
    end += next.length
  }
  return end
}

/// The end of `\s*[\r\n]+`: behind the last line break among the spaces from `start` on.
private func lastNewlineEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int? {
  var end = start
  var newlineEnd: Int?
  while let next = ScannedCharacter(in: bytes, at: end), next.characterClass == .space {
    if isNewline(bytes[end]) { newlineEnd = end + 1 }
    end += next.length
  }
  return newlineEnd
}

private func newlinesEnd(_ bytes: Span<UInt8>, _ start: Int) -> Int {
  var end = start
  while end < bytes.count && isNewline(bytes[end]) { end += 1 }
  return end
}

private func isNewline(_ byte: UInt8) -> Bool { byte == 0x0A || byte == 0x0D }

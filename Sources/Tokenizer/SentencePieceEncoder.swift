import InferenceTypes

/// Byte pair encoding as SentencePiece does it: characters merge into the piece of the best score,
/// spaces are letters, and a character without a piece becomes its bytes.
///
/// It departs from SentencePiece for bytes that are not UTF-8: they keep their values instead of
/// becoming U+FFFD. Text is not normalised; vocabularies that ask for it are refused.
///
/// - SeeAlso: Kudo and Richardson 2018, "SentencePiece: A simple and language independent subword
///   tokenizer and detokenizer for Neural Text Processing", arXiv:1808.06226.
struct SentencePieceEncoder: Sendable {
  /// U+2581, which stands for a space in the vocabulary.
  static let escapedSpace: [UInt8] = [0xE2, 0x96, 0x81]

  /// Whether a space is put in front of text.
  let addsSpacePrefix: Bool
  /// Bytes that the vocabulary cannot express, ascending. Encoding leaves them out, or has the
  /// unknown token for a run of them.
  let missingBytes: [UInt8]
  /// Whether a symbol is a piece that is taken apart again; empty where none is.
  let isUnused: [Bool]
  private let vocabularyCount: UInt32
  /// The symbols of characters: tokens, or numbers above all tokens for characters that occur in
  /// larger pieces only.
  private let characters: [UInt32: UInt32]
  /// What the symbols above all tokens stand for.
  private let extraCharacters: [[UInt8]]
  private let asciiCharacters: [UInt32]
  private let merges: MergeTable
  /// Whether no piece reaches across the beginning of a run of spaces: then each word is merged on
  /// its own, with the same result.
  private let splitsAtSpaces: Bool
  private let userDefined: PrefixMatcher
  private let byteTokens: [TokenID?]
  private let unknown: TokenID?

  /// Takes the vocabulary of `source`, with one score for each token, none of them NaN.
  init(
    _ source: VocabularySource, scores: [Float], addsSpacePrefix: Bool, unknown: TokenID?
  ) throws(TokenizerError) {
    self.addsSpacePrefix = addsSpacePrefix
    self.unknown = unknown
    vocabularyCount = UInt32(source.texts.count)
    var builder = PieceMerges(tokenCount: source.texts.count)
    var userDefined = PrefixMatcher()
    var byteTokens = [TokenID?](repeating: nil, count: 256)
    for (token, text) in source.texts.enumerated() where !text.isEmpty {
      switch source.types[token] {
      case .normal, .unused:
        if let first = builder.add(Array(text.utf8), token: UInt32(token)) {
          throw .duplicateToken(first: Int(first), second: token, text: text)
        }
      case .userDefined: userDefined.insert(Self.escaped(text.utf8), token: UInt32(token))
      case .byte:
        byteTokens[Int(try source.byte(ofToken: token))] = TokenID(UInt32(token))
      case .control, .unknown: break
      }
    }
    self.userDefined = userDefined
    self.byteTokens = byteTokens
    let result = builder.finish(scores: scores)
    merges = result.merges
    characters = result.characters
    splitsAtSpaces = result.splitsAtSpaces
    asciiCharacters = (0..<0x80).map { result.characters[$0] ?? WordMerger.missing }
    extraCharacters = result.extraCharacters
    missingBytes = (UInt8.min...UInt8.max).filter { byte in
      let symbol = byte < 0x80 ? result.characters[byte == 0x20 ? 0x2581 : UInt32(byte)] : nil
      return byteTokens[Int(byte)] == nil && Int(symbol ?? .max) >= source.texts.count
    }
    isUnused = source.types.contains(.unused) ? source.types.map { $0 == .unused } : []
  }

  /// `text` with U+2581 for each space.
  static func escaped(_ text: some Sequence<UInt8>) -> [UInt8] {
    var escaped: [UInt8] = []
    for byte in text {
      if byte == 0x20 { escaped += escapedSpace } else { escaped.append(byte) }
    }
    return escaped
  }

  /// Appends the tokens of `bytes` in `range`.
  ///
  /// - Complexity: O(n log n) for n bytes.
  func encode(
    _ bytes: [UInt8], _ range: Range<Int>, _ merger: inout WordMerger, into output: inout [TokenID]
  ) {
    guard !range.isEmpty else { return }
    var text = addsSpacePrefix ? Self.escapedSpace : []
    text.reserveCapacity(range.count * 3 / 2)
    text += Self.escaped(bytes[range])
    var word = Word()
    var index = 0
    var wasSpace = false
    while index < text.count {
      if !userDefined.isEmpty, let match = userDefined.longestMatch(in: text, at: index) {
        merge(&word, text, &merger, into: &output)
        word.endsUnknown = false
        output.append(TokenID(match.token))
        index = match.end
        wasSpace = false
        continue
      }
      let (value, length) = scalar(in: text.span, at: index)
      let isSpace = value == 0x2581
      if splitsAtSpaces && isSpace && !wasSpace { merge(&word, text, &merger, into: &output) }
      wasSpace = isSpace
      word.starts.append(index)
      word.symbols.append(symbol(of: value))
      index += length
      word.end = index
    }
    merge(&word, text, &merger, into: &output)
  }

  /// Characters that wait to be merged.
  private struct Word {
    var symbols: [UInt32] = []
    /// Where each character starts in the text.
    var starts: [Int] = []
    /// The end of the last one.
    var end = 0
    /// Whether the token before is the unknown one, for characters that are unknown too.
    var endsUnknown = false
    var merged: [(symbol: UInt32, index: Int)] = []
  }

  private func symbol(of value: UInt32?) -> UInt32 {
    guard let value else { return WordMerger.missing }
    return value < 0x80
      ? asciiCharacters[Int(value)] : characters[value] ?? WordMerger.missing
  }

  private func merge(
    _ word: inout Word, _ text: [UInt8], _ merger: inout WordMerger, into output: inout [TokenID]
  ) {
    guard !word.symbols.isEmpty else { return }
    merger.merge(word.symbols[...], merges, into: &word.merged)
    for (symbol, index) in word.merged {
      if symbol < vocabularyCount {
        output.append(TokenID(symbol))
        word.endsUnknown = false
      } else if symbol == WordMerger.missing {
        let end = index + 1 < word.starts.count ? word.starts[index + 1] : word.end
        appendBytes(text[word.starts[index]..<end], &word.endsUnknown, into: &output)
      } else {
        let character = extraCharacters[Int(symbol - vocabularyCount)]
        appendBytes(character[...], &word.endsUnknown, into: &output)
      }
    }
    word.symbols.removeAll(keepingCapacity: true)
    word.starts.removeAll(keepingCapacity: true)
    word.merged.removeAll(keepingCapacity: true)
  }

  /// Appends the byte tokens of a character without a piece.
  private func appendBytes(
    _ character: ArraySlice<UInt8>, _ endsUnknown: inout Bool, into output: inout [TokenID]
  ) {
    let tokens = character.compactMap { byteTokens[Int($0)] }
    guard tokens.isEmpty, let unknown else {
      output += tokens
      endsUnknown = false
      return
    }
    if !endsUnknown { output.append(unknown) }
    endsUnknown = true
  }
}

/// The merges that a vocabulary of pieces implies: two neighbours merge where their text is a piece.
private struct PieceMerges {
  private var symbols: [ArraySlice<UInt8>: UInt32] = [:]
  private var pieces: [(text: [UInt8], token: UInt32)] = []
  private var characters: [UInt32: UInt32] = [:]
  private var extraCharacters: [[UInt8]] = []
  private let tokenCount: Int

  init(tokenCount: Int) {
    self.tokenCount = tokenCount
    symbols.reserveCapacity(tokenCount)
  }

  /// - Returns: the token that has the same text, if one has.
  mutating func add(_ text: [UInt8], token: UInt32) -> UInt32? {
    if let first = symbols.updateValue(token, forKey: text[...]) { return first }
    pieces.append((text, token))
    return nil
  }

  struct Result {
    var merges: MergeTable
    var characters: [UInt32: UInt32]
    var extraCharacters: [[UInt8]]
    var splitsAtSpaces: Bool
  }

  mutating func finish(scores: [Float]) -> Result {
    addCharacters()
    let ranks = Self.ranks(of: scores)
    var found: [(left: UInt32, right: UInt32, result: UInt32)] = []
    var splitsAtSpaces = true
    for (text, token) in pieces {
      for cut in Self.characterStarts(of: text).dropFirst() {
        guard let left = symbols[text[..<cut]], let right = symbols[text[cut...]] else { continue }
        found.append((left, right, token))
        if text[cut...].starts(with: SentencePieceEncoder.escapedSpace),
          !text[..<cut].suffix(3).elementsEqual(SentencePieceEncoder.escapedSpace)
        {
          splitsAtSpaces = false
        }
      }
    }
    var merges = MergeTable(capacity: found.count)
    for (left, right, result) in found {
      merges.insert(left, right, rank: ranks[Int(result)], result: result)
    }
    return Result(
      merges: merges, characters: characters, extraCharacters: extraCharacters,
      splitsAtSpaces: splitsAtSpaces)
  }

  /// Gives every character of the pieces a symbol, one of its own where it is not a piece itself.
  private mutating func addCharacters() {
    for (text, _) in pieces {
      let starts = Self.characterStarts(of: text)
      for (place, start) in starts.enumerated() {
        let end = place + 1 < starts.count ? starts[place + 1] : text.count
        let (value, length) = scalar(in: text.span, at: start)
        guard let value, length == end - start, characters[value] == nil else { continue }
        if let token = symbols[text[start..<end]] {
          characters[value] = token
        } else {
          let symbol = UInt32(tokenCount + extraCharacters.count)
          characters[value] = symbol
          symbols[text[start..<end]] = symbol
          extraCharacters.append(Array(text[start..<end]))
        }
      }
    }
  }

  private static func characterStarts(of text: [UInt8]) -> [Int] {
    var starts: [Int] = []
    var index = 0
    while index < text.count {
      starts.append(index)
      index += scalar(in: text.span, at: index).length
    }
    return starts
  }

  /// Places of the scores among each other, the best first; equal scores have equal places.
  private static func ranks(of scores: [Float]) -> [UInt32] {
    var ranks = [UInt32](repeating: 0, count: scores.count)
    var rank: UInt32 = 0
    var previous: Float?
    for token in scores.indices.sorted(by: { scores[$0] > scores[$1] }) {
      if let previous, scores[token] < previous { rank += 1 }
      previous = scores[token]
      ranks[token] = rank
    }
    return ranks
  }
}

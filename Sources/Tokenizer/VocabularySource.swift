import GGUF
import InferenceTypes

/// What a token is for; the raw value is its number in the file.
enum TokenType: Int, Sendable {
  case normal = 1
  case unknown = 2
  case control = 3
  case userDefined = 4
  case unused = 5
  case byte = 6

  /// Whether the token is no part of the text that users see.
  var isHidden: Bool { self == .control || self == .unknown }
}

/// The tokenizer's metadata as they stand in the file, and what is derived from them once.
struct VocabularySource {
  private static let endTexts: Set<String> = [
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "</s>",
    "<|end_of_text|>", "<eos>",
  ]

  /// How the tokens of the vocabulary come about.
  enum Method {
    /// `tokenizer.ggml.model` is `gpt2`.
    case byteLevel(PreTokenizer)
    /// `tokenizer.ggml.model` is `llama`. Scores are one for each token, none of them NaN.
    case sentencePiece(scores: [Float], addsSpacePrefix: Bool)
  }

  let method: Method
  let texts: [String]
  let types: [TokenType]
  private let mergeTexts: [String]
  private let file: GGUFFile

  init(file: GGUFFile) throws(TokenizerError) {
    self.file = file
    do {
      let model = try file.string("tokenizer.ggml.model")
      texts = try file.stringArray("tokenizer.ggml.tokens")
      guard (1...BytePairTokenizer.vocabularyCountMax).contains(texts.count) else {
        throw TokenizerError.vocabularySize(texts.count)
      }
      types = try Self.types(file, count: texts.count)
      switch model {
      case "gpt2":
        let name = try file.string("tokenizer.ggml.pre")
        guard let kind = PreTokenizer(name: name) else {
          throw TokenizerError.unsupportedPreTokenizer(name)
        }
        method = .byteLevel(kind)
        mergeTexts = try file.stringArray("tokenizer.ggml.merges")
      case "llama":
        method = try Self.sentencePiece(file, count: texts.count)
        mergeTexts = []
      default: throw TokenizerError.unsupportedModel(model)
      }
    } catch let error as TokenizerError {
      throw error
    } catch let error as GGUFError {
      throw .metadata(error)
    } catch {
      preconditionFailure("an error of another module: \(error)")
    }
  }

  private static func sentencePiece(_ file: GGUFFile, count: Int) throws -> Method {
    let scores = try file.floatArray("tokenizer.ggml.scores")
    guard scores.count == count else {
      throw TokenizerError.scoreCount(expected: count, found: scores.count)
    }
    if let token = scores.firstIndex(where: \.isNaN) {
      throw TokenizerError.scoreIsNotANumber(token: token)
    }
    if try file.bool("tokenizer.ggml.remove_extra_whitespaces", default: false) {
      throw TokenizerError.unsupportedNormalization("tokenizer.ggml.remove_extra_whitespaces")
    }
    let charactersKey = "tokenizer.ggml.precompiled_charsmap"
    if let map = file[charactersKey] {
      guard case .array(let bytes) = map, bytes.count == 0 else {
        throw TokenizerError.unsupportedNormalization(charactersKey)
      }
    }
    // Gemma's vocabularies were made without the prefix; not all of their files say so.
    let pre = try file.string("tokenizer.ggml.pre", default: "default")
    let addsSpacePrefix = try file.bool(
      "tokenizer.ggml.add_space_prefix", default: !pre.hasPrefix("gemma"))
    return .sentencePiece(scores: scores, addsSpacePrefix: addsSpacePrefix)
  }

  private static func types(_ file: GGUFFile, count: Int) throws -> [TokenType] {
    let normal = [Int](repeating: TokenType.normal.rawValue, count: count)
    let numbers = try file.integerArray("tokenizer.ggml.token_type", default: normal)
    guard numbers.count == count else {
      throw TokenizerError.tokenTypeCount(expected: count, found: numbers.count)
    }
    var types: [TokenType] = []
    types.reserveCapacity(count)
    for (token, number) in numbers.enumerated() {
      guard let type = TokenType(rawValue: number) else {
        throw TokenizerError.unknownTokenType(token: token, type: number)
      }
      types.append(type)
    }
    return types
  }

  /// The bytes that each token stands for.
  func pieceBytes(_ alphabet: ByteAlphabet) throws(TokenizerError) -> [[UInt8]] {
    var pieces: [[UInt8]] = []
    pieces.reserveCapacity(texts.count)
    for (token, text) in texts.enumerated() {
      switch (types[token], method) {
      case (.byte, _): pieces.append([try byte(ofToken: token)])
      case (.normal, .byteLevel), (.unused, .byteLevel):
        pieces.append(alphabet.lenientBytes(of: text))
      case (.normal, .sentencePiece), (.unused, .sentencePiece), (.userDefined, .sentencePiece):
        pieces.append(Array(text.replacing("\u{2581}", with: " ").utf8))
      case (.unknown, _), (.control, _), (.userDefined, .byteLevel):
        pieces.append(Array(text.utf8))
      }
    }
    return pieces
  }

  /// The byte that `token`, of type byte, stands for.
  func byte(ofToken token: Int) throws(TokenizerError) -> UInt8 {
    let text = texts[token]
    guard text.hasPrefix("<0x"), text.hasSuffix(">"), text.utf8.count == 6,
      let byte = UInt8(text.dropFirst(3).dropLast(), radix: 16)
    else { throw .invalidByteToken(token: token, text: text) }
    return byte
  }

  /// The tokens that merging can give, by their bytes. Hidden tokens are not among them, so no text
  /// turns into one by way of merges; nor are tokens whose text is not in the byte alphabet.
  func symbols(
    _ alphabet: ByteAlphabet, _ pieces: [[UInt8]]
  ) throws(TokenizerError) -> [ArraySlice<UInt8>: UInt32] {
    var symbols: [ArraySlice<UInt8>: UInt32] = [:]
    symbols.reserveCapacity(texts.count)
    for (token, piece) in pieces.enumerated() where !types[token].isHidden && !piece.isEmpty {
      guard alphabet.bytes(of: texts[token]) == piece else { continue }
      if let first = symbols.updateValue(UInt32(token), forKey: piece[...]) {
        throw .duplicateToken(first: Int(first), second: token, text: texts[token])
      }
    }
    return symbols
  }

  func mergeTable(
    _ alphabet: ByteAlphabet, _ symbols: [ArraySlice<UInt8>: UInt32]
  ) throws(TokenizerError) -> MergeTable {
    var table = MergeTable(capacity: mergeTexts.count)
    for (rank, text) in mergeTexts.enumerated() {
      let sides = text.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
      guard sides.count == 2, sides.allSatisfy({ !$0.isEmpty }) else {
        throw .invalidMerge(index: rank, text: text)
      }
      guard let left = alphabet.bytes(of: Substring(sides[0])),
        let right = alphabet.bytes(of: Substring(sides[1])),
        let leftToken = symbols[left[...]], let rightToken = symbols[right[...]],
        let result = symbols[(left + right)[...]]
      else { throw .mergeOutsideVocabulary(index: rank, text: text) }
      table.insert(leftToken, rightToken, rank: UInt32(rank), result: result)
    }
    return table
  }

  func finder(_ isWanted: (TokenType) -> Bool) -> SpecialTokenFinder {
    var wanted: [(text: [UInt8], token: TokenID)] = []
    for (token, text) in texts.enumerated() where isWanted(types[token]) {
      wanted.append((text: Array(text.utf8), token: TokenID(UInt32(token))))
    }
    return SpecialTokenFinder(wanted)
  }

  /// The token that `key` names. Without that key it is `fallback` in vocabularies of SentencePiece,
  /// which number their special tokens alike, and none in others.
  func token(_ key: String, fallback: UInt32? = nil) throws(TokenizerError) -> TokenID? {
    guard file[key] != nil else {
      guard case .sentencePiece = method, let fallback, fallback < texts.count,
        types[Int(fallback)].isHidden
      else { return nil }
      return TokenID(fallback)
    }
    let number: Int
    do { number = try file.integer(key) } catch { throw .metadata(error) }
    guard texts.indices.contains(number) else {
      throw .specialTokenOutOfRange(key: key, token: number, vocabularyCount: texts.count)
    }
    return TokenID(UInt32(number))
  }

  func addsBeginOfSequence() throws(TokenizerError) -> Bool {
    let fallback =
      switch method {
      case .byteLevel(let preTokenizer): preTokenizer.addsBeginOfSequence
      case .sentencePiece: true
      }
    do { return try file.bool("tokenizer.ggml.add_bos_token", default: fallback) } catch {
      throw .metadata(error)
    }
  }

  func addsEndOfSequence() throws(TokenizerError) -> Bool {
    do { return try file.bool("tokenizer.ggml.add_eos_token", default: false) } catch {
      throw .metadata(error)
    }
  }

  func endOfGeneration(_ endOfSequence: TokenID?) throws(TokenizerError) -> [TokenID] {
    var ends = Set([endOfSequence, try token("tokenizer.ggml.eot_token_id")].compactMap(\.self))
    for (token, text) in texts.enumerated()
    where types[token] == .control && Self.endTexts.contains(text) {
      ends.insert(TokenID(UInt32(token)))
    }
    return ends.sorted()
  }

  func fingerprint() -> [UInt8] {
    var hash = ContentHash()
    switch method {
    case .byteLevel(let preTokenizer):
      hash.update("gpt2")
      hash.update(preTokenizer.names[0])
    case .sentencePiece(_, let addsSpacePrefix):
      hash.update("llama")
      hash.update(addsSpacePrefix ? "space prefix" : "")
    }
    hash.update(texts.count)
    for text in texts { hash.update(text) }
    hash.update(types.map { UInt8($0.rawValue) })
    if case .sentencePiece(let scores, _) = method {
      for score in scores { hash.update(Int(score.bitPattern)) }
    }
    hash.update(mergeTexts.count)
    for text in mergeTexts { hash.update(text) }
    return hash.finish()
  }
}

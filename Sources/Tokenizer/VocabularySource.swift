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
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>",
  ]
  private static let model = "gpt2"

  let preTokenizer: PreTokenizer
  let texts: [String]
  let types: [TokenType]
  private let mergeTexts: [String]
  private let file: GGUFFile

  init(file: GGUFFile) throws(TokenizerError) {
    self.file = file
    do {
      let model = try file.string("tokenizer.ggml.model")
      guard model == Self.model else { throw TokenizerError.unsupportedModel(model) }
      let name = try file.string("tokenizer.ggml.pre")
      guard let kind = PreTokenizer(name: name) else {
        throw TokenizerError.unsupportedPreTokenizer(name)
      }
      preTokenizer = kind
      texts = try file.stringArray("tokenizer.ggml.tokens")
      mergeTexts = try file.stringArray("tokenizer.ggml.merges")
      guard (1...BytePairTokenizer.vocabularyCountMax).contains(texts.count) else {
        throw TokenizerError.vocabularySize(texts.count)
      }
      types = try Self.types(file, count: texts.count)
    } catch let error as TokenizerError {
      throw error
    } catch let error as GGUFError {
      throw .metadata(error)
    } catch {
      preconditionFailure("an error of another module: \(error)")
    }
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
      switch types[token] {
      case .normal, .unused: pieces.append(alphabet.lenientBytes(of: text))
      case .unknown, .control, .userDefined: pieces.append(Array(text.utf8))
      case .byte:
        guard text.hasPrefix("<0x"), text.hasSuffix(">"), text.utf8.count == 6,
          let byte = UInt8(text.dropFirst(3).dropLast(), radix: 16)
        else { throw .invalidByteToken(token: token, text: text) }
        pieces.append([byte])
      }
    }
    return pieces
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

  /// The token that `key` names, if the file has that key.
  func token(_ key: String) throws(TokenizerError) -> TokenID? {
    guard file[key] != nil else { return nil }
    let number: Int
    do { number = try file.integer(key) } catch { throw .metadata(error) }
    guard texts.indices.contains(number) else {
      throw .specialTokenOutOfRange(key: key, token: number, vocabularyCount: texts.count)
    }
    return TokenID(UInt32(number))
  }

  func addsBeginOfSequence() throws(TokenizerError) -> Bool {
    do {
      return try file.bool(
        "tokenizer.ggml.add_bos_token", default: preTokenizer.addsBeginOfSequence)
    } catch { throw .metadata(error) }
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
    hash.update(Self.model)
    hash.update(preTokenizer.names[0])
    hash.update(texts.count)
    for text in texts { hash.update(text) }
    hash.update(types.map { UInt8($0.rawValue) })
    hash.update(mergeTexts.count)
    for text in mergeTexts { hash.update(text) }
    return hash.finish()
  }
}

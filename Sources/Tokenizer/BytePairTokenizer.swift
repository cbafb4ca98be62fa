package import GGUF
package import InferenceTypes

/// Byte pair encoding with the vocabulary of a model file: byte-level, or as SentencePiece does it.
///
/// Encodes any bytes; what is not UTF-8 is split byte by byte. Decoding gives the same bytes again,
/// but for ``missingBytes`` and, in vocabularies of SentencePiece, for U+2581, which becomes a space.
package struct BytePairTokenizer: Sendable {
  /// Token ids are 32 bits wide; the last ones are not ids.
  static let vocabularyCountMax = Int(UInt32.max) - 2

  /// Number of tokens; ids are less. A model may have more logits than that.
  package let vocabularyCount: Int
  /// The token that marks the beginning of a sequence, if the file names one.
  package let beginOfSequence: TokenID?
  /// Whether a sequence is to begin with ``beginOfSequence``. ``encode(_:parseSpecial:)`` leaves
  /// that to its caller, who knows where a sequence begins.
  package let addsBeginOfSequence: Bool
  /// The token that marks the end of a sequence, if the file names one.
  package let endOfSequence: TokenID?
  /// Whether a sequence is to end with ``endOfSequence``; no prompt does, as it goes on.
  package let addsEndOfSequence: Bool
  /// Tokens after which there is nothing to generate, ascending.
  package let endOfGeneration: [TokenID]
  /// Bytes that the vocabulary cannot express, ascending; usually none. Encoding leaves them out.
  package let missingBytes: [UInt8]
  /// BLAKE2b-32 of model, splitting rules, tokens, their types and merges: the same means the same
  /// tokens for every text.
  package let fingerprint: [UInt8]

  /// Whether encoding puts a space in front of text, which decoding takes away again.
  package let addsSpacePrefix: Bool

  private let encoder: Encoder
  private let types: [TokenType]
  /// The bytes of all tokens one after the other, and where each starts.
  private let pieces: [UInt8]
  private let pieceStarts: [Int]
  private let userDefined: SpecialTokenFinder
  private let allSpecial: SpecialTokenFinder

  private enum Encoder {
    case byteLevel(ByteLevelEncoder)
    case sentencePiece(SentencePieceEncoder)

    var isByteLevel: Bool {
      if case .byteLevel = self { true } else { false }
    }
  }

  /// Takes the vocabulary of `file`.
  ///
  /// - Throws: ``TokenizerError``, which names the metadata at fault.
  package init(file: GGUFFile) throws(TokenizerError) {
    let source = try VocabularySource(file: file)
    types = source.types
    vocabularyCount = source.texts.count
    let alphabet = ByteAlphabet()
    let pieceBytes = try source.pieceBytes(alphabet)
    switch source.method {
    case .byteLevel(let preTokenizer):
      let encoder = try ByteLevelEncoder(source, preTokenizer, alphabet, pieceBytes: pieceBytes)
      missingBytes = encoder.missingBytes
      addsSpacePrefix = false
      self.encoder = .byteLevel(encoder)
    case .sentencePiece(let scores, let addsSpacePrefix):
      let encoder = try SentencePieceEncoder(
        source, scores: scores, addsSpacePrefix: addsSpacePrefix,
        unknown: try source.token("tokenizer.ggml.unknown_token_id", fallback: 0))
      missingBytes = encoder.missingBytes
      self.addsSpacePrefix = addsSpacePrefix
      self.encoder = .sentencePiece(encoder)
    }
    pieces = pieceBytes.flatMap { $0 }
    var starts = [0]
    for piece in pieceBytes { starts.append(starts[starts.count - 1] + piece.count) }
    pieceStarts = starts

    // SentencePiece looks for user-defined tokens after spaces are escaped: its encoder does.
    let isByteLevel = encoder.isByteLevel
    userDefined = source.finder { $0 == .userDefined && isByteLevel }
    allSpecial = source.finder { $0 == .userDefined && isByteLevel || $0.isHidden }
    beginOfSequence = try source.token("tokenizer.ggml.bos_token_id", fallback: 1)
    endOfSequence = try source.token("tokenizer.ggml.eos_token_id", fallback: 2)
    addsEndOfSequence = try source.addsEndOfSequence() && endOfSequence != nil
    endOfGeneration = try source.endOfGeneration(endOfSequence)
    addsBeginOfSequence = try source.addsBeginOfSequence() && beginOfSequence != nil
    fingerprint = source.fingerprint()
  }

  /// Encodes text.
  ///
  /// - Parameters:
  ///   - text: any text.
  ///   - parseSpecial: whether the texts of control tokens become those tokens; never for text that
  ///     comes from a user. User-defined tokens are matched in any case.
  /// - Returns: the tokens of `text`, without a beginning of sequence.
  package func encode(_ text: String, parseSpecial: Bool) -> [TokenID] {
    encode(bytes: Array(text.utf8), parseSpecial: parseSpecial)
  }

  /// Encodes bytes, which need not be UTF-8.
  ///
  /// - Parameters:
  ///   - bytes: less than 4 GiB.
  ///   - parseSpecial: as for ``encode(_:parseSpecial:)``.
  /// - Returns: the tokens of `bytes`, without a beginning of sequence.
  /// - Complexity: O(n log n) for n bytes.
  package func encode(bytes: [UInt8], parseSpecial: Bool) -> [TokenID] {
    var output: [TokenID] = []
    output.reserveCapacity(bytes.count / 3)
    var merger = newMerger()
    var start = 0
    for match in (parseSpecial ? allSpecial : userDefined).matches(in: bytes) {
      encodePlain(bytes, start..<match.range.lowerBound, &merger, into: &output)
      output.append(match.token)
      start = match.range.upperBound
    }
    encodePlain(bytes, start..<bytes.count, &merger, into: &output)
    return output
  }

  /// Encodes a whole text with the tokens that the file wants around it.
  ///
  /// - Parameters:
  ///   - text: any text.
  ///   - parseSpecial: as for ``encode(_:parseSpecial:)``.
  /// - Returns: the tokens of `text` between ``beginOfSequence`` and ``endOfSequence``, each where it
  ///   is to be added.
  package func encodeSequence(_ text: String, parseSpecial: Bool) -> [TokenID] {
    let begin = addsBeginOfSequence ? [beginOfSequence].compactMap(\.self) : []
    let end = addsEndOfSequence ? [endOfSequence].compactMap(\.self) : []
    return begin + encode(text, parseSpecial: parseSpecial) + end
  }

  private func newMerger() -> WordMerger {
    switch encoder {
    case .byteLevel: WordMerger()
    case .sentencePiece(let encoder): WordMerger(isProvisional: encoder.isUnused)
    }
  }

  private func encodePlain(
    _ bytes: [UInt8], _ range: Range<Int>, _ merger: inout WordMerger, into output: inout [TokenID]
  ) {
    switch encoder {
    case .byteLevel(let encoder): encoder.encode(bytes, range, &merger, into: &output)
    case .sentencePiece(let encoder): encoder.encode(bytes, range, &merger, into: &output)
    }
  }

  /// Decodes one token.
  ///
  /// - Parameters:
  ///   - token: less than ``vocabularyCount``.
  ///   - includeSpecial: whether control tokens give their text instead of nothing.
  /// - Returns: the bytes that `token` stands for, which need not be whole characters: see
  ///   ``StreamingDetokenizer``.
  package func bytes(of token: TokenID, includeSpecial: Bool) -> [UInt8] {
    let index = Int(token.rawValue)
    precondition(index < vocabularyCount, "token \(index) of \(vocabularyCount)")
    if types[index].isHidden && !includeSpecial { return [] }
    return Array(pieces[pieceStarts[index]..<pieceStarts[index + 1]])
  }

  /// Decodes the tokens of a whole text.
  ///
  /// - Parameter tokens: each less than ``vocabularyCount``.
  /// - Returns: the bytes of the text, which need not be UTF-8; without control tokens, and without
  ///   the space that encoding puts in front.
  package func bytes(ofText tokens: some Sequence<TokenID>) -> [UInt8] {
    var bytes: [UInt8] = []
    var hasText = false
    for token in tokens {
      let piece = self.bytes(of: token, includeSpecial: false)
      bytes += piece.dropFirst(!hasText && beginsWithPrefix(token) ? 1 : 0)
      hasText = hasText || !piece.isEmpty
    }
    return bytes
  }

  /// Whether decoding takes away the first byte of `token` where a text begins with it.
  func beginsWithPrefix(_ token: TokenID) -> Bool {
    let index = Int(token.rawValue)
    guard addsSpacePrefix, types[index] != .byte, !types[index].isHidden else { return false }
    return pieceStarts[index] < pieceStarts[index + 1] && pieces[pieceStarts[index]] == 0x20
  }

  /// Whether `token` is one that only markup can produce.
  package func isControl(_ token: TokenID) -> Bool {
    let index = Int(token.rawValue)
    return index < vocabularyCount && types[index] == .control
  }
}
